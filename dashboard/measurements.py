"""What the Evidence page asks of the models, each answer computed once and held with the maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import core
from core import (
    Explanation,
    Faithfulness,
    Framing,
    MethodError,
    Prediction,
    Randomization,
    Robustness,
    VisionTransformer,
    heatmaps,
)
from dashboard import cache, controls
from dashboard.cache import key_of, results
from dashboard.controls import Choice
from dashboard.scene import Picture, Scene

Mask = npt.NDArray[np.bool_]
GIVEN = Framing("given")
STEPS = 16
"""Steps of a deletion or insertion curve."""

SEEDS = range(5)
"""Of the random maps that stand for chance."""


def grid_of(scene: Scene) -> tuple[int, int]:
    """Rows and columns on which parts are removed, for both models: the transformer's patches."""
    vit, view = cache.model(scene.vit.id), cache.view(scene)
    assert isinstance(vit, VisionTransformer)
    return vit.grid((view.height, view.width))


def taken_away(scene: Scene, model_id: str, removed: Mask, fill: str, seed: int) -> Prediction:
    """A model's answer where some patches are replaced."""
    key = key_of(model_id, scene, "what if", removed.shape, removed.tobytes(), fill, seed)
    return results().get(
        key,
        lambda: core.what_if(
            cache.model(model_id), cache.view(scene), removed, framing=GIVEN, fill=fill, seed=seed
        ),
    )


def changed(scene: Scene, model_id: str, kind: str, strength: float, seed: int) -> Prediction:
    """A model's answer to the picture changed as a whole."""

    def make() -> Prediction:
        picture = core.changed(cache.view(scene), kind, strength, seed, grid_of(scene))
        found: Prediction = core.predict(cache.model(model_id), picture, framing=GIVEN)
        return found

    return results().get(key_of(model_id, scene, "changed", kind, strength, seed), make)


def robustness(scene: Scene, model_id: str, kind: str, target: int, seed: int) -> Robustness:
    """A model's answers as the picture is changed more and more."""

    def make() -> Robustness:
        with cache.watched(cache.model(model_id).spec.title):
            return core.robustness(
                cache.model(model_id),
                cache.view(scene),
                kind,
                target=target,
                framing=GIVEN,
                grid=grid_of(scene),
                seed=seed,
            )

    return results().get(key_of(model_id, scene, "robustness", kind, target, seed), make)


def _curves(
    scene: Scene,
    model_id: str,
    relevance: npt.NDArray[np.float32],
    target: int,
    fill: str,
    what: str,
    key: Sequence[Any],
) -> Faithfulness | str:
    def make() -> Faithfulness:
        with cache.watched(what):
            return core.faithfulness(
                cache.model(model_id),
                cache.view(scene),
                relevance,
                target,
                framing=GIVEN,
                fill=fill,
                steps=STEPS,
                grid=grid_of(scene),
            )

    try:
        return results().get(key_of(model_id, scene, "curves", target, fill, *key), make)
    except MethodError as error:
        return str(error)


def curves(
    scene: Scene, model_id: str, method: str, target: int, params: dict[str, Any], fill: str
) -> Faithfulness | str:
    """Deletion and insertion of a model's map, or the sentence that says why there are none."""
    model = cache.model(model_id)
    title = f"{model.spec.title}, {core.find_method(method).title}"
    asked = target if core.find_method(method).class_specific else None
    try:
        [found] = cache.explain(model_id, scene, method, (asked,), params)
    except MethodError as error:
        return str(error)
    key = (method, tuple(sorted(params.items())))
    return _curves(scene, model_id, found.relevance, target, fill, title, key)


def chance(scene: Scene, model_id: str, target: int, fill: str) -> dict[str, list[Faithfulness]]:
    """The same of maps that know nothing of the model: several random ones, center, edges."""
    view, title = cache.view(scene), cache.model(model_id).spec.title
    found: dict[str, list[Faithfulness]] = {}
    for seed in SEEDS:
        for name, relevance in core.baseline_maps(view, grid_of(scene), seed).items():
            if name == "random" or not seed:
                what = f"{title}, {name}" + (f" {seed + 1}" if name == "random" else "")
                one = _curves(scene, model_id, relevance, target, fill, what, (name, seed))
                found.setdefault(name, [])
                if not isinstance(one, str):  # edges of a picture without any have no order
                    found[name].append(one)
    return found


def learned(scene: Scene, choice: Choice, target: str, seed: int = 0) -> Randomization | str:
    """A map at every depth to which its model is randomized, or why there is none."""
    if choice.method is None:
        return choice.refusal
    model, method = choice.model, choice.method

    def make() -> Randomization:
        index = controls.index_of(model, target) if method.class_specific else None
        with cache.watched(f"{model.spec.title}, randomized"):
            return core.randomization(
                model,
                cache.view(scene),
                method.name,
                index,
                seed=seed,
                framing=GIVEN,
                **choice.values,
            )

    params = tuple(sorted(choice.values.items()))
    key = key_of(model.spec.id, scene, "randomization", method.name, target, params, seed)
    try:
        return results().get(key, make)
    except MethodError as error:
        return str(error)


def in_a_grid(
    scene: Scene, choice: Choice, pictures: Sequence[Picture]
) -> tuple[Image.Image, list[tuple[Explanation, float]]] | str:
    """Four pictures in one: the map of each one's class, and its share in that one's quarter."""
    if choice.method is None:
        return choice.refusal
    model, method = choice.model, choice.method
    views = [cache.view(scene, picture) for picture in pictures]

    def make() -> tuple[Image.Image, list[tuple[Explanation, float]]]:
        together = core.pointing_grid(model, views, GIVEN)
        recording = core.record(model, together, GIVEN, choice.needs)
        found = []
        for place, (picture, view) in enumerate(zip(pictures, views, strict=True)):
            known = [name for name in picture.classes if name in model.labels]
            if not method.class_specific:
                target = None
            elif known:
                target = model.labels.index(known[0])
            else:
                target = core.predict(model, view, 1, GIVEN).top
            one = core.explain(model, recording, method.name, target, **choice.values)
            found.append((one, float(heatmaps.quarter_shares(one.relevance)[place])))
        return together, found

    params = tuple(sorted(choice.values.items()))
    digests = tuple(picture.digest for picture in pictures)
    try:
        return results().get(
            key_of(model.spec.id, scene, "pointing", digests, method.name, params), make
        )
    except MethodError as error:
        return str(error)


def verdict(scene: Scene, choice: Choice, target: str) -> str:
    """In one line, whether a map does better than chance at deletion and insertion."""
    model = choice.model
    if choice.method is None:
        return choice.refusal
    if target not in model.labels:
        return f"cannot be checked, as the model knows no class {target!r}"
    index = controls.index_of(model, target)
    found = curves(scene, model.spec.id, choice.method.name, index, choice.values, "blur")
    if isinstance(found, str):
        return found
    random = [one.difference for one in chance(scene, model.spec.id, index, "blur")["random"]]
    mean, spread = float(np.mean(random)), float(np.std(random, ddof=1))
    above = (found.difference - mean) / spread if spread else 0.0
    word = "better than" if above > 2 else "worse than" if above < -2 else "no better than"
    deletion = float(
        np.mean(
            [one.deletion_share for one in chance(scene, model.spec.id, index, "blur")["random"]]
        )
    )
    return (
        f"deletion {found.deletion_share:.2f}, random {deletion:.2f}; insertion minus deletion "
        f"{found.difference:.2f}, random {mean:.2f} ± {spread:.2f}: {word} chance"
    )
