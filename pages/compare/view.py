"""Content of Compare, made from the screen and the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import Explanation, Model, Prediction
from dashboard import cache, measurements, rows
from dashboard.choices import Choice, Classes, is_opposite
from dashboard.display import Display
from dashboard.rows import Agreement, Row
from dashboard.view import Maker, View
from pages.compare.options import Options

KEY = "compare"
"""Key of the row of maps."""

NARROWEST = 188
"""Least width of a column in pixels: the picture and two columns fit into 800 beside the sidebar;
more columns scroll."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Compare(View):
    """Content of Compare.

    Attributes
    ----------
    models
        The models shown, by id.
    choices
        One for each column.
    drawn
        The looks that are drawn in the columns; see `dashboard.view.Columns`.
    predictions
        By model, for those with classes.
    row
        The picture and all maps.
    notes
        What a reader must know about each map, as Markdown; one for each column.
    doubt
        What makes the maps tell little; empty where nothing does.
    conclusion
        What the agreement comes to, in a sentence; empty of one map.
    verdicts
        For each column whether its map is better than chance; empty until requested.
    times
        Times of passes and maps.
    """

    models: Mapping[str, Model]
    choices: tuple[Choice, ...]
    drawn: tuple[Choice, ...]
    classes: Classes
    predictions: Mapping[str, Prediction]
    row: Row
    notes: tuple[str, ...]
    doubt: str
    agreement: Agreement
    conclusion: str
    verdicts: tuple[str, ...]
    times: str


def view(make: Maker) -> Compare:
    """Run every model once, and read all maps off these passes."""
    now, scene, found = make.screen, make.looked_at, make.columns()
    drawn, answers, asked = found.drawn, found.answers, found.classes
    maps: list[tuple[str, Explanation | str]] = [
        (one.model.spec.title, make.map_of(one, asked.target)) for one in drawn
    ]
    row, notes = rows.looks(
        make,
        KEY,
        cache.view(scene),
        maps,
        Display.of(now),
        artifacts=cache.all_artifacts(scene),
        details=[one.own for one in drawn],
        least=least(len(drawn)),
    )
    agreed = rows.agreement([(one.name, made) for one, (_, made) in zip(drawn, maps, strict=True)])
    return make.view(
        Compare,
        models=found.models,
        choices=found.choices,
        drawn=drawn,
        classes=asked,
        predictions={model.spec.id: answer for model, answer in answers.items()},
        row=row,
        notes=tuple(notes),
        # A map of “not this label” explains what the model does not affirm.
        doubt=""
        if is_opposite(asked.target)
        else rows.doubt(scene.picture, answers, *asked.target),
        agreement=agreed,
        conclusion=rows.conclusion(agreed),
        verdicts=_verdicts(make, drawn, asked.target) if now.of(Options).checked else (),
        times=rows.times(drawn, maps, found.recordings),
    )


def _verdicts(make: Maker, chosen: Sequence[Choice], classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(measurements.verdict(make, one, classes) for one in chosen)


def least(count: int) -> int:
    """Least width in pixels of the picture and ``count`` columns."""
    return NARROWEST * (count + 1)
