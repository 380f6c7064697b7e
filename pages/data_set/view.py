"""Content of Data set, made from the screen and the rows of a sweep."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import core
from core import ParallaxError, SweepError, sweep
from dashboard import cache, presence, rows
from dashboard.sweeps import SweepTable, accounts_for
from dashboard.text import plain
from dashboard.view import Figure, Maker, View
from pages.data_set import chosen, pictures, sources
from pages.data_set.better import Better, better
from pages.data_set.chosen import Filters
from pages.data_set.options import Options
from pages.data_set.pictures import Gallery, Picked
from pages.data_set.scatter import scatter
from pages.data_set.sources import Source

if TYPE_CHECKING:
    import pandas as pd

MOST_NAMED = 40
"""Most columns listed in the help of the filters."""

PENDING = "Figures and pictures appear once the sweep is done."


@dataclass(frozen=True)
class Number:
    """A number at the top: its title, text and meaning."""

    label: str
    value: str
    help: str = ""


@dataclass(frozen=True, eq=False)
class Scatter:
    """A scatter of two columns.

    Attributes
    ----------
    x, y
        Names of the columns.
    color, colors
        Color option of the points, and all options.
    accounts
        Number of shown points and of all, as a sentence.
    """

    x: str
    y: str
    color: str
    colors: Sequence[str]
    figure: Figure
    accounts: str


@dataclass(frozen=True, eq=False)
class Classes:
    """The table of classes.

    Attributes
    ----------
    key
        Key that depends on rows and filters.
    title
        As Markdown.
    column
        Name of the column in filters.
    frame
        ``name`` and ``pictures``; if available also ``first`` and ``second`` (shares of right
        answers), ``same`` (share of same answers) and ``correlation`` (median).
    """

    key: str
    title: str
    column: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Limits:
    """Limits of the numbers.

    Attributes
    ----------
    unknown
        Why the plan cannot be read; empty otherwise.
    made
        Description of the sweep.
    failures
        Paths and errors of failed pictures.
    """

    unknown: str = ""
    sentences: tuple[str, ...] = ()
    made: str = ""
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Contents:
    """The content from a sweep's rows.

    Attributes
    ----------
    table
        Queries on the rows, with the compared models.
    other_weights
        Models with other weights than here, as a sentence; empty if there are none.
    filters, offered_filters
        Current and suggested filters.
    columns_named
        Columns for filters, as Markdown.
    """

    table: SweepTable
    other_weights: str
    filters: Filters
    offered_filters: Filters
    columns_named: str
    numbers: tuple[Number, ...]
    scatter: Scatter
    classes: Classes
    better: Better | None
    picked: Picked | None
    gallery: Gallery
    limits: Limits


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSet(View):
    """Content of Data set.

    Attributes
    ----------
    source
        The chosen sweep.
    pending
        Sentence if the sweep is still running; empty otherwise.
    missing
        Why there are no rows; empty otherwise.
    contents
        ``None`` without rows.
    """

    source: Source
    pending: str = ""
    missing: str = ""
    contents: Contents | None = None


def view(make: Maker) -> DataSet:
    """Query the rows of the chosen sweep; models run only if the sweep must be made."""
    asked = make.screen.of(Options)
    source = sources.chosen(asked, make.problem)
    if source.making:
        if not presence.reader():  # an export is not updated later
            make.problem(f"The sweep {source.name} is still being made. {PENDING}")
        return make.view(DataSet, source=source, pending=PENDING)
    if source.folder is None:
        return make.view(DataSet, source=source)
    try:
        table = cache.sweep_table(source.folder)
    except SweepError as error:
        missing = str(error) if source.run is None else ""
        return make.view(DataSet, source=source, missing=missing)
    contents = _contents(make, chosen.compared(table, asked, make.problem))
    return make.view(DataSet, source=source, contents=contents)


def _contents(make: Maker, table: SweepTable) -> Contents:
    now = make.screen
    asked = now.of(Options)
    filters = chosen.filters(table, asked, make.problem)
    names = table.offered
    named = ", ".join(f"`{plain(name)}`" for name in names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return Contents(
        table=table,
        other_weights=_other_weights(table.sweep),
        filters=filters,
        offered_filters=chosen.likely_filters(table, filters),
        columns_named=f"{named}{more}",
        numbers=_numbers(table, filters),
        scatter=_scatter(make, table, filters, asked),
        classes=_classes(table, filters),
        better=better(make, table, filters),
        picked=pictures.picked(table, now, make.problem),
        gallery=pictures.gallery(table, filters, now, make.problem),
        limits=_limits(table, filters),
    )


def _other_weights(found: sweep.Sweep) -> str:
    """The embedded models whose weights differ from those of the sweep, as a sentence."""
    titles = [
        core.find_spec(part["id"]).title
        for part in found.manifest["models"]
        if part["id"] in core.default_models()
        and cache.model(part["id"]).weights_digest != part["weights_sha256"]
    ]
    if not titles:
        return ""
    return (
        f"Made with other weights of {plain(' and '.join(titles))} than those used here: answers "
        "and maps differ from those on the other pages."
    )


def _key(name: str, *about: object) -> str:
    """A key that changes with the content."""
    return f"{name}-{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}"


# -- figures --------------------------------------------------------------------------------------


def share(value: float | None) -> str:
    """A share in whole percent, or a dash."""
    return "–" if value is None else f"{value:.0%}"


def _numbers(table: SweepTable, filters: Filters) -> tuple[Number, ...]:
    """Pictures, agreement, accuracy of each if labeled, medians of the maps' agreement."""
    found = cache.answered(table, "figures", filters)
    part = f" of {found.all:,}" if found.pictures != found.all else ""
    numbers = [Number("Pictures", f"{found.pictures:,}{part}")]
    if len(table.compared) == 2:
        said = "Both first answers have the same name."
        numbers.append(Number("Same first answer", share(found.same), said))
    if table.labeled:
        known = f"Of the {found.labeled:,} pictures whose label is a class of the model."
        right = (found.first_right, found.second_right)
        numbers += [
            Number(f"{table.titles[number]} right", share(value), known)
            for number, value in zip(table.compared, right, strict=False)
        ]
    if len(table.shown_maps) == 2:
        of = " and ".join(table.map_title(number) for number in table.shown_maps)
        correlation, overlap = (
            rows.number(math.nan if value is None else value)
            for value in (found.correlation, found.overlap)
        )
        numbers += [
            Number("Rank correlation, median", correlation, f"Of {of}."),
            Number("Overlap of top 20 %, median", overlap, f"Of {of}; 0.11 is the chance level."),
        ]
    if found.failed:
        failed = "Pictures without a row of figures."
        numbers.append(Number("Not readable", f"{found.failed:,}", failed))
    return tuple(numbers)


