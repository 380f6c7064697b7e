"""Rows of panels: maps of one picture side by side, with notes for the reader.

Independent of Streamlit; `dashboard.panels` draws these rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from core import Explanation, Model, Prediction, Recording, Target, heatmaps
from dashboard import figures
from dashboard.choices import Choice
from dashboard.display import Display
from dashboard.scene import Picture
from dashboard.text import plain
from dashboard.view import Figure, Maker

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class Row(Figure):
    """A row of panels as a figure; a click on a panel's corner opens all in full screen.

    Attributes
    ----------
    view
        The picture below the maps.
    panels, display
        What the figure draws, and how.
    opened
        Number of the panel that full screen was opened from; ``None`` if it is closed.
    """

    view: Image.Image
    panels: tuple[figures.Panel, ...]
    display: Display
    opened: int | None = None

    def layers(self) -> list[figures.Layers]:
        """The panels as pictures, each with its map apart."""
        return [figures.layers(self.view, panel, **_drawn(self.display)) for panel in self.panels]


def _drawn(display: Display) -> dict[str, Any]:
    """Arguments of `figures.linked` and `figures.layers`."""
    return {
        "opacity": display.opacity,
        "colors": display.colors,
        "smooth": display.smooth,
        "brightness": display.blend == "brightness",
    }


def row(
    make: Maker,
    key: str,
    view: Image.Image,
    panels: Sequence[figures.Panel],
    display: Display,
    *,
    least: int = 0,
) -> Row:
    """Panels of one view in one figure, with a height that fits the available width.

    Parameters
    ----------
    key
        Of the row; `Screen.large` may name one of its panels, which opens it in full screen.
    least
        Least width of all panels in pixels, in a container that scrolls.
    """
    name, _, number = (make.screen.shared.large or "").rpartition(".")
    figure = figures.linked(view, panels, corners=["Full screen"] * len(panels), **_drawn(display))
    alt = "; ".join(f"{p.title}: {', '.join(p.subtitle.splitlines())}" for p in panels)
    width = f"max(100cqi, {least}px)" if least else "100cqi"
    opened = int(number) if name == key and int(number) < len(panels) else None
    if opened is not None:  # another figure than when it is closed, so that no click is held
        figure.update_layout(selectionrevision=opened + 1)
    made = Row(
        key,
        figure,
        f"The picture and its maps. {alt}",
        height_of(figure, view, len(panels), width),
        width,
        view=view,
        panels=tuple(panels),
        display=display,
        opened=opened,
    )
    return make.show(made)


def height_of(figure: Any, view: Image.Image, count: int, width: str = "100cqi") -> str:
    """Height of a figure of `figures.linked` that fits its panels, as a length of CSS.

    Parameters
    ----------
    count
        Number of panels.
    width
        Of the figure, as a length of CSS.
    """
    tall = (view.height / view.width) / count
    margin = figure.layout.margin
    return f"calc(({width}) * {tall:.4f} + {margin.t + margin.b}px)"


def looks(
    make: Maker,
    key: str,
    view: Image.Image,
    maps: Sequence[tuple[str, Explanation | str]],
    display: Display,
    *,
    artifacts: Mapping[str, Mask],
    details: Sequence[str] = (),
    least: int = 0,
) -> tuple[Row, list[str]]:
    """The picture and maps of it in one row.

    Parameters
    ----------
    maps
        Title and explanation of each panel, or a sentence why there is none.
    artifacts
        By id of a transformer, patches that receive far more attention than their neighbors.
    details
        Text after the name of each map's method; may be empty.
    least
        As in `row`.

    Returns
    -------
    row
    notes : list of str
        What a reader must know about each map, as Markdown.
    """
    made = [found for _, found in maps if isinstance(found, Explanation)]
    shown = {
        id(found): without_spikes(found, display, artifacts.get(found.model_id)) for found in made
    }
    relevances = {key: relevance for key, (relevance, _) in shown.items()}
    mixed = display.shared and len({(found.method, found.has_zero) for found in made}) > 1
    # Multiples of the mean are meaningful only for maps with a meaningful zero; others are
    # unchanged.
    dense = {id(found) for found in made if mixed and found.has_zero}
    relevances |= {key: heatmaps.density(relevances[key]) for key in dense}
    panels, notes = [figures.Panel("Picture", "as the models see it")], []
    for (name, found), detail in zip(maps, details or [""] * len(maps), strict=True):
        if isinstance(found, str):
            panels.append(figures.Panel(name, "no map: see below"))
            notes.append(plain(found))
            continue
        what = f"{', '.join(filter(None, [found.title, detail]))}\n{opinion(found)}"
        alone = mixed and id(found) not in dense
        look = dataclasses.replace(display, shared=False) if alone else display
        unit = look.unit("times the mean" if id(found) in dense else "relevance")
        rivals = [values for key, values in relevances.items() if not mixed or key in dense]
        panels.append(panel_of(found, relevances[id(found)], rivals, look, name, what, unit))
        own = "Its zero has no meaning, so it has its own scale." if alone else ""
        notes.append(
            " ".join(filter(None, [*found.notes, definition(found), shown[id(found)][1], own]))
        )
    return row(make, key, view, panels, display, least=least), notes


RANKS = ("first", "second", "third", "fourth", "fifth")


def opinion(found: Explanation) -> str:
    """The class of a map with its probability and rank."""
    if found.target is None:
        return "no class: one map for all"
    return " · ".join(filter(None, (found.label, standing(found))))


def standing(found: Explanation) -> str:
    """Probability and rank of the class of a map in its model's answer; empty without either.

    Of a class rather than another both probabilities, of the opposite of a label its own.
    """
    if found.target is None or found.prediction is None:
        return ""
    answer = found.prediction
    if isinstance(found.target, Target) and found.target.of_labels:
        return percent(answer.probability(found.target))
    if answer.answer == "sigmoid" and len(answer.logits) == 1:
        return percent(answer.probability(found.target))  # one label has no rank
    if isinstance(found.target, Target) and not found.target.is_class:
        return " against ".join(percent(answer.probability(one)) for one in found.target.indices)
    rank = answer.rank(found.target)
    place = RANKS[rank] if rank < len(RANKS) else f"rank {rank + 1}"
    return f"{percent(answer.probability(found.target))}, {place}"


def percent(share: float) -> str:
    """A probability in percent, with a decimal where it is small or close to one half."""
    if share < 0.001:
        return "< 0.1 %"
    close = share < 0.1 or (abs(share - 0.5) < 0.005 and share != 0.5)
    return f"{100 * share:.{1 if close else 0}f} %"


UNSURE, HARDLY = 0.3, 0.01
"""Probabilities below which an answer is a guess, and a map of a class explains almost nothing."""


def doubt(picture: Picture, answers: Mapping[Model, Prediction], *classes: str) -> str:
    """Why maps of this picture explain little, as sentences; empty if they do not.

    Parameters
    ----------
    answers
        The answers of each model with classes.
    classes
        Names of the classes whose maps are shown.
    """
    said = []
    if picture.outside:
        said.append(
            "None of the classes fits this picture: maps show what the answers depend on, not "
            "where an object is."
        )
    guesses = [
        f"{model.spec.title}: {found.labels[0]}, {percent(float(found.probabilities[0]))}"
        for model, found in answers.items()
        if found.answer == "softmax" and found.probabilities[0] < UNSURE
    ]
    none = [model.spec.title for model, found in answers.items() if not len(found.affirmed)]
    if none:
        said.append(
            f"No label is above one half ({', '.join(none)}): the maps are of labels that the "
            "model does not affirm."
        )
    if guesses:
        said.append(
            f"Best guesses only ({'; '.join(guesses)}): the map of a guess explains little."
        )
    for name in classes:
        shares = {
            model.spec.title: found.probability(model.labels.index(name))
            for model, found in answers.items()
            if name in model.labels
        }
        hardly = [f"{title} {percent(p)}" for title, p in shares.items() if p < HARDLY]
        if hardly:
            said.append(f"{name}: {', '.join(hardly)}; such a map explains almost nothing.")
    return " ".join(said)


def panel_of(
    found: Explanation,
    relevance: npt.NDArray[np.float32],
    rivals: Sequence[npt.NDArray[np.float32]],
    display: Display,
    title: str,
    subtitle: str,
    unit: str,
) -> figures.Panel:
    """A map as one panel of a figure; ``rivals`` share its scale if chosen."""
    signed = found.signed and display.against
    low, high = display.limits(relevance, rivals, signed, from_zero=found.has_zero)
    fades = found.has_zero
    return figures.Panel(title, subtitle, relevance, low, high, unit, signed, fades)


def without_spikes(
    explanation: Explanation, display: Display, artifacts: Mask | None
) -> tuple[npt.NDArray[np.float32], str]:
    """A map with its isolated bright patches replaced if chosen, and a sentence on them."""
    if artifacts is None or artifacts.shape != explanation.relevance.shape:
        return explanation.relevance, ""
    spikes = artifacts | explanation.spikes
    if not spikes.any():
        return explanation.relevance, ""
    gone = display.replaces_spikes(explanation)
    shown = heatmaps.fill(explanation.relevance, spikes) if gone else explanation.relevance
    return shown, _spike_note(spikes, gone, display)


def definition(explanation: Explanation) -> str:
    """The parameters of a map, so that every picture states its definition."""
    chosen = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in explanation.params.items()
        if value is not None
    ]
    return f"{', '.join(chosen).capitalize()}." if chosen else ""


def _spike_note(spikes: Mask, replaced: bool, display: Display) -> str:
    count = int(spikes.sum())
    row, col = np.argwhere(spikes)[0]
    more = f" and {count - 1} more" if count > 1 else ""
    fate = "replaced by their neighbors' median" if replaced else "kept"
    if display.spikes == "auto":
        fate += ", as “Auto” in Display does with this map"
    return f"Isolated bright patches (row {row}, column {col}{more}): {fate}."


def share_right(found: Explanation) -> float:
    """`heatmaps.share_right` of a map; ``nan`` if its zero has no meaning."""
    return heatmaps.share_right(found.positive()) if found.has_zero else math.nan


@dataclass(frozen=True)
class Agreement:
    """How much the maps of a row agree.

    Attributes
    ----------
    names
        Of the maps.
    correlation, overlap
        By the places of two maps, the first the smaller: Spearman's rank correlation in [-1, 1],
        and intersection over union of the brightest fifth in [0, 1]; ``nan`` where one is missing.
    """

    names: tuple[str, ...]
    correlation: Mapping[tuple[int, int], float]
    overlap: Mapping[tuple[int, int], float]


def agreement(maps: Sequence[tuple[str, Explanation | str]]) -> Agreement:
    """How much maps on one view agree, each two at the finer of their grids."""
    correlation, overlap = {}, {}
    for (i, (_, first)), (j, (_, second)) in combinations(enumerate(maps), 2):
        found = math.nan, math.nan
        if isinstance(first, Explanation) and isinstance(second, Explanation):
            found = heatmaps.agreement(first.relevance, second.relevance)
        correlation[i, j], overlap[i, j] = found
    return Agreement(tuple(name for name, _ in maps), correlation, overlap)


def times(
    choices: Sequence[Choice],
    maps: Sequence[tuple[str, Explanation | str]],
    recordings: Mapping[Model, Recording],
) -> str:
    """Times of passes and maps, as small text."""
    parts = []
    for model, recording in recordings.items():
        parts.append(f"{model.spec.title}: forward pass {1000 * recording.seconds:.0f} ms")
        for choice, (_, found) in zip(choices, maps, strict=True):
            if choice.model is model and isinstance(found, Explanation):
                what = ", ".join(filter(None, [found.title, choice.own]))
                parts[-1] += f", {what} {1000 * found.seconds:.0f} ms"
    return f"Time when it was first computed. {plain('; '.join(parts), 1000)}."


CHANCE = 0.11
"""Overlap of the brightest fifths of two maps that have nothing to do with each other: 1 / 9."""


def conclusion(found: Agreement) -> str:
    """What the agreement of maps comes to, in a sentence; empty where nothing is known."""
    known = {pair: value for pair, value in found.overlap.items() if not math.isnan(value)}
    if not known:
        return ""
    most, least = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    share = known[most]
    if len(known) == 1:
        places = "different" if share < 0.25 else "partly the same" if share < 0.5 else "the same"
        two = "The two maps" if len(found.names) == 2 else _named(found, most)
        return (
            f"{two} share {share:.0%} of their brightest fifth, where chance gives {CHANCE:.0%}: "
            f"they point to {places} places."
        )
    first, last = (_named(found, pair) for pair in (most, least))
    return (
        f"{first} agree most: they share {share:.0%} of their brightest fifth. {last} agree least, "
        f"with {known[least]:.0%}; chance gives {CHANCE:.0%}."
    )


def _named(found: Agreement, pair: tuple[int, int]) -> str:
    return " and ".join(found.names[place] for place in pair)


def number(value: float, form: str = "{:.2f}") -> str:
    """A number as text, or a dash where it is not defined."""
    return "–" if math.isnan(value) else form.format(value)
