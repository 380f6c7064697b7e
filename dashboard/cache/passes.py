"""Views, recordings, and the maps computed from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import core
from core import (
    Attention,
    Explanation,
    Framing,
    Model,
    Recording,
    VisionTransformer,
)
from dashboard.cache.held import results
from dashboard.cache.models import holder_of, opened_model, spec
from dashboard.cache.pictures import from_sample
from dashboard.opening import OPENING
from dashboard.scene import Picture, Scene, framing_of
from dashboard.screen import Shared
from dashboard.waiting import watched

Mask = npt.NDArray[np.bool_]

Params = tuple[tuple[str, Any], ...]


def warm() -> None:
    """Open the default models in parallel, and compute the first screen."""
    first = Shared(image=OPENING)
    with ThreadPoolExecutor(len(first.m)) as pool:
        list(pool.map(opened_model, first.m))
    start = next(sample for sample in core.samples() if sample.id == first.image)
    opened = Scene(from_sample(start), tuple(map(spec, first.m)), framing_of(first))
    view(opened)
    for model_id in opened.ids:
        artifacts(model_id, opened)


def view(scene: Scene, picture: Picture | None = None) -> Image.Image:
    """The view of a picture for all models of the scene; shared, so do not modify it."""
    shown = picture or scene.picture

    def make() -> Image.Image:
        return core.shared_view([*map(opened_model, scene.ids)], shown.image, scene.framing)

    return results().get(("view", *_of_view(scene, shown)), make)


def _of_view(scene: Scene, picture: Picture | None = None) -> tuple[Any, ...]:
    return (picture or scene.picture).digest, scene.ids, scene.framing


def seen(scene: Scene, picture: Picture | None = None) -> str:
    """SHA-256 of the view of a picture.

    Key of results: the results of one model for a view do not depend on which other models
    are shown, as long as all see the same pixels.
    """

    def make() -> str:
        shown = view(scene, picture)
        return hashlib.sha256(repr(shown.size).encode() + shown.tobytes()).hexdigest()

    return results().get(("seen", *_of_view(scene, picture)), make)


def recording(
    model_id: str,
    scene: Scene,
    picture: Picture | None = None,
    needs: core.Needs | None = None,
) -> Recording:
    """The recording of one forward pass over a picture, reused by every slider.

    Parameters
    ----------
    needs
        Further needs beyond the usual, so that the first pass covers them.
    """
    shown = picture or scene.picture
    view_shown, opened = view(scene, shown), opened_model(model_id)
    wanted = core.usual_needs(opened) | (needs or core.Needs())
    return results().get(
        _recording_key(opened, seen(scene, shown)),
        lambda: core.record(opened, view_shown, Framing("given"), wanted),
    )


def _recording_key(opened: Model, pixels: str) -> Any:
    """Includes the model instance, which a recording holds: a reopened model has another key."""
    return ("recording", id(opened), pixels)


def settle(scene: Scene | None) -> None:
    """Release graphs and values beyond the budget, at the end of a run."""
    if scene is not None:
        for shown in scene.models:
            _let_go(holder_of(shown).peek(("model", shown.id)), scene)
    results().settle()


def features(model_id: str, scene: Scene, tap: str) -> npt.NDArray[np.float32]:
    """All channels of a tap over the scene's picture: (channels, rows, cols)."""
    recorded = recording(model_id, scene, needs=core.Needs([tap]))
    return core.features(recorded.model, recorded, tap)


def attention(model_id: str, scene: Scene, picture: Picture | None = None) -> Attention:
    """Attention maps of a transformer."""
    recorded = recording(model_id, scene, picture)
    return core.attention(recorded.model, recorded)


def artifacts(model_id: str, scene: Scene) -> Mask | None:
    """Patches that receive far more attention than others, from every layer's full
    attention; ``None`` of a model without attention."""
    if not isinstance(opened_model(model_id), VisionTransformer):
        return None
    key = key_of(model_id, scene, "artifacts")
    return results().get(key, lambda: attention(model_id, scene).artifacts())


def all_artifacts(scene: Scene) -> dict[str, Mask]:
    """`artifacts` of the models that have attention, by id."""
    found = {model_id: artifacts(model_id, scene) for model_id in scene.ids}
    return {model_id: mask for model_id, mask in found.items() if mask is not None}


_NO_VIEW = Image.new("RGB", (1, 1))
"""Placeholder of the view in a cached explanation, as `view` caches the only copy."""


def key_of(
    model_id: str, scene: Scene, *what: Any, picture: Picture | None = None
) -> tuple[Any, ...]:
    """Key of a result that holds no model and may outlive its model instance.

    Hence it includes the weights, not the instance, whose `id` may be reused.
    """
    return (model_id, opened_model(model_id).weights_digest, seen(scene, picture), *what)


_keeping: ContextVar[bool] = ContextVar("keeping", default=False)


@contextmanager
def keeping_graph(model_id: str, scene: Scene) -> Iterator[None]:
    """Keep the graph of a recording for all classes within a ``with`` block; then release it.

    May be nested: the outermost block releases. A thread that uses the graph keeps it.
    """
    if _keeping.get():
        yield
        return
    token = _keeping.set(True)
    try:
        yield
    finally:
        _keeping.reset(token)
        _let_go(holder_of(spec(model_id)).peek(("model", model_id)), scene)


