"""The screen's choices for a sweep, resolved against its rows. Independent of Streamlit."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dashboard.choices import Tell
from dashboard.sweeps import SweepTable, Unfit
from pages.data_set.options import Options

Filters = tuple[str, ...]

_SIGN = r"(<=|>=|!=|=|<|>)"


# -- compared models ------------------------------------------------------------------------------


def compared(table: SweepTable, asked: Options, tell: Tell) -> SweepTable:
    """The rows with the two compared models that the screen names, of more than two."""
    models = table.sweep.models
    two = [table.first, table.second]
    for place, name in enumerate(("sweep_first", "sweep_second")):
        wanted = getattr(asked, name)
        if wanted in models:
            two[place] = models.index(wanted)
        elif wanted is not None:
            tell(
                f"{name} is {wanted!r}, which is not a model of this sweep; shown instead: "
                f"{table.titles[two[place]]}."
            )
    first, second = two
    if first == second and len(models) > 1:
        # The chosen one stays; the other one is replaced.
        kept = asked.sweep_second is not None and asked.sweep_first is None
        other = next(number for number in range(len(models)) if number != first)
        first, second = (other, second) if kept else (first, other)
    return table.comparing(first, second)


def attends(table: SweepTable, number: int) -> bool:
    """Whether a model can have artifact patches."""
    return bool(table.sweep.manifest["models"][number]["family"] != "cnn")


# -- filters --------------------------------------------------------------------------------------


def filters(table: SweepTable, asked: Options, tell: Tell) -> Filters:
    """The filters, with current column names; invalid ones are left out."""
    kept = []
    for text in asked.where:
        try:
            table.condition([text])
            kept.append(table.canonical(text))
        except Unfit as error:
            tell(f"{error} It is left out.")
    return tuple(kept)


def likely_filters(table: SweepTable, kept: Filters) -> Filters:
    """Suggested filters, beside those that a user can type; none that contradicts a kept one."""
    models = {number: table.sweep.models[number] for number in table.compared}
    offered = ["same_answer=no", "same_answer=yes"] if len(models) == 2 else []
    offered += [f"artifacts:{one}>0" for number, one in models.items() if attends(table, number)]
    if table.labeled:
        offered += [f"right:{one}={answer}" for one in models.values() for answer in ("yes", "no")]
    decided = {text.partition("=")[0] for text in kept}  # of other signs the sign is part of it
    return tuple(text for text in offered if text.partition("=")[0] not in decided)


def readable(table: SweepTable, text: str) -> str:
    """Text of a filter; unchanged if it is invalid."""
    column, *rest = re.split(_SIGN, text, maxsplit=1)
    if not rest:
        return text
    return f"{table.title(column.strip())} {rest[0]} {rest[1].strip() or 'none'}"


def replaced(where: Filters, column: str, *conditions: str) -> Filters:
    """Filters with those of one column replaced."""
    own = re.compile(rf"^{re.escape(column)}\s*{_SIGN}")
    return (*(text for text in where if not own.match(text)), *conditions)


# -- the scatter, and the way through the pictures ------------------------------------------------


def axis(table: SweepTable, asked: Options, field: str, default: str, tell: Tell) -> str:
    """The column of an axis; the address may use an earlier name."""
    wanted = getattr(asked, field)
    value = default if wanted is None else table.named(wanted)
    if value in table.columns and value in table.numbers:
        return value
    tell(f"{field} is {wanted!r}, which is not available here; shown instead: {default}.")
    return default


def color(table: SweepTable, asked: Options, tell: Tell) -> str:
    """The color of points; the default is the first available."""
    colors, wanted = table.colors(), asked.color
    if wanted in colors:
        return wanted
    if wanted != Options.model_fields["color"].default:
        tell(f"color is {wanted!r}, which is not available here; shown instead: {colors[0]}.")
    return colors[0]


def order(table: SweepTable, orders: Mapping[str, str], asked: Options, tell: Tell) -> str:
    """The order of pictures; the default is the first available."""
    first, given = next(iter(orders)), asked.order
    wanted = table.order_named(given)
    if wanted in orders:
        return wanted
    if given != Options.model_fields["order"].default:
        tell(f"order is {given!r}, which is not available here; shown instead: {first}.")
    return first