def _scatter(make: Maker, table: SweepTable, filters: Filters, asked: Options) -> Scatter:
    numbers = table.numbers
    x = chosen.axis(table, asked, "x", numbers[0], make.problem)
    y = chosen.axis(table, asked, "y", numbers[1 if len(numbers) > 1 else 0], make.problem)
    color = chosen.color(table, asked, make.problem)
    points = cache.answered(table, "scatter", x, y, color, filters)
    across, up = table.title(x), table.title(y)
    figure = Figure(
        _key("scatter", table.changed, table.compared, x, y, color, filters),
        scatter(points, across, up),
        f"{across} against {up}, one point a picture",
    )
    accounts = accounts_for(points.total, len(points.frame))
    return Scatter(x, y, color, table.colors(), make.show(figure), accounts)


def _classes(table: SweepTable, filters: Filters) -> Classes:
    """By class: accuracy of each model, the largest difference first."""
    titles = [table.titles[number] for number in table.compared]
    two = len(titles) == 2
    if table.labeled:
        about = "the largest difference" if two else "the most errors"
        title, column, left_out = f"**By label**, {about} first", "label", []
    else:
        about = ", the least agreement first" if two else ""
        title = f"**By the first answer of {plain(titles[0])}**{about}"
        column, left_out = f"answer:{table.sweep.models[table.first]}", ["first", "second"]
    left_out += [] if two else ["second", "same"]
    left_out += [] if len(table.shown_maps) == 2 else ["correlation"]
    frame = cache.answered(table, "classes", filters)
    return Classes(
        _key("classes", table.changed, table.compared, filters),
        title,
        column,
        frame.drop(columns=list(dict.fromkeys(left_out))),
    )


# -- limits ---------------------------------------------------------------------------------------


def _limits(table: SweepTable, filters: Filters) -> Limits:
    manifest = table.sweep.manifest
    failures = cache.answered(table, "failures", filters)
    try:
        plan = table.sweep.plan
        specs = [core.find_spec(model_id) for model_id in plan.models]
    except ParallaxError as unknown:  # an unknown model or fit
        return Limits(unknown=f"This cannot be shown here: {unknown}")
    sentences = [
        f"The {table.sweep.total:,} pictures are a chosen set; shares refer to this set only.",
        _of_training([specs[number] for number in table.compared]),
        *dict.fromkeys(spec.card.class_origin for spec in specs),
        _of_classes(plan, specs),
        "Labels are matched to classes by name; pictures whose label matches none count as "
        "unlabeled.",
    ]
    maps = ", ".join(table.map_title(number) for number in range(len(table.sweep.maps)))
    return Limits(
        sentences=tuple(filter(None, sentences)),
        made=f"{plain(', '.join(table.titles))}; fit {plan.framing.fit}; maps: {plain(maps)}; "
        f"begun {plain(manifest['runs'][0]['began'])} with torch "
        f"{plain(manifest['runs'][0]['versions'].get('torch', 'unknown'))}.",
        failures=tuple(failures),
    )


def _of_training(compared: Sequence[core.ModelSpec]) -> str:
    """Whether the compared models were trained on the same data; empty for one."""
    if len(compared) < 2:
        return ""
    if compared[0].matches(compared[1]):
        return "Both models were trained on the same data."
    return (
        "The pair is unmatched: the models were not trained on the same data, so a difference "
        "cannot be attributed to their architectures."
    )


def _of_classes(plan: sweep.Plan, specs: Sequence[core.ModelSpec]) -> str:
    """A sentence on the class of the maps."""
    if plan.target == "own":
        if len(specs) == 1:
            return "Maps explain the model's own first answer, right or wrong."
        return (
            "Each model's maps explain its own first answer, so where the answers differ the maps "
            "are of different classes."
        )
    return (
        f"All maps are of one class: the label's, else the first answer of {specs[0].title}, or of "
        "the next model if that one has no classes."
    )
