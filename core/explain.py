"""Explanations and predictions: one request, one frozen result."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from core import heatmaps
from core.errors import ImageError, ParameterError
from core.frozen import Frozen, ReadOnly, read_only
from core.images import Framing
from core.methods.parameters import Parameters, parse
from core.methods.registry import Method, no_zero, supported
from core.models import Model, VisionTransformer
from core.models.preprocessing import Preprocessing
from core.numerics import own_state
from core.recording.batches import record_stream
from core.recording.recording import Prediction, Recording
from core.recording.run import Needs
from core.targets import ClassTarget, Target, TargetLike, as_given, as_target

MANIFEST_VERSION = 1
"""Version, incremented when a key of `Explanation.manifest` changes its meaning."""

FEWEST = 2
"""Fewest rows and columns of a map."""


@dataclass(frozen=True, eq=False)
class Explanation(Frozen):
    """An explanation of one picture, without tensors or graphs.

    Attributes
    ----------
    relevance : (rows, cols) float32
        Raw and signed, in the method's own unit.
    view : PIL.Image.Image
        What the model saw; the map covers exactly this.
    target : int or Target or None
        Index of the explained class, or another target, such as `rather_than`; ``None`` where
        the method does not depend on the class.
    label : str
        Name of the class, or of one rather than another; empty without a class.
    names : tuple of str
        Names of the classes of the target, the supported one first.
    prediction : Prediction or None
        ``None`` for a model without classes.
    method, title : str
        Name and title of the method.
    signed : bool
        Whether negative values have a meaning.
    has_zero : bool
        Whether zero means no influence; otherwise only differences have a meaning.
    params : mapping
        All parameters, defaults included.
    prefix_mass : float or None
        Share of the mass on prefix tokens, which the map does not show, in [0, 1].
    notes : tuple of str
        What a reader must know about this map.
    model_id : str
    weights_digest : str
        SHA-256 of the model's weights.
    picture_digest : str
        SHA-256 of the picture's pixels; see `core.images.digest`.
    framing : Framing
        How the picture was fitted.
    seconds : float
        Wall time of this request, network passes included if it needed any.
    preprocessing : Preprocessing or None
        Preprocessing of a user's own model; ``None`` where it was published with the
        weights.
    """

    relevance: npt.NDArray[np.float32]
    view: Image.Image
    target: int | Target | None
    label: str
    names: tuple[str, ...]
    prediction: Prediction | None
    method: str
    title: str
    signed: bool
    has_zero: bool
    params: Mapping[str, Any]
    prefix_mass: float | None
    notes: tuple[str, ...]
    model_id: str
    weights_digest: str
    picture_digest: str
    framing: Framing
    seconds: float
    preprocessing: Preprocessing | None = None

    def heatmap(
        self, size: tuple[int, int] | None = None, percentile: float = 100.0
    ) -> npt.NDArray[np.float32]:
        """The map for display: resized bilinearly, scaled from its minimum to a percentile.

        Parameters
        ----------
        size
            (height, width) in pixels; by default the view's.
        percentile
            Values above this percentile of the raw map are clipped to it.

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

    def positive(self) -> npt.NDArray[np.float32]:
        """The positive part of the map, (rows, cols), for sums such as shares and densities.

        Raises
        ------
        NoZero
            The map's zero has no meaning, so its sums would have none.
        """
        if not self.has_zero:
            raise no_zero(self.title)
        return np.maximum(self.relevance, 0)

    @cached_property
    def spikes(self) -> npt.NDArray[np.bool_]:
        """Isolated places of this map far above their neighbors: (rows, cols)."""
        found: npt.NDArray[np.bool_] = read_only(heatmaps.spikes(self.relevance))
        return found

    def manifest(self) -> dict[str, Any]:
        """All that is needed to reproduce this map from the same picture, as plain data."""
        prepared = {"preprocessing": self.preprocessing.content()} if self.preprocessing else {}
        return {
            "manifest": MANIFEST_VERSION,
            "picture": {"sha256": self.picture_digest},
            "model": {"id": self.model_id, "weights_sha256": self.weights_digest, **prepared}
            | self._answer(),
            "framing": dataclasses.asdict(self.framing),
            "method": self.method,
            "parameters": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.params.items()
            },
            "class": None if self.target is None else as_target(self.target).content(self.names),
            "relevance": {"shape": list(self.relevance.shape), "prefix_mass": self.prefix_mass},
            "versions": dict(versions()),
        }

    def _answer(self) -> dict[str, str]:
        """How logits were turned into probabilities, if not by softmax."""
        found = self.prediction
        return {"answer": found.answer} if found and found.answer != "softmax" else {}


