"""Which of the compared models is better on labeled pictures. Independent of Streamlit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from core import sweep
from dashboard import cache
from dashboard.figures import CLEAR, COLORS, GRAY
from dashboard.sweeps import SweepTable
from dashboard.text import in_figure, plain
from dashboard.view import Figure, Maker
from pages.data_set.chosen import Filters

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Better:
    """Accuracy, likelihood and calibration of the compared models.

    Attributes
    ----------
    sentence
        The difference and whether it is more than chance, as Markdown; empty for one model.
    frame
        One row a model.
    reliability
        Accuracy over confidence.
    """

    sentence: str
    frame: pd.DataFrame
    reliability: Figure


def better(make: Maker, table: SweepTable, filters: Filters) -> Better | None:
    """The figures of the pictures that pass the filters; ``None`` where none has a label."""
    import pandas as pd

    if not table.labeled:
        return None
    found: sweep.SweepMeasures = cache.answered(table, "measures", filters)
    titles = [table.titles[number] for number in table.compared]
    named = list(zip(titles, found.models, strict=True))
    if not any(one.count for _, one in named):
        return None
    alt = "Share of right first answers over their mean probability, in bins"
    return Better(
        "".join(_sentence(titles, one) for one in found.differences),
        pd.DataFrame([_row(title, one) for title, one in named]),
        make.show(Figure("reliability", _reliability(named), alt, "260px")),
    )


def _row(title: str, one: sweep.ModelMeasures) -> dict[str, object]:
    return {
        "Model": title,
        "Pictures": one.count,
        "Right": _percent(one.accuracy),
        "First five": _percent(one.first_five),
        "Negative log-likelihood": _with_bounds(one.negative_log_likelihood),
        "Calibration error": one.calibration_error,
        "Confidence of errors": one.confidence_of_errors,
    }


def _percent(one: sweep.Interval) -> str:
    if math.isnan(one.value):
        return "–"
    return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"


def _with_bounds(one: sweep.Interval) -> str:
    if math.isnan(one.value):
        return "–"
    bounds = "" if math.isnan(one.low) else f" ({one.low:.2f} to {one.high:.2f})"
    return f"{one.value:.2f}{bounds}"


def _sentence(titles: list[str], one: sweep.Difference) -> str:
    """What the paired difference says."""
    if not one.count:
        return "No picture has a label that both models know, so they cannot be compared."
    first, second = (plain(title) for title in titles)
    gap, low, high = (
        100 * value for value in (one.accuracy.value, one.accuracy.low, one.accuracy.high)
    )
    how = "more" if gap > 0 else "less" if gap < 0 else "as"
    than = "as" if gap == 0 else "than"
    gap_text, low_text, high_text = (f"{v:+.1f}".replace("-", "−") for v in (gap, low, high))
    said = (
        f"**{second} is right {how} often {than} {first}**: {gap_text} points (95 % interval "
        f"{low_text} to {high_text}) on the {one.count:,} pictures whose label both know; only "
        f"{first} is right on {one.only_first:,}, only {second} on {one.only_second:,}. "
    )
    if one.is_real:
        return said + "The interval leaves zero out."
    return said + "The interval includes zero: these pictures do not tell which is better."


def _reliability(named: list[tuple[str, sweep.ModelMeasures]]) -> go.Figure:
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GRAY, "dash": "dot", "width": 1},
        name="calibrated",
        hoverinfo="skip",
    )
    for (title, one), color in zip(named, COLORS, strict=False):
        bins = one.reliability
        most = max(part.count for part in bins) if bins else 1
        figure.add_scatter(
            x=[part.confidence for part in bins],
            y=[part.accuracy for part in bins],
            customdata=[part.count for part in bins],
            mode="lines+markers",
            name=in_figure(title),
            line={"color": color, "width": 1.5},
            marker={"size": [5 + 9 * math.sqrt(part.count / most) for part in bins]},
            hovertemplate="%{customdata:,} answers: probability %{x:.0%}, right %{y:.0%}"
            f"<extra>{in_figure(title)}</extra>",
        )
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        dragmode=False,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    axes = {"range": [-0.02, 1.04], "tickformat": ".0%", "fixedrange": True}
    figure.update_xaxes(title="probability of the first answer", **axes)
    figure.update_yaxes(title="right", **axes)
    return figure
