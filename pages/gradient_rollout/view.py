"""Content of Gradient rollout: a row for each model, a column for each class.

The first column is the same for all classes: plain rollout of a model with attention,
else the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

import core
from core import Explanation, MethodError, Model, Prediction, VisionTransformer, heatmaps
from dashboard import animations, cache, figures, rows, waiting
from dashboard.choices import FIRST, Choice, Classes, Slot, choice, classes, index_of
from dashboard.display import Display
from dashboard.looks import Look, texts
from dashboard.rows import Mask, Row
from dashboard.screen import Screen
from dashboard.text import plain
from dashboard.view import Figure, Maker, View
from pages.gradient_rollout.options import Options

RATIOS = (*(round(0.1 * i, 1) for i in range(10)), 0.95, 0.99)
"""Discard ratios of the animation."""

ROLLOUT = "rollout"
"""Value of `Options.animated` for plain rollout; no class has this name."""

WIDE = 3
"""Most panels in a row with full titles and color bars."""


@dataclass(frozen=True, eq=False)
class Column:
    """One model's map of one class, or why there is none."""

    name: str
    explanation: Explanation | None = None
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class Maps:
    """One model's row.

    Attributes
    ----------
    choice
        The method of its maps, or why there is none.
    columns
        Its maps, one for each class; empty without a method.
    notes
        What a reader must know about the maps, as Markdown, one entry per map with notes.
    """

    choice: Choice
    columns: tuple[Column, ...]
    row: Row
    notes: tuple[str, ...]

    @property
    def model(self) -> Model:
        """The model whose row it is."""
        return self.choice.model


