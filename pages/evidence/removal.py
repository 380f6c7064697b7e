"""Answers of all models after removal of parts, or a change of the whole picture.

Independent of Streamlit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

import core
from core import CHANGES, Model, Prediction, heatmaps
from dashboard import cache, figures, measurements
from dashboard.choices import Choice, Tell, within
from dashboard.screen import Screen
from dashboard.view import Figure, Maker, relevance
from pages.evidence import charts
from pages.evidence.asked import Asked
from pages.evidence.options import Options

Mask = npt.NDArray[np.bool_]

TAKEN = {"map": "Top of a map", "patches": "Patches you choose"}
"""Options of removal; the other changes are of the whole picture."""

DRAWN = ("shuffle", "drop")
"""Changes of the whole picture that depend on a seed."""

LAST_SEED = 9999


@dataclass(frozen=True)
class Before:
    """A model's answers before and after a change.

    Attributes
    ----------
    number
        Of the model, as in `Asked.number`.
    was, now
        Probability of the target for the unchanged and the changed picture.
    rows
        Classes among the first answers to one of the two, with their probabilities for the
        unchanged and the changed picture, the most probable for the latter first.
    """

    title: str
    number: int
    was: float
    now: float
    rows: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, eq=False)
class Removal:
    """The removal or change, and its results.

    Attributes
    ----------
    change
        The change: a key of `TAKEN` or of `core.CHANGES`.
    classes
        As in `Asked`.
    names
        Names of the looks whose map can be removed.
    top_of
        Index of the look whose map is removed.
    refusal
        Why nothing is removed; empty otherwise.
    map_name
        Title of the removed map; empty if patches were chosen.
    mask
        Removed patches; ``None`` if the whole picture is changed.
    patches
        The picture without them.
    patch
        Row and column for keyboard input.
    picture
        The changed picture.
    strengths
        Available strengths, and the current ``strength``.
    answers
        Answers of each model.
    curve
        Probabilities over the strength.
    refusals
        Why models are excluded, one sentence each.
    """

    change: str
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()
    top_of: int = 0
    refusal: str = ""
    map_name: str = ""
    mask: Mask | None = None
    patches: Figure | None = None
    patch: tuple[int, int] = (0, 0)
    picture: Image.Image | None = None
    strengths: tuple[float, ...] = ()
    strength: float = 0.0
    answers: tuple[Before, ...] = ()
    curve: Figure | None = None
    refusals: tuple[str, ...] = ()


def removal(make: Maker, asked: Asked) -> Removal:
    """Remove parts, or change the whole picture, and run all models."""
    return (_taken if make.screen.of(Options).change in TAKEN else _changed)(make, asked)


# -- parts ----------------------------------------------------------------------------------------


def _taken(make: Maker, asked: Asked) -> Removal:
    chosen = make.screen.of(Options)
    now = make.screen
    names = tuple(choice.name for choice in asked.choices)
    map_name, top_of = "", 0
    if chosen.change == "patches":
        mask = _chosen(make)
    else:
        top_of = _whose_map(now, names, make.problem)
        found = _top(make, asked.choices[top_of], asked.classes, chosen.top)
        if isinstance(found, str):
            return Removal(chosen.change, asked.classes, names, top_of, refusal=found)
        mask, map_name = found
    shown = core.without(cache.view(asked.scene), mask, asked.fill, now.shared.seed)
    patches = make.show(_patches(shown, mask))
    answers = tuple(
        _before(
            asked,
            model,
            measurements.taken_away(make, model.spec.id, mask, asked.fill, now.shared.seed),
        )
        for model in asked.models
    )
    rows, cols = mask.shape
    row, col = now.shared.patch or (rows // 2, cols // 2)
    return Removal(
        chosen.change,
        asked.classes,
        names,
        top_of,
        map_name=map_name,
        mask=mask,
        patches=patches,
        patch=(min(row, rows - 1), min(col, cols - 1)),
        answers=answers,
        refusals=asked.refusals(),
    )


def _chosen(make: Maker) -> Mask:
    """The chosen patches of the screen, if they fit the picture."""
    grid, mask = measurements.grid_of(make.looked_at), make.screen.of(Options).mask
    if mask is not None and mask.shape != grid:
        make.problem(
            f"removed is for {mask.shape[0]} × {mask.shape[1]} patches, but this picture has "
            f"{grid[0]} × {grid[1]}; nothing is removed."
        )
        mask = None
    mask = np.zeros(grid, bool) if mask is None else mask
    measurements.removed(make, mask)
    return mask


def _whose_map(now: Screen, names: tuple[str, ...], tell: Tell) -> int:
    """Index of the look whose map is removed, by default the last."""
    options = now.of(Options)
    last = len(names) - 1
    if not last or options.top_of is None:
        return last
    if options.top_of > last:
        tell(f"top_of is {options.top_of!r}, which is not available here; shown instead: {last}.")
        return last
    return options.top_of


def _top(
    make: Maker, choice: Choice, classes: tuple[str, ...], share: float
) -> tuple[Mask, str] | str:
    """The patches of the highest relevance and the map's name, or why there is no map."""
    found = make.map_of(choice, classes)
    if isinstance(found, str):
        return found
    grid = measurements.grid_of(make.looked_at)
    mask = heatmaps.top_area(heatmaps.resize(found.relevance, grid), share)
    resized = f"heatmaps.resize({relevance(found, choice.values)}, {grid!r})"
    measurements.removed(make, mask, f"heatmaps.top_area({resized}, {share!r})")
    return mask, f"{found.title} of {found.label or 'no class'}, {choice.model.spec.title}."


