"""Measurements of models and maps, each computed once and cached with the maps.

The `Maker` of the view stores every result with the Python lines that reproduce it.
"""

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
    TargetLike,
    VisionTransformer,
    heatmaps,
)
from dashboard import cache, python_lines, waiting
from dashboard.cache import key_of, results
from dashboard.choices import Choice, target_of, unknown_of
from dashboard.scene import Picture, Scene
from dashboard.view import Maker, options, slug
from dashboard.view import relevance as relevance_code

Mask = npt.NDArray[np.bool_]
GIVEN = Framing("given")
SQUARE = 16
"""Side in pixels of removed cells if no model has patches."""

STEPS = 16
"""Steps of a deletion or insertion curve."""

SEEDS = range(10)
"""Seeds of the random maps that represent chance."""


def grid_of(scene: Scene) -> tuple[int, int]:
    """Rows and columns on which parts are removed, for all models.

    They are the patches of the first model that has patches, else squares of about `SQUARE` pixels.
    """
    view = cache.view(scene)
    for model in map(cache.model, scene.ids):
        if isinstance(model, VisionTransformer):
            return model.grid((view.height, view.width))
    return max(1, round(view.height / SQUARE)), max(1, round(view.width / SQUARE))


REMOVED, CHANGED = "taken away", "changed picture"
"""Names of the mask and the picture among the exported arrays."""


def removed(make: Maker, mask: Mask, made: str = "") -> None:
    """Store the mask of removed patches; ``made`` is its expression, if it follows from a map."""
    digits = np.packbits(mask).tobytes().hex()
    bits = f"np.unpackbits(np.frombuffer(bytes.fromhex({digits!r}), np.uint8))"
    typed = f"{bits}[:{mask.size}].reshape{mask.shape!r}.astype(bool)"
    make.array(REMOVED, mask, made or typed)


def changed_picture(make: Maker, kind: str, strength: float, seed: int) -> Image.Image:
    """The changed picture, the same for all models."""
    scene = make.looked_at
    grid = grid_of(scene)
    found = core.changed(cache.view(scene), kind, strength, seed, grid)
    made = f"np.asarray(core.changed(view, {kind!r}, {strength!r}, {seed!r}, {grid!r}))"
    make.picture(CHANGED.capitalize(), found, made)
    return found


def taken_away(make: Maker, model_id: str, removed: Mask, fill: str, seed: int) -> Prediction:
    """A model's answer with some patches replaced; call `removed` first."""
    scene = make.looked_at
    key = key_of(model_id, scene, "what if", removed.shape, removed.tobytes(), fill, seed)
    found = results().get(
        key,
        lambda: core.what_if(
            cache.model(model_id), cache.view(scene), removed, framing=GIVEN, fill=fill, seed=seed
        ),
    )
    make.array(
        f"what if {model_id}",
        found.probabilities,
        f"core.what_if(models[{model_id!r}], view, arrays[{slug(REMOVED)!r}], "
        f"framing=given, fill={fill!r}, seed={seed!r}).probabilities",
    )
    return found


def changed(
    make: Maker, model_id: str, picture: Image.Image, kind: str, strength: float, seed: int
) -> Prediction:
    """A model's answer for ``picture``, made by `changed_picture` from the other arguments."""
    scene = make.looked_at

    def measure() -> Prediction:
        found: Prediction = core.predict(cache.model(model_id), picture, framing=GIVEN)
        return found

    found = results().get(
        key_of(model_id, scene, "changed", kind, strength, seed, grid_of(scene)), measure
    )
    make.array(
        f"what if {model_id}",
        found.probabilities,
        f"core.predict(models[{model_id!r}], Image.fromarray(arrays[{slug(CHANGED)!r}]), "
        "framing=given).probabilities",
    )
    return found


def robustness(make: Maker, model_id: str, kind: str, target: TargetLike, seed: int) -> Robustness:
    """A model's answers for growing changes of the picture."""
    scene = make.looked_at

    def measure() -> Robustness:
        with waiting.watched(cache.model(model_id).spec.title):
            return core.robustness(
                cache.model(model_id),
                cache.view(scene),
                kind,
                target=target,
                framing=GIVEN,
                grid=grid_of(scene),
                seed=seed,
            )

    found = results().get(
        key_of(model_id, scene, "robustness", kind, target, seed, grid_of(scene)), measure
    )
    make.array(
        f"{kind} {model_id}",
        found.probabilities,
        f"core.robustness(models[{model_id!r}], view, {kind!r}, target={target!r}, framing=given, "
        f"grid={grid_of(scene)!r}, seed={seed!r}).probabilities",
    )
    return found