@dataclass(frozen=True)
class Difference:
    """The difference of one model's maps of two classes.

    Attributes
    ----------
    correlation, overlap
        Spearman's rank correlation in [-1, 1], and intersection over union of the brightest fifth.
    right : tuple of float
        Share of each map on the right half; ``nan`` if its zero has no meaning.
    """

    model: str
    classes: tuple[str, str]
    correlation: float
    overlap: float
    right: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Animated:
    """Maps of one method as the discard ratio grows, or why there are none.

    Attributes
    ----------
    maps
        One (rows, cols) for each of `RATIOS`; empty with a refusal.
    note
        What a reader must know about them.
    """

    method: str
    title: str
    maps: tuple[npt.NDArray[np.float32], ...] = ()
    figure: Figure | None = None
    note: str = ""
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class Animation:
    """The discard ratio as an animation.

    Attributes
    ----------
    offered
        Classes available for animation, then `ROLLOUT`.
    wanted
        The chosen one; ``None`` until requested.
    """

    offered: tuple[str, ...]
    wanted: str | None
    sides: tuple[Animated, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class GradientRollout(View):
    """Content of Gradient rollout.

    Attributes
    ----------
    labeled
        The models with classes.
    doubt
        Why the maps explain little; empty if they do not.
    unit
        Unit of the color bars, if not written beside them.
    animation
        ``None`` if no model has attention.
    """

    maps: tuple[Maps, ...]
    labeled: tuple[Model, ...]
    classes: Classes
    doubt: str
    unit: str
    differences: tuple[Difference, ...]
    animation: Animation | None


def view(make: Maker) -> GradientRollout:
    """Run every model once, and explain every class from that pass."""
    now, scene = make.screen, make.looked_at
    models = [cache.model(model_id) for model_id in scene.ids]
    # Rows that begin with a plain rollout come first.
    ordered = sorted(enumerate(models), key=lambda one: not _has_rollout(one[1]))
    chosen = [
        choice(_slot(now, number, model), model, make.problem, class_specific=True)
        for number, model in ordered
    ]
    answers = dict[Model, Prediction]()
    for one in chosen:
        needs = core.needs(one.model, ROLLOUT) if _has_rollout(one.model) else core.Needs()
        recording = make.recording(one.model.spec.id, needs | one.needs)
        if recording.logits is not None:
            answers[one.model] = recording.predictions()[0]
    labeled = [model for model in models if model.classes]
    asked = classes(
        now,
        scene.picture.classes,
        labeled,
        [answers[model] for model in labeled],
        make.problem,
        automatic=2,
    )
    display = Display.of(now)
    rolled = {
        one.model: make.explain(one.model.spec.id, ROLLOUT)[0]
        for one in chosen
        if _has_rollout(one.model)
    }
    columns = [_columns(make, one, asked.shown) for one in chosen]
    maps = tuple(
        _maps(make, one, found, rolled.get(one.model), display, len(asked.shown))
        for one, found in zip(chosen, columns, strict=True)
    )
    return make.view(
        GradientRollout,
        maps=maps,
        labeled=tuple(labeled),
        classes=asked,
        doubt=rows.doubt(scene.picture, answers, *asked.shown),
        unit="" if _is_wide(len(asked.shown)) else display.unit("relevance"),
        differences=_differences(maps),
        animation=_animation(make, maps, asked.shown, display),
    )


def _slot(now: Screen, number: int, model: Model) -> Slot:
    """The slot of a model's row; ``number`` is the model's index."""
    model_id = model.spec.id

    def rows_of(of: Screen) -> dict[str, Look]:
        return {look.model: look for look in map(Look.read, of.of(Options).row)}

    def put(then: Screen, look: Look) -> Screen:
        kept = {one: held for one, held in rows_of(then).items() if one in then.shared.m}
        return then.to(row=texts({**kept, model_id: look}.values()))

    return Slot(f"row-{number}", rows_of(now).get(model_id, Look(model_id)), put)


def _has_rollout(model: Model) -> bool:
    return any(method.name == ROLLOUT for method in core.methods(model))


def _is_wide(count: int) -> bool:
    """Whether there is space for full titles and color bars of ``count`` classes."""
    return count + 1 <= WIDE


# -- rows of maps ---------------------------------------------------------------------------------


def _columns(make: Maker, one: Choice, names: Sequence[str]) -> tuple[Column, ...]:
    """The maps of one model, one for each class, or why there is none."""
    if one.method is None:
        return ()
    model, method, found = one.model, one.method.name, []
    with cache.keeping_graph(model.spec.id, make.looked_at):
        for name in names:
            try:
                target = index_of(model, name)
                [explanation] = make.explain(model.spec.id, method, (target,), one.values)
            except MethodError as error:
                found.append(Column(name, refusal=str(error)))
                continue
            found.append(Column(name, explanation))
    return tuple(found)


def _maps(
    make: Maker,
    one: Choice,
    columns: Sequence[Column],
    rolled: Explanation | None,
    display: Display,
    count: int,
) -> Maps:
    """One model's maps in a row after plain rollout or the picture."""
    wide = _is_wide(count)
    artifacts = cache.artifacts(one.model.spec.id, make.looked_at)
    panels, notes = [figures.Panel("Picture", "as the models see it" if wide else "")], []
    if rolled is not None:
        panel, note = _rollout_panel(rolled, display, artifacts, wide)
        panels, notes = [panel], [note]
    shown = [
        rows.without_spikes(column.explanation, display, artifacts)
        if column.explanation is not None
        else None
        for column in columns
    ]
    rivals = [entry[0] for entry in shown if entry is not None]
    title, unit = (one.model.spec.title, display.unit("relevance")) if wide else ("", "")
    for column, entry in zip(columns, shown, strict=True):
        if column.explanation is None or entry is None:
            panels.append(figures.Panel(column.name, "no map: see below"))
            notes.append(f"**{plain(column.name)}.** {plain(column.refusal)}")
            continue
        what = " · ".join(filter(None, [title, rows.standing(column.explanation)]))
        panels.append(
            rows.panel_of(column.explanation, entry[0], rivals, display, column.name, what, unit)
        )
        said = [*map(plain, column.explanation.notes), entry[1]]
        if text := " ".join(filter(None, said)):
            notes.append(f"**{plain(column.name)}.** {text}")
    number = make.looked_at.ids.index(one.model.spec.id)
    row = rows.row(make, f"classes-{number}", cache.view(make.looked_at), panels, display)
    return Maps(one, tuple(columns), row, tuple(notes))


def _rollout_panel(
    rolled: Explanation, display: Display, artifacts: Mask | None, wide: bool
) -> tuple[figures.Panel, str]:
    """Plain rollout as the first panel of a row, and its note."""
    relevance, note = rows.without_spikes(rolled, display, artifacts)
    unit = display.unit("relevance") if wide else ""
    panel = rows.panel_of(
        rolled, relevance, [relevance], display, "Plain rollout", "no class", unit
    )
    said = [rows.definition(rolled), *map(plain, rolled.notes), note]
    return panel, f"**Plain rollout.** {' '.join(filter(None, said))}"


def _differences(maps: Sequence[Maps]) -> tuple[Difference, ...]:
    """The differences of maps of each two classes, for every model."""
    found = []
    for row in maps:
        made = [one.explanation for one in row.columns if one.explanation is not None]
        for first, second in combinations(made, 2):
            correlation, overlap = heatmaps.agreement(first.relevance, second.relevance)
            found.append(
                Difference(
                    row.model.spec.title,
                    (first.label or "", second.label or ""),
                    correlation,
                    overlap,
                    (rows.share_right(first), rows.share_right(second)),
                )
            )
    return tuple(found)


# -- the animation --------------------------------------------------------------------------------


def _animation(
    make: Maker, maps: Sequence[Maps], names: Sequence[str], display: Display
) -> Animation | None:
    """Rollout and gradient rollout as the discard ratio grows; computed on request."""
    row = next((one for one in maps if _has_rollout(one.model)), None)
    if row is None:
        return None
    model = row.model
    known = [name for name in names if name in model.labels]
    wanted = make.screen.of(Options).animated
    if wanted is not None and wanted != ROLLOUT and wanted not in model.labels:
        make.problem(
            f"animated is {wanted!r}, which {model.spec.title} does not have; shown instead: plain "
            "rollout."
        )
        wanted = ROLLOUT
    if wanted is not None and wanted != ROLLOUT:
        known = list(dict.fromkeys([*known, wanted]))
    offered = (*known, ROLLOUT)
    if wanted is None:
        return Animation(offered, None, ())
    sides = [_animated(make, model, ROLLOUT, None, "Plain rollout", {}, display)]
    if wanted != ROLLOUT:
        method = row.choice.method
        values = row.choice.values if method and method.name == FIRST else {}
        target, title = index_of(model, wanted), f"Gradient rollout · {wanted}"
        sides.append(_animated(make, model, FIRST, target, title, values, display))
    return Animation(offered, wanted, tuple(sides))


def _animated(
    make: Maker,
    model: Model,
    method: str,
    target: int | None,
    title: str,
    values: dict[str, object],
    display: Display,
) -> Animated:
    scene = make.looked_at
    seen, each = cache.view(scene), [{**values, "discard": ratio} for ratio in RATIOS]
    try:
        with waiting.counted(title, len(RATIOS)) as report:
            frames = cache.frames(model.spec.id, scene, method, target, each, report)
    except MethodError as error:
        return Animated(method, title, refusal=str(error))
    maps = [frame.relevance for frame in frames]
    for made, params in zip(maps, each, strict=True):
        options = "".join(f", {name}={value!r}" for name, value in params.items())
        code = (
            f"core.explain(models[{model.spec.id!r}], view, {method!r}, {target!r}, framing=given"
        )
        make.array(f"{title} discard {params['discard']}", made, f"{code}{options}).relevance")
    labels = [f"{ratio:g}" for ratio in RATIOS]
    figure = animations.animation(
        seen,
        maps,
        labels,
        prefix="discard ratio ",
        unit="from each frame's smallest value (0) to its largest (1)",
        smooth=display.smooth,
        opacity=display.opacity,
        colors=display.colors,
        percentile=display.percentile,
    )
    margins = animations.ABOVE + animations.BELOW
    height = f"calc(100cqi * {seen.height / seen.width:.4f} + {margins}px)"
    kept = make.show(
        Figure(f"frames-{method}", figure, f"{title} while the discard ratio grows", height)
    )
    said = [_settings(values)]
    if isinstance(model, VisionTransformer) and model.prefix:
        shares = animations.mass_range([frame.prefix_mass for frame in frames])
        said.append(f"{shares} of the mass falls on prefix tokens and is not shown.")
    blank = [label for label, made in zip(labels, maps, strict=True) if not np.any(made)]
    if blank:
        said.append(f"Blank, because no attention is left: ratio {', '.join(blank)}.")
    return Animated(method, title, tuple(maps), kept, " ".join(filter(None, said)))


def _settings(values: dict[str, object]) -> str:
    chosen = [f"{k} {v}" for k, v in values.items() if k != "discard" and v is not None]
    return f"{', '.join(chosen).capitalize()}." if chosen else ""