@cache
def versions() -> Mapping[str, str]:
    """Versions of Python and the libraries that numbers depend on, by name."""
    names = ("torch", "torchvision", "timm", "transformers", "captum", "numpy", "pillow")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ReadOnly(found)


def predict(
    model: Model,
    image: Image.Image | Sequence[Image.Image],
    k: int = 5,
    framing: Framing | None = None,
) -> Any:
    """The ``k`` most probable classes of a picture, or of each in a list.

    In a model of labels (``model.answer == "sigmoid"``) each label has its own probability;
    `Prediction.affirmed` lists those above one half.

    Returns
    -------
    Prediction or list of Prediction

    Raises
    ------
    UnsupportedMethod
        The model has no classes.
    """
    single = isinstance(image, Image.Image)
    images = _listed(image)
    found: list[Any] = [None] * len(images)
    for batch in record_stream(model, images, framing, Needs()):
        for place, prediction in zip(batch.places, batch.recording.predictions(k), strict=True):
            found[place] = prediction
        del batch  # before the next pass runs
    return found[0] if single else found


def needs(model: Model, method: str, **params: Any) -> Needs:
    """What a pass must record for a method.

    Combine the needs of several methods with ``|``:
    ``core.needs(vit, "rollout") | core.needs(vit, "legrad")``.

    Raises
    ------
    UnknownMethod, UnsupportedMethod, ParameterError
    """
    chosen = supported(method, model)
    return chosen.needs(model, parse(chosen.parameters, model, method, params))


def check_zero(model: Model, method: str, **params: Any) -> None:
    """Reject maps without a meaningful zero before any is computed to sum its positive parts.

    Raises
    ------
    NoZero, UnknownMethod, UnsupportedMethod, ParameterError
    """
    chosen = supported(method, model)
    if not chosen.has_zero(parse(chosen.parameters, model, method, params)):
        raise no_zero(chosen.title)


@overload
def explain(
    model: Model,
    image: Image.Image,
    method: str,
    target: TargetLike | None = ...,
    *,
    framing: Framing | None = ...,
    **params: Any,
) -> Explanation: ...


@overload
def explain(
    model: Model,
    image: Sequence[Image.Image],
    method: str,
    target: TargetLike | Sequence[TargetLike | None] | None = ...,
    *,
    framing: Framing | None = ...,
    **params: Any,
) -> list[Explanation]: ...


@overload
def explain(
    model: Model,
    image: Recording,
    method: str,
    target: TargetLike | Sequence[TargetLike | None] | None = ...,
    *,
    framing: None = ...,
    **params: Any,
) -> Any: ...


def explain(
    model: Model,
    image: Image.Image | Sequence[Image.Image] | Recording,
    method: str,
    target: TargetLike | Sequence[TargetLike | None] | None = None,
    *,
    framing: Framing | None = None,
    **params: Any,
) -> Explanation | list[Explanation]:
    """Explain a model's answer for a picture.

    Parameters
    ----------
    image
        A picture, a list of pictures (batched passes; returns a list), or a recording, which
        saves every pass whose needs it was made with (of a list: returns a list).
        Call `Recording.release` when no further class will be explained.
    method
        A name of `core.methods`.
    target
        Index or name of a class, or a class rather than another (`core.rather_than`), for all or
        one per picture; by default, and for ``None`` among several, each picture's most probable
        class; for a model of labels also the negation of one (`core.not_label`). For two classes,
        gradient methods use the gradient of the difference of their logits, CAM the
        difference of their weights, occlusion and RISE the decrease of that difference.
    framing
        How pictures are fitted; by default as the model was evaluated. A recording has its own.
    **params
        Parameters of the method.

    Raises
    ------
    UnknownMethod, UnsupportedMethod, ParameterError, ImageError, ZeroGradient, BusyError
    """
    chosen = supported(method, model)
    parameters = parse(chosen.parameters, model, method, params)
    if isinstance(image, Recording):
        if framing is not None:
            raise ParameterError("The pictures of a recording are already fitted; omit framing.")
        targets = model.check_targets(target, len(image))
        results = _explain(image.of(model), chosen, parameters, targets)
        return results if image.is_batch else results[0]
    images = _listed(image)
    targets = model.check_targets(target, len(images))
    found: list[Any] = [None] * len(images)
    started = time.perf_counter()
    for batch in record_stream(model, images, framing, chosen.needs(model, parameters)):
        part = [targets[place] for place in batch.places]
        results = _explain(batch.recording, chosen, parameters, part, started)
        for place, result in zip(batch.places, results, strict=True):
            found[place] = result
        del batch  # before the next pass runs
        started = time.perf_counter()
    return found[0] if isinstance(image, Image.Image) else found


