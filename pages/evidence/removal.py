"""Parts taken away, or the picture changed as a whole: what every model then answers.

Knows no Streamlit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

import core
from core import CHANGES, Model, Prediction, heatmaps
from dashboard import cache, figures, measurements
from dashboard.choices import Choice, Tell
from dashboard.screen import Screen
from dashboard.view import Figure, Maker, relevance
from pages.evidence import charts
from pages.evidence.asked import Asked, within
from pages.evidence.options import Options

Mask = npt.NDArray[np.bool_]

TAKEN = {"map": "Top of a map", "patches": "Patches you choose"}
"""What can be taken away; the other changes are of the picture as a whole."""

DRAWN = ("shuffle", "drop")
"""Changes of the whole picture that depend on a seed."""

LAST_SEED = 9999


@dataclass(frozen=True)
class Before:
    """What a model answers before and after.

    Attributes
    ----------
    number
        Of the model, as in `Asked.number`.
    was, now
        Probability of what is asked for, in the whole picture and in the changed one.
    rows
        Classes that are among the first answers to one of both, with their probabilities in the
        whole picture and in the changed one, the most probable in the latter first.
    """

    title: str
    number: int
    was: float
    now: float
    rows: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, eq=False)
class Removal:
    """What is taken away or changed, and what follows.

    Attributes
    ----------
    change
        What is changed: a key of `TAKEN` or of `core.CHANGES`.
    classes
        As in `Asked`.
    names
        Of the looks whose map can be taken away.
    top_of
        Place of the look whose map is taken away.
    refusal
        Why nothing is taken away; empty where something is.
    map_name
        Whose map is taken away, for people; empty where it is no map's.
    mask
        Patches that are taken away; ``None`` where the picture is changed as a whole.
    patches
        The picture without them.
    patch
        Row and column that are offered for the keyboard.
    picture
        The picture changed as a whole.
    strengths
        How far it can be changed, and ``strength`` how far it is.
    answers
        Of each model that is asked.
    curve
        Probabilities over the strength.
    refusals
        Why models are not asked, one sentence each.
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
    """Take parts away, or change the picture as a whole, and ask all models."""
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
    """The patches of the screen, as far as the picture has them."""
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
    """Place of the look whose map is taken away: the last one until another is chosen."""
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
    found = make.look(choice, classes)
    if isinstance(found, str):
        return found
    grid = measurements.grid_of(make.looked_at)
    mask = heatmaps.top_area(heatmaps.resize(found.relevance, grid), share)
    resized = f"heatmaps.resize({relevance(found, choice.values)}, {grid!r})"
    measurements.removed(make, mask, f"heatmaps.top_area({resized}, {share!r})")
    return mask, f"{found.title} of {found.label or 'no class'}, {choice.model.spec.title}."


def _patches(shown: Image.Image, removed: Mask) -> Figure:
    """The picture as the models get it; every patch can be chosen."""
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
    """How far a picture can be changed, and how far it is."""
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