def _let_go(opened: Model | None, scene: Scene) -> None:
    """Release the graph over the scene's picture, if there is one and no thread is using it."""
    pixels = results().peek(("seen", *_of_view(scene)))
    if opened is None or pixels is None:
        return
    if found := results().peek(_recording_key(opened, pixels)):
        found.release_if_idle()


def _explain(
    model_id: str, scene: Scene, method: str, target: core.TargetLike | None, params: Params
) -> Explanation:
    def make() -> Explanation:
        recorded = recording(model_id, scene)
        with watched(core.find_method(method).title):
            found: Explanation = core.explain(
                recorded.model, recorded, method, target, **dict(params)
            )
        if passes := core.count_passes(recorded, method, **dict(params)):
            _paces[recorded.model.spec.id, recorded.size] = found.seconds / passes
        return replace(found, view=_NO_VIEW)

    return results().get(key_of(model_id, scene, method, target, params), make)


@dataclass(frozen=True)
class Cost:
    """What maps that are not known yet would take.

    Attributes
    ----------
    key
        Of the maps.
    passes
        Forward passes of the network, or as many as take that long.
    seconds
        Estimate by one pass on this machine, or by the last map of many.
    """

    key: Hashable
    passes: int
    seconds: float


def cost(
    model_id: str,
    scene: Scene,
    method: str,
    targets: Sequence[core.TargetLike | None],
    params: Mapping[str, Any],
) -> Cost | None:
    """The cost of explanations; ``None`` where all are known or one pass serves them."""
    if core.find_method(method).is_quick:
        return None
    chosen: Params = tuple(sorted(params.items()))
    keys = [key_of(model_id, scene, method, target, chosen) for target in targets]
    missing = [key for key in keys if results().peek(key) is None]
    if not missing:
        return None
    recorded = recording(model_id, scene)
    passes = core.count_passes(recorded, method, **params) * len(missing)
    return Cost(tuple(keys), passes, passes * _pace(recorded, scene))


_paces: dict[tuple[str, tuple[int, int]], float] = {}
"""Seconds of a pass by model and size."""


def _pace(recorded: Recording, scene: Scene) -> float:
    """Seconds of a pass; of the first ones, which also prepare the network, none counts."""
    key = recorded.model.spec.id, recorded.size
    if key not in _paces:
        again = core.record(recorded.model, view(scene), Framing("given"), core.Needs())
        _paces[key] = min(recorded.seconds, again.seconds)
    return _paces[key]


def explain(
    model_id: str,
    scene: Scene,
    method: str,
    targets: tuple[core.TargetLike | None, ...] = (None,),
    params: dict[str, Any] | None = None,
) -> list[Explanation]:
    """Explanations of the scene's picture, one per target class."""
    chosen: Params = tuple(sorted((params or {}).items()))
    shown = view(scene)
    with keeping_graph(model_id, scene):
        return [
            replace(_explain(model_id, scene, method, target, chosen), view=shown)
            for target in targets
        ]


@dataclass(frozen=True, eq=False)
class Frame:
    """One map of an animation: (rows, cols), and the share of the mass on prefix tokens."""

    relevance: npt.NDArray[np.float32]
    prefix_mass: float


def _frame(model_id: str, scene: Scene, method: str, target: int | None, params: Params) -> Frame:
    def make() -> Frame:
        recorded = recording(model_id, scene)
        found = core.explain(recorded.model, recorded, method, target, **dict(params))
        return Frame(found.relevance, found.prefix_mass or 0.0)

    return results().get(key_of(model_id, scene, "frame", method, target, params), make)


def frames(
    model_id: str,
    scene: Scene,
    method: str,
    target: int | None,
    each: Sequence[dict[str, Any]],
    report: Callable[[int], None],
) -> list[Frame]:
    """Maps of one model for many settings of a method, from one recording.

    Parameters
    ----------
    each
        Parameters of each frame.
    report
        Called with the number of frames done, after each.
    """
    found = []
    with keeping_graph(model_id, scene):
        for params in each:
            chosen: Params = tuple(sorted(params.items()))
            found.append(_frame(model_id, scene, method, target, chosen))
            report(len(found))
    return found


@dataclass(frozen=True, eq=False)
class Summary:
    """The data for comparing several pictures: one map per layer, and the answers.

    Attributes
    ----------
    maps : (layers, rows, cols)
    answers
        The most probable classes with their probabilities; empty without classes.
    """

    maps: npt.NDArray[np.float32]
    answers: tuple[tuple[str, float], ...]


def _summary(model_id: str, scene: Scene, picture: Picture, fusion: str | None) -> Summary:
    found = attention(model_id, scene, picture)
    maps = found.joints(fusion) if fusion else found.mosaic().mean(axis=1)
    answer = found.prediction
    if answer is None:
        return Summary(maps, ())
    probabilities = (float(p) for p in answer.probabilities)
    return Summary(maps, tuple(zip(answer.labels, probabilities, strict=True)))


def summary(model_id: str, scene: Scene, picture: Picture, fusion: str | None = None) -> Summary:
    """Per layer the mean over the heads, or with a fusion the joint map up to that layer."""
    key = key_of(model_id, scene, "summary", fusion, picture=picture)
    return results().get(key, lambda: _summary(model_id, scene, picture, fusion))
