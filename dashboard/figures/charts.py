"""Figures without a picture: matrices and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from dashboard.figures.base import CLEAR, bar, scale
from dashboard.text import in_figure


def attention_matrix(
    values: npt.NDArray[np.float32],
    names: Sequence[str],
    ticks: Mapping[int, str],
    *,
    high: float,
    colors: str = "Inferno",
    unit: str = "",
    marked: int | None = None,
) -> go.Figure:
    """A full attention matrix; hovering over a cell shows query, key and value.

    Parameters
    ----------
    values : (tokens, tokens)
        Query by key.
    names
        One name per token.
    ticks
        Labels of the axes and their tokens.
    high
        Value at the end of the color scale, which begins at 0.
    marked
        A query whose row is outlined.
    """
    figure = go.Figure(
        go.Heatmap(
            z=values.astype(np.float32),
            x=list(names),
            y=list(names),
            zmin=0.0,
            zmax=high or 1.0,
            colorscale=scale(colors),
            colorbar=bar(unit),
            hovertemplate="%{y} attends<br>to %{x}: %{z:.3%}<extra></extra>",
        )
    )
    common = {
        "type": "category",
        "tickvals": [names[i] for i in ticks],
        "ticktext": list(ticks.values()),
        "tickfont": {"size": 10},
        "showgrid": False,
    }
    figure.update_xaxes(side="top", title="to (key)", tickangle=0, constrain="domain", **common)
    figure.update_yaxes(
        autorange="reversed",
        title="from (query)",
        scaleanchor="x",
        constrain="domain",
        constraintoward="top",
        **common,
    )
    if marked is not None:
        figure.add_shape(
            type="rect",
            x0=-0.5,
            x1=len(names) - 0.5,
            y0=marked - 0.5,
            y1=marked + 0.5,
            line={"color": "#2dd4bf", "width": 2},
        )
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 8, "b": 52},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        dragmode="zoom",
        hoverlabel={"font_size": 13, "align": "left"},
    )
    return figure


def matrix(
    values: npt.NDArray[np.float32], row_names: Sequence[str], column_names: Sequence[str]
) -> go.Figure:
    """A small table of shares in [0, 1] as a heat map."""
    figure = go.Figure(
        go.Heatmap(
            z=np.round(values, 4).tolist(),
            x=list(column_names),
            y=list(row_names),
            zmin=0.0,
            zmax=1.0,
            colorscale=scale("Teal"),
            showscale=False,
            xgap=1,
            ygap=1,
            hovertemplate="%{y} · %{x}: %{z:.0%}<extra></extra>",
        )
    )
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10})
    figure.update_layout(
        height=24 * len(row_names) + 16,
        margin={"l": 0, "r": 0, "t": 4, "b": 4},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        dragmode=False,
    )
    return figure


def curves(series: Mapping[str, Sequence[float]], y_title: str) -> go.Figure:
    """Lines over steps, one per name."""
    figure = go.Figure()
    for name, values in series.items():
        line = np.asarray(values, dtype=float)
        figure.add_trace(
            go.Scatter(
                x=list(range(1, line.size + 1)), y=line.tolist(), name=in_figure(name), mode="lines"
            )
        )
    figure.update_layout(
        xaxis_title="step",
        yaxis_title=y_title,
        height=260,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        legend={"orientation": "h", "y": 1.15},
    )
    return figure
