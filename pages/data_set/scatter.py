"""The scatter of a sweep's rows. Independent of Streamlit."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboard.figures import CLEAR
from dashboard.sweeps import OTHER, Points

_COLORS = ("#0d9488", "#d97706", "#7c6ee0", "#db2777", "#65a30d", "#0284c7", "#b45309", "#9f1239")
"""Colors that can be distinguished on light and dark backgrounds."""

_QUIET = "#8a8f98"
_NAMED = {
    "same": "#0d9488",
    "different": "#d97706",
    "both": "#0d9488",
    "first": "#d97706",
    "second": "#7c6ee0",
    "neither": "#db2777",
    "unlabeled": _QUIET,
    "none": _QUIET,
}
"""Colors of the groups of agreement and outcome, by their names in frames."""


def scatter(points: Points, x_title: str, y_title: str) -> go.Figure:
    """One point per picture, a color for each group; a point's number is the picture's index."""
    figure = go.Figure()
    frame = points.frame
    of_labels = OTHER in points.groups  # a label may have the name of a group
    for number, (group, title) in enumerate(points.groups.items()):
        part = frame[frame["group"] == group]
        if part.empty:
            continue
        figure.add_trace(
            go.Scattergl(
                x=part["x"].round(4).tolist(),
                y=part["y"].round(4).tolist(),
                name=title,
                mode="markers",
                marker={
                    "size": 5 if len(frame) > 500 else 8,
                    "opacity": 0.6 if len(frame) > 500 else 0.85,
                    "color": _QUIET
                    if group == OTHER
                    else _COLORS[number % len(_COLORS)]
                    if of_labels
                    else _NAMED[group],
                },
                customdata=[[index] for index in part["index"].tolist()],
                text=[path if len(path) < 60 else "…" + path[-58:] for path in part["path"]],
                hovertemplate="%{text}<br>%{x:.3g}, %{y:.3g}<extra>" + title + "</extra>",
            )
        )
    figure.update_layout(
        height=400,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        dragmode="select",
        legend={"orientation": "h", "y": 1.08, "x": 0},
        xaxis_title=x_title,
        yaxis_title=y_title,
    )
    return figure
