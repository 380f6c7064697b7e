"""Curves of the Evidence page. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core import Faithfulness, Randomization, Robustness
from dashboard.figures import CLEAR, COLORS, GRAY
from dashboard.text import in_figure

BAND = "rgba(139,144,154,.25)"


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 28, "b": 0},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        legend={"orientation": "h", "y": -0.16, "yanchor": "top"},
        hoverlabel={"font_size": 13},
        dragmode=False,
    )
    figure.update_yaxes(rangemode="tozero", tickformat=".0%", fixedrange=True)
    figure.update_xaxes(tickformat=".0%", fixedrange=True)
    return figure


def both_curves(
    found: Mapping[str, Faithfulness],
    chance: Mapping[str, Sequence[Faithfulness]],
    marked: tuple[str, str, int] | None = None,
) -> go.Figure:
    """Deletion on the left, insertion on the right; one line per map, chance as a band.

    Parameters
    ----------
    found
        Curves by the name of the map.
    chance
        Curves of maps that do not depend on the model, several of each.
    marked
        Name, curve and step of a marked point.
    """
    figure = make_subplots(
        1, 2, shared_yaxes=True, subplot_titles=("Deletion", "Insertion"), horizontal_spacing=0.04
    )
    for column, curve in enumerate(("deletion", "insertion"), 1):
        shown = column == 1  # once in the legend
        for number, (name, curves) in enumerate(chance.items()):
            values = np.array([getattr(one, curve) for one in curves])
            x, mean = curves[0].fractions, values.mean(axis=0)
            if len(curves) > 1:
                spread = values.std(axis=0, ddof=1)
                band = np.concatenate([mean + spread, (mean - spread)[::-1]]).clip(0, 1)
                figure.add_trace(
                    go.Scatter(
                        x=np.concatenate([x, x[::-1]]).tolist(),
                        y=band.tolist(),
                        fill="toself",
                        fillcolor=BAND,
                        line={"width": 0},
                        hoverinfo="skip",
                        showlegend=False,
                    ),
                    row=1,
                    col=column,
                )
            what = f"{name}, mean of {len(curves)}" if len(curves) > 1 else name
            line = {"color": GRAY, "width": 1.5, "dash": ("solid", "dot", "dash")[number % 3]}
            figure.add_trace(_line(x, mean, what, line, shown, name, curve), row=1, col=column)
        for number, (name, one) in enumerate(found.items()):
            line = {"color": COLORS[number % len(COLORS)], "width": 2.5}
            figure.add_trace(
                _line(one.fractions, getattr(one, curve), name, line, shown, name, curve),
                row=1,
                col=column,
            )
            if marked is not None and marked[:2] == (name, curve):
                step = marked[2]
                figure.add_trace(
                    go.Scatter(
                        x=[one.fractions[step]],
                        y=[getattr(one, curve)[step]],
                        mode="markers",
                        marker={"size": 13, "color": line["color"], "symbol": "circle-open"},
                        hoverinfo="skip",
                        showlegend=False,
                    ),
                    row=1,
                    col=column,
                )
        text = "share removed" if curve == "deletion" else "share restored"
        figure.update_xaxes(title=text, row=1, col=column)
    return _laid_out(figure, 360)


def _line(
    x: Any, y: Any, name: str, line: dict[str, Any], legend: bool, key: str, curve: str
) -> go.Scatter:
    return go.Scatter(
        x=np.asarray(x).tolist(),
        y=np.asarray(y).tolist(),
        name=in_figure(name),
        legendgroup=name,
        showlegend=legend,
        mode="lines+markers",
        marker={"size": 5},
        line=line,
        customdata=[[key, curve, step] for step in range(len(x))],
        hovertemplate=f"{in_figure(name)}<br>%{{x:.0%}}: %{{y:.1%}}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def strengths(found: Mapping[str, Robustness], axis: str, marked: float) -> go.Figure:
    """Probability of the class over the strength of a change, one line per model."""
    figure = go.Figure()
    for number, (name, one) in enumerate(found.items()):
        places = [f"{strength:.3g}" for strength in one.strengths]
        figure.add_trace(
            go.Scatter(
                x=places,
                y=one.probabilities.tolist(),
                name=in_figure(name),
                mode="lines+markers",
                line={"color": COLORS[number], "width": 2.5},
                marker={
                    "size": 9,
                    "symbol": ["circle" if stays else "circle-open" for stays in one.stays],
                },
                hovertemplate=f"{in_figure(name)}<br>%{{x}}: %{{y:.1%}}<extra></extra>",
            )
        )
        if f"{marked:.3g}" in places and not number:
            figure.add_vline(x=places.index(f"{marked:.3g}"), line={"color": GRAY, "dash": "dot"})
    _laid_out(figure, 260).update_layout(legend={"y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(title=axis, type="category", tickformat=None)
    figure.update_yaxes(title=in_figure(next(iter(found.values())).label) if found else "")
    return figure


def correlations(found: Mapping[str, Randomization]) -> go.Figure:
    """Rank correlation with the original map over the depth, one line per model.

    The depth is the share of the layers that were randomized, as models have different numbers.
    A dashed line is the agreement of two draws on the intact model, for random methods.
    """
    figure = go.Figure()
    for number, (name, one) in enumerate(found.items()):
        depth = np.arange(len(one.depths) + 1) / len(one.depths)
        figure.add_trace(
            go.Scatter(
                x=depth.tolist(),
                y=[1.0, *one.rank_correlation.tolist()],
                name=in_figure(name),
                mode="lines+markers",
                line={"color": COLORS[number], "width": 2.5},
                customdata=[["intact"], *[[f"down to {name}"] for name in one.depths]],
                hovertemplate=f"{in_figure(name)}<br>%{{customdata[0]}}: %{{y:.2f}}<extra></extra>",
            )
        )
        if one.ceiling is not None and not np.isnan(one.ceiling):
            figure.add_hline(
                y=one.ceiling,
                line={"color": COLORS[number], "width": 1.5, "dash": "dash"},
            )
    figure.add_hline(y=0, line={"color": GRAY, "width": 1})
    _laid_out(figure, 300).update_layout(legend={"y": 1.02, "yanchor": "bottom"})
    figure.update_yaxes(title="rank correlation", tickformat=".1f", rangemode="normal")
    figure.update_xaxes(title="share of the layers randomized, from the classifier down")
    return figure