def count_passes(recording: Recording, method: str, **params: Any) -> int:
    """How many passes of the network a map of one picture takes, beyond those of its recording.

    Parameters
    ----------
    recording
        Of the picture; states its size and its model.
    method
        A name of `core.methods`.
    **params
        Parameters of the method.

    Returns
    -------
    int
        Forward passes; one with its gradient counts as three. 0 of methods that read a recording,
        with at most one gradient.

    Raises
    ------
    UnknownMethod, UnsupportedMethod, ParameterError
    """
    chosen = supported(method, recording.model)
    return chosen.passes(recording, parse(chosen.parameters, recording.model, method, params))


@dataclass(frozen=True, eq=False)
class Answer(Frozen):
    """The results of a model for one picture of a stream.

    Attributes
    ----------
    place : int
        Index of the picture in the stream, counted from 0.
    prediction : Prediction or None
        ``None`` for a model without classes.
    explanations : mapping of str to Explanation
        By method.
    """

    place: int
    prediction: Prediction | None
    explanations: Mapping[str, Explanation]


def explain_stream(
    model: Model,
    images: Iterable[Image.Image],
    methods: Mapping[str, Mapping[str, Any]] | Sequence[str],
    target: TargetLike | None = None,
    *,
    framing: Framing | None = None,
) -> Iterator[Answer]:
    """Explain a stream of pictures of any length by several methods, in bounded memory.

    One pass serves all methods (and one more backward where they need gradients).

    Parameters
    ----------
    images
        Read as they are needed; pictures of equal size share passes.
    methods
        Names, or names with the parameters of each.
    target
        The target of all, as in `explain`; by default each picture's most probable class.

    Yields
    ------
    Answer
        One for each picture. Pictures of different sizes may be out of order.

    Raises
    ------
    UnknownMethod, UnsupportedMethod, ParameterError, ImageError, ZeroGradient, BusyError
    """
    given = methods if isinstance(methods, Mapping) else {name: {} for name in methods}
    requests, wanted = [], Needs()
    for name, params in given.items():
        chosen = supported(name, model)
        parameters = parse(chosen.parameters, model, name, params)
        requests.append((chosen, parameters))
        wanted |= chosen.needs(model, parameters)
    for batch in record_stream(model, images, framing, wanted):
        targets = model.check_targets(target, len(batch.recording))
        found = {
            chosen.name: _explain(batch.recording, chosen, parameters, targets)
            for chosen, parameters in requests
        }
        answered = list(zip(batch.places, _predictions(batch.recording), strict=True))
        del batch  # before the next pass runs
        for i, (place, prediction) in enumerate(answered):
            yield Answer(place, prediction, {name: maps[i] for name, maps in found.items()})


def _listed(image: Image.Image | Sequence[Image.Image]) -> list[Image.Image]:
    images = [image] if isinstance(image, Image.Image) else list(image)
    if not images:
        raise ImageError("No picture was given; choose at least one.")
    return images


def _predictions(recording: Recording) -> Sequence[Prediction | None]:
    return [None] * len(recording) if recording.logits is None else recording.predictions()