def _patches(shown: Image.Image, removed: Mask) -> Figure:
    """The models' input, with clickable patches."""
    rows, cols = removed.shape
    figure = figures.clickable(figures.picture(shown), shown, (rows, cols))
    figure.update_layout(dragmode="select", margin={"b": 4})
    alt = f"The picture without {int(removed.sum())} of its {removed.size} patches"
    height = f"calc((100cqi - 2rem) * {0.4 * shown.height / shown.width:.4f} + 8px)"
    return Figure("patches", figure, alt, height, "100%")


# -- the picture as a whole -----------------------------------------------------------------------


def _changed(make: Maker, asked: Asked) -> Removal:
    chosen = make.screen.of(Options)
    now = make.screen
    strengths, strength = _strength(now, cache.view(asked.scene), make.problem)
    seed = now.shared.seed
    if chosen.change in DRAWN:
        seed = within(now, "seed", 0, LAST_SEED, make.problem)
    shown = measurements.changed_picture(make, chosen.change, strength, seed)
    answers = tuple(
        _before(
            asked,
            model,
            measurements.changed(make, model.spec.id, shown, chosen.change, strength, seed),
        )
        for model in asked.models
    )
    found = {
        model.spec.title: measurements.robustness(
            make, model.spec.id, chosen.change, asked.target(model), seed
        )
        for model in asked.models
    }
    curve = charts.strengths(found, CHANGES[chosen.change].meaning, strength)
    probability = "Probability of the class over the strength"
    if not asked.is_class:
        probability = f"Probability of {asked.label} over the strength"
    return Removal(
        chosen.change,
        asked.classes,
        picture=shown,
        strengths=strengths,
        strength=strength,
        answers=answers,
        curve=make.show(Figure("strengths", curve, probability)),
        refusals=asked.refusals(),
    )


def _strength(now: Screen, view: Image.Image, tell: Tell) -> tuple[tuple[float, ...], float]:
    """The available strengths for a picture, and the current one."""
    chosen = now.of(Options)
    known = CHANGES[chosen.change]
    offered = tuple(s for s in known.strengths if s <= known.highest(view))
    wanted = chosen.strength
    if wanted is not None and wanted in offered:
        return offered, wanted
    if wanted is not None:
        tell(f"strength is {wanted:g}, which {known.title!r} does not offer here.")
    return offered, offered[len(offered) // 2]


# -- answers --------------------------------------------------------------------------------------


def _before(asked: Asked, model: Model, after: Prediction) -> Before:
    before, target = asked.answers[model], asked.target(model)
    names = dict.fromkeys([*after.labels, *before.labels])
    rows = [
        (name, before.probability(index), after.probability(index))
        for name, index in zip(names, map(model.labels.index, names), strict=True)
    ]
    return Before(
        model.spec.title,
        asked.number(model),
        before.probability(target),
        after.probability(target),
        tuple(sorted(rows, key=lambda row: row[2], reverse=True)),
    )
