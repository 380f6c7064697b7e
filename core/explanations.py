"""One request in, one frozen result out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from core import heatmaps
from core.errors import ImageError, ParameterError
from core.images import Framing
from core.methods.parameters import parse
from core.methods.registry import Method, supported
from core.models import Model, VisionTransformer
from core.recordings import GradientRequest, Prediction, Recording, record

BATCH = 16
"""Pictures in one pass."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """A finished explanation of one picture; holds no tensor and no graph.

    Attributes
    ----------
    relevance : (rows, cols) float32
        Raw and signed, in the method's own unit.
    view : PIL.Image.Image
        What the model saw; the map covers exactly this.
    target : int or None
        Class explained; ``None`` where the method does not depend on the class.
    label : str
        Name of the class; empty without one.
    prediction : Prediction or None
        ``None`` for a model without classes.
    method, title : str
        Name and title of the method.
    params : mapping
        All parameters, defaults included.
    hidden : float or None
        Share of the mass on prefix tokens, which the map does not show, in [0, 1].
    notes : tuple of str
        What a reader must know to read this very map.
    model_id : str
    seconds : float
        Wall time of this request, network passes included if it needed any.
    """

    relevance: npt.NDArray[np.float32]
    view: Image.Image
    target: int | None
    label: str
    prediction: Prediction | None
    method: str
    title: str
    params: Mapping[str, Any]
    hidden: float | None
    notes: tuple[str, ...]
    model_id: str
    seconds: float

    def heatmap(
        self, size: tuple[int, int] | None = None, percentile: float = 100.0
    ) -> npt.NDArray[np.float32]:
        """The map for display: resized bilinearly, scaled from its minimum to a percentile.

        Parameters
        ----------
        size
            (height, width) in pixels; by default the view's.
        percentile
            Values above this percentile of the raw map share the end of the scale.

        Returns
        -------
        (height, width) float32 in [0, 1]
        """
        size = size or (self.view.height, self.view.width)
        low, high = heatmaps.limits(self.relevance, percentile)
        return heatmaps.normalize(heatmaps.resize(self.relevance, size), low, high)

    @property
    def is_blank(self) -> bool:
        """Whether the map is zero everywhere; a note says why."""
        return not self.relevance.any()


def predict(
    model: Model,
    image: Image.Image | Sequence[Image.Image],
    k: int = 5,
    framing: Framing | None = None,
) -> Any:
    """The ``k`` most probable classes of a picture, or of each in a list.

    Returns
    -------
    Prediction or list of Prediction

    Raises
    ------
    UnsupportedMethod
        The model has no classes.
    """
    single = isinstance(image, Image.Image)
    images = [image] if isinstance(image, Image.Image) else list(image)
    found: list[Any] = [None] * len(images)
    for places in _batches(model, images, framing):
        recording = record(model, [images[i] for i in places], framing, layers=())
        for i, prediction in zip(places, recording.predictions(k), strict=True):
            found[i] = prediction
    return found[0] if single else found


@overload
def explain(
    model: Model,
    image: Image.Image | Recording,
    method: str,
    target: int | None = ...,
    *,
    framing: Framing | None = ...,
    **params: Any,
) -> Explanation: ...


@overload
def explain(
    model: Model,
    image: Sequence[Image.Image],
    method: str,
    target: int | Sequence[int] | None = ...,
    *,
    framing: Framing | None = ...,
    **params: Any,
) -> list[Explanation]: ...


def explain(
    model: Model,
    image: Image.Image | Sequence[Image.Image] | Recording,
    method: str,
    target: int | Sequence[int] | None = None,
    *,
    framing: Framing | None = None,
    **params: Any,
) -> Explanation | list[Explanation]:
    """Explain how a model looks at a picture.

    Parameters
    ----------
    image
        A picture, a list of pictures (batched passes, a list comes back), or a recording of one
        picture, which spares every pass that needs no new gradient; `Recording.release` it when
        no further class is to be asked for.
    method
        A name of `core.methods`.
    target
        Class index, or one per picture; by default each picture's most probable class.
    framing
        How pictures are fitted; by default as the model was evaluated.
    **params
        Parameters of the method.

    Raises
    ------
    UnknownMethod, UnsupportedMethod, ParameterError, ImageError, ZeroGradient, BusyError
    """
    chosen = supported(method, model)
    parameters = parse(chosen.parameters, model, method, params)
    request = chosen.request(model, parameters)
    if isinstance(image, Recording):
        return _explain(image.single(model), chosen, parameters, _targets(target, 1))[0]
    single = isinstance(image, Image.Image)
    images = [image] if isinstance(image, Image.Image) else list(image)
    targets = _targets(target, len(images))
    for wanted in targets:
        if wanted is not None:
            model.check_target(wanted)
    found: list[Any] = [None] * len(images)
    for places in _batches(model, images, framing):
        started = time.perf_counter()
        recording = _record(model, [images[i] for i in places], framing, parameters, request)
        results = _explain(recording, chosen, parameters, [targets[i] for i in places], started)
        recording.release()
        for i, result in zip(places, results, strict=True):
            found[i] = result
    return found[0] if single else found


def _record(
    model: Model,
    images: Sequence[Image.Image],
    framing: Framing | None,
    parameters: Any,
    request: GradientRequest | None,
) -> Recording:
    """A pass that keeps no more than the method needs: values are for gradients only."""
    if request is not None or not isinstance(model, VisionTransformer):
        return record(model, images, framing, request=request)
    if hasattr(parameters, "layer"):
        layers: Sequence[int] | None = [
            model.depth - 1 if parameters.layer is None else parameters.layer
        ]
    else:
        layers = getattr(parameters, "layers", None)
    return record(model, images, framing, layers=layers, values=False)


def _targets(target: int | Sequence[int] | None, count: int) -> list[int | None]:
    if target is None or isinstance(target, int | np.integer):
        return [None if target is None else int(target)] * count
    if not isinstance(target, Sequence | np.ndarray):
        raise ParameterError(f"The class is {target!r}, expected an index, a whole number.")
    if len(target) != count:
        raise ParameterError(f"{len(target)} classes were given for {count} pictures.")
    return [int(t) for t in target]


def _batches(
    model: Model, images: Sequence[Image.Image], framing: Framing | None
) -> list[list[int]]:
    """Places of pictures that can share a pass: same shape once fitted, at most `BATCH`."""
    if not images:
        raise ImageError("There is no picture to look at; choose at least one.")
    groups: dict[tuple[int, int], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(model.view(image, framing).size, []).append(place)
    return [g[i : i + BATCH] for g in groups.values() for i in range(0, len(g), BATCH)]


def _explain(
    recording: Recording,
    method: Method,
    parameters: Any,
    targets: Sequence[int | None],
    started: float | None = None,
) -> list[Explanation]:
    started = time.perf_counter() if started is None else started
    model = recording.model
    predictions: Sequence[Prediction | None] = (
        recording.predictions() if recording.logits is not None else [None] * len(recording)
    )
    resolved: list[int] = []
    if method.class_specific:
        resolved = [
            model.check_target(p.top if t is None and p is not None else t or 0)
            for t, p in zip(targets, predictions, strict=True)
        ]
    result = method.run(recording, resolved, parameters)
    maps = result.maps.detach().float().cpu().numpy()
    hidden = None if result.hidden is None else result.hidden.detach().float().cpu().tolist()
    seconds = (time.perf_counter() - started) / len(recording)
    return [
        Explanation(
            relevance=np.ascontiguousarray(maps[i]),
            view=recording.views[i],
            target=resolved[i] if resolved else None,
            label=model.label(resolved[i]) if resolved else "",
            prediction=predictions[i],
            method=method.name,
            title=method.title,
            params=dataclasses.asdict(parameters),
            hidden=None if hidden is None else hidden[i],
            notes=_notes(
                model,
                resolved[i] if resolved else None,
                maps[i],
                None if hidden is None else hidden[i],
                result.if_zero,
            ),
            model_id=model.spec.id,
            seconds=seconds,
        )
        for i in range(len(recording))
    ]


def _notes(
    model: Model,
    target: int | None,
    relevance: npt.NDArray[np.float32],
    hidden: float | None,
    if_zero: str,
) -> tuple[str, ...]:
    notes = []
    if not relevance.any():
        notes.append(f"The map is zero everywhere. {if_zero}".strip())
    if hidden is not None and isinstance(model, VisionTransformer) and model.prefix:
        notes.append(f"{hidden:.0%} of the mass falls on prefix tokens and is not shown.")
    if target in model.spec.hardly_taught:
        notes.append("The model was hardly taught this class: distrust its map.")
    return tuple(notes)