@own_state()
def _explain(
    recording: Recording,
    method: Method,
    parameters: Parameters,
    targets: Sequence[Target | None],
    started: float | None = None,
) -> list[Explanation]:
    started = time.perf_counter() if started is None else started
    model = recording.model
    recording.extend(method.needs(model, parameters))
    predictions = _predictions(recording)
    resolved: list[Target] = []
    if method.class_specific:
        resolved = [_chosen(*pair) for pair in zip(targets, predictions, strict=True)]
    # A class rather than itself is zero for every picture and method; its map has the shape of one
    # that is not.
    asked = [ClassTarget(one.indices[0]) if one.vanishes else one for one in resolved]
    result = method.run(recording, asked, parameters)
    maps = result.maps.detach().float().cpu().numpy()
    nothing = [bool(resolved) and resolved[i].vanishes for i in range(len(recording))]
    maps = np.where(np.array(nothing)[:, None, None], np.float32(0), maps)
    if min(maps.shape[1:]) < FEWEST:
        raise ParameterError(
            f"{method.title} of {model.spec.title} has {maps.shape[1]} × {maps.shape[2]} places at "
            "this size, too few for a map; choose an earlier layer, smaller cells or a larger size."
        )
    prefix_mass = [None] * len(recording)
    if result.prefix_mass is not None:
        prefix_mass = result.prefix_mass.detach().float().cpu().tolist()
    seconds = (time.perf_counter() - started) / len(recording)
    has_zero = method.has_zero(parameters)
    published = model.preprocessing.origin == "weights" and not model.preprocessing.stated
    prepared = None if published else model.preprocessing
    return [
        Explanation(
            relevance=np.ascontiguousarray(maps[i]),
            view=view.image,
            target=as_given(resolved[i]) if resolved else None,
            label=resolved[i].text(model.labels) if resolved else "",
            names=tuple(map(model.label, resolved[i].indices)) if resolved else (),
            prediction=predictions[i],
            method=method.name,
            title=method.title,
            signed=method.signed and has_zero,
            has_zero=has_zero,
            params=dataclasses.asdict(parameters),
            prefix_mass=None if nothing[i] else prefix_mass[i],
            notes=_notes(
                model,
                resolved[i] if resolved else None,
                None if nothing[i] else prefix_mass[i],
                _blankness(
                    maps[i],
                    method.signed and has_zero,
                    _SAME_CLASS if nothing[i] else result.if_zero,
                ),
                result.remarks[i] if result.remarks and not nothing[i] else "",
                _difference(resolved[i], model, method.signed and has_zero) if resolved else "",
            ),
            model_id=model.spec.id,
            weights_digest=model.weights_digest,
            picture_digest=view.digest,
            framing=view.framing,
            seconds=seconds,
            preprocessing=prepared,
        )
        for i, view in enumerate(recording.views)
    ]


_SAME_CLASS = "Both sides of the difference are the same class, so every place has zero relevance."


def _chosen(target: Target | None, prediction: Prediction | None) -> Target:
    """The target of a picture, by default its most probable class."""
    if target is not None:
        return target
    assert prediction is not None  # class-specific methods require a model with classes
    return ClassTarget(prediction.top)


def _difference(target: Target, model: Model, signed: bool) -> str:
    """Description of a target that is not a single class; empty for a single class."""
    if target.is_class:
        return ""
    if not target.is_difference:
        return (
            f"It explains {target.text(model.labels)}, the negated logit of this label: the "
            "evidence against it."
        )
    against = f"; negative relevance is evidence for {model.label(target.indices[-1])}"
    return (
        f"It explains {target.text(model.labels)}, the difference of the two logits"
        f"{against if signed else ''}."
    )


def _blankness(values: npt.NDArray[np.float32], signed: bool, if_zero: str) -> str:
    """Why a map is constant or has no positive value; empty otherwise."""
    if not values.any():
        return f"The map is zero everywhere. {if_zero}".strip()
    if values.min() == values.max():
        return (
            f"The map has the same value everywhere ({values.flat[0]:.3g}), so no place stands out "
            "from the others."
        )
    if signed and values.max() <= 0:
        return (
            "The map has no positive value: by this method no place is evidence for the class; "
            "places differ only in how much they are evidence against it."
        )
    return ""


def _notes(
    model: Model,
    target: Target | None,
    prefix_mass: float | None,
    *of_the_method: str,
) -> tuple[str, ...]:
    """What a reader must know, the most important first."""
    notes = list(filter(None, of_the_method))
    if prefix_mass is not None and isinstance(model, VisionTransformer):
        if model.prefix:
            notes.append(f"{prefix_mass:.0%} of the mass falls on prefix tokens and is not shown.")
        if not model.readout.is_plain:
            notes.append(f"Read at {model.readout.text}.")
    if target is not None:
        notes += filter(None, map(model.spec.card.doubts, target.indices))
    return tuple(notes)