def _curves(
    scene: Scene,
    model_id: str,
    relevance: npt.NDArray[np.float32],
    target: TargetLike,
    fill: str,
    what: str,
    key: Sequence[Any],
) -> Faithfulness | str:
    def measure() -> Faithfulness:
        with waiting.watched(what):
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
        kept = key_of(model_id, scene, "curves", target, fill, grid_of(scene), *key)
        return results().get(kept, measure)
    except MethodError as error:
        return str(error)


def curves(
    make: Maker, model_id: str, method: str, target: TargetLike, params: dict[str, Any], fill: str
) -> Faithfulness | str:
    """Deletion and insertion of a model's map, or a sentence why there are none."""
    scene = make.looked_at
    model = cache.model(model_id)
    title = f"{model.spec.title}, {core.find_method(method).title}"
    asked = target if core.find_method(method).class_specific else None
    try:
        [found] = make.explain(model_id, method, (asked,), params, at_once=True)
    except MethodError as error:
        return str(error)
    key = (method, tuple(sorted(params.items())))
    one = _curves(scene, model_id, found.relevance, target, fill, title, key)
    if not isinstance(one, str):
        make.array(
            f"curves {method} {model_id}",
            [one.deletion, one.insertion],
            f"np.array({_pair(scene, one, relevance_code(found, params))})",
        )
    return one


def _pair(scene: Scene, one: Faithfulness, relevance: str) -> str:
    """The expression for both curves of a map."""
    return (
        f"[(found := core.faithfulness(models[{one.model_id!r}], view, {relevance}, "
        f"{one.target!r}, framing=given, fill={one.fill!r}, steps={one.steps}, "
        f"grid={grid_of(scene)!r})).deletion, found.insertion]"
    )


def _baselines(scene: Scene) -> dict[tuple[str, int], npt.NDArray[np.float32]]:
    """Maps by name and seed: a random one for each of `SEEDS`, and one of each other kind."""

    def measure() -> dict[tuple[str, int], npt.NDArray[np.float32]]:
        view, grid = cache.view(scene), grid_of(scene)
        return {
            (name, seed): relevance
            for seed in SEEDS
            for name, relevance in core.baseline_maps(view, grid, seed).items()
            if name == "random" or not seed
        }

    return results().get(("baselines", cache.seen(scene), grid_of(scene), SEEDS), measure)


def chance(
    make: Maker, model_id: str, target: TargetLike, fill: str
) -> dict[str, list[Faithfulness]]:
    """The same for maps that do not depend on the model: several random ones, center, edges."""
    scene = make.looked_at
    title, found = cache.model(model_id).spec.title, dict[str, list[Faithfulness]]()
    for (name, seed), relevance in _baselines(scene).items():
        what = f"{title}, {name}" + (f" {seed + 1}" if name == "random" else "")
        one = _curves(scene, model_id, relevance, target, fill, what, (name, seed))
        found.setdefault(name, [])
        if not isinstance(one, str):  # a picture without edges gives no order
            found[name].append(one)
    for name, ones in found.items():
        if ones:
            seeds = SEEDS if name == "random" else SEEDS[:1]
            maps = f"core.baseline_maps(view, {grid_of(scene)!r}, seed)[{name!r}]"
            make.array(
                f"curves {name} {model_id}",
                [[one.deletion, one.insertion] for one in ones],
                f"np.array([{_pair(scene, ones[0], maps)} for seed in {seeds!r}])",
            )
    return found


def learned(
    make: Maker, choice: Choice, classes: Sequence[str], seed: int = 0
) -> Randomization | str:
    """A map at every depth to which its model is randomized, or why there is none.

    Parameters
    ----------
    classes
        As in `dashboard.choices.target_of`.
    """
    if choice.method is None:
        return choice.refusal
    model, method = choice.model, choice.method
    scene = make.looked_at

    def measure() -> Randomization:
        target = target_of(model, classes) if method.class_specific else None
        with waiting.watched(f"{model.spec.title}, randomized"):
            return core.randomization(
                model,
                cache.view(scene),
                method.name,
                target,
                seed=seed,
                framing=GIVEN,
                **_randomized(choice.values),
            )

    params = tuple(sorted(choice.values.items()))
    key = key_of(model.spec.id, scene, "randomization", method.name, tuple(classes), params, seed)
    try:
        found = results().get(key, measure)
    except MethodError as error:
        return str(error)
    _keep_randomization(make, found, choice.values)
    return found


def _randomized(params: dict[str, Any]) -> dict[str, Any]:
    """A method's parameters for `core.randomization`, which has another argument ``seed``."""
    return {"method_seed" if name == "seed" else name: value for name, value in params.items()}


def _keep_randomization(make: Maker, found: Randomization, params: dict[str, Any]) -> None:
    one = found.original
    make.explanation(one, params)
    model_id = one.model_id
    maps = make.array(
        f"randomized {one.method} {model_id}",
        found.relevance,
        f"core.randomization(models[{model_id!r}], view, {one.method!r}, {one.target!r}, "
        f"seed={found.seed!r}, framing=given{options(_randomized(params))}).relevance",
    )
    make.array(
        f"rank correlation {one.method} {model_id}",
        found.rank_correlation,
        f"np.array([heatmaps.rank_correlation(one, intact) for intact in "
        f"[{relevance_code(one, params)}] for one in arrays[{maps!r}]])",
    )


def in_a_grid(
    make: Maker, choice: Choice, pictures: Sequence[Picture]
) -> tuple[Image.Image, list[tuple[Explanation, float]]] | str:
    """Four pictures in one: the map of each class, and its share in the class's quarter."""
    scene = make.looked_at
    if choice.method is None:
        return choice.refusal
    model, method = choice.model, choice.method
    views = [cache.view(scene, picture) for picture in pictures]

    def measure() -> tuple[Image.Image, list[tuple[Explanation, float]]]:
        core.check_zero(model, method.name, **choice.values)
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
            with waiting.watched(f"{model.spec.title}, picture {place + 1} of 4"):
                one = core.explain(model, recording, method.name, target, **choice.values)
            found.append((one, float(heatmaps.quarter_shares(one.positive())[place])))
        return together, found

    params = tuple(sorted(choice.values.items()))
    digests = tuple(cache.seen(scene, picture) for picture in pictures)
    key = key_of(model.spec.id, scene, "pointing", digests, method.name, params)
    try:
        found = results().get(key, measure)
    except MethodError as error:
        return str(error)
    _keep_grid(make, model.spec.id, pictures, found, choice.values)
    return found


def _keep_grid(
    make: Maker,
    model_id: str,
    pictures: Sequence[Picture],
    found: tuple[Image.Image, list[tuple[Explanation, float]]],
    params: dict[str, Any],
) -> None:
    together, maps = found
    for picture in pictures:
        make.also(picture)
    views = ", ".join(python_lines.view(picture, make.looked_at) for picture in pictures)
    made = f"np.asarray(core.pointing_grid(models[{model_id!r}], [{views}], given))"
    name = make.array(f"four in one {model_id}", np.asarray(together), made)
    grid = f"Image.fromarray(arrays[{name!r}])"
    names = []
    for place, (one, _) in enumerate(maps, 1):
        title = f"quarter {place} {one.method} {model_id}"
        made = relevance_code(one, params, grid)
        names.append(make.array(title, one.relevance, made, one))
    make.array(
        f"pointing {maps[0][0].method} {model_id}",
        [share for _, share in maps],
        "np.array([heatmaps.quarter_shares(arrays[name])[place] for place, name in "
        f"enumerate({names!r})])",
    )


def verdict(make: Maker, choice: Choice, classes: Sequence[str]) -> str:
    """One line on whether a map is better than chance in deletion and insertion.

    Parameters
    ----------
    classes
        As in `dashboard.choices.target_of`.
    """
    model = choice.model
    if choice.method is None:
        return choice.refusal
    if unknown := unknown_of(model, classes):
        return f"cannot be checked, as the model has no class {unknown[0]!r}"
    target = target_of(model, classes)
    found = curves(make, model.spec.id, choice.method.name, target, choice.values, "blur")
    if isinstance(found, str):
        return found
    judged = core.judged(found, chance(make, model.spec.id, target, "blur"))
    rivals = "; ".join(
        f"{one.title} {one.difference:.2f} ± {one.margin:.2f}: {one.verdict}"
        for one in judged.rivals
    )
    word = "better" if judged.better else "not better"
    return (
        f"insertion minus deletion {judged.difference:.2f}, {word} than chance ({rivals}). "
        f"{judged.interval}"
    )
