"""Figures of Representation. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from core import Model, TokenNorms
from dashboard.figures import CLEAR, COLORS, scale
from dashboard.text import in_figure

Float = npt.NDArray[np.float32]


def _laid_out(figure: go.Figure, **more: Any) -> go.Figure:
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 24, "b": 0},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        hoverlabel={"font_size": 13, "align": "left"},
        dragmode=False,
        **more,
    )
    return figure


def squares(
    values: Float,
    chance: Float | None,
    names: Sequence[Sequence[str]],
    titles: Sequence[str],
    what: str,
) -> go.Figure:
    """Layers against layers as a heat map, with lines between models.

    Parameters
    ----------
    values, chance : (layers, layers)
        Of all rows and columns; ``chance`` is told when hovering.
    names
        Layers of each model.
    titles
        Models of the rows and columns.
    """
    every = [(title, name) for title, own in zip(titles, names, strict=True) for name in own]
    tell = np.empty((len(every), len(every)), dtype=object)
    for i, (title, name) in enumerate(every):
        for j, (other, against) in enumerate(every):
            by_chance = "" if chance is None else f"<br>shuffled: below {chance[i, j]:.2f}"
            tell[i, j] = (
                f"{in_figure(title)}, {name}<br>{in_figure(other)}, {against}<br>"
                f"<b>{what} {values[i, j]:.2f}</b>{by_chance}"
            )
    places = list(range(len(every)))
    figure = go.Figure(
        go.Heatmap(
            z=np.round(values, 4).tolist(),
            x=places,
            y=places,
            zmin=0.0,
            zmax=1.0,
            colorscale=scale("Inferno"),
            text=tell.tolist(),
            hovertemplate="%{text}<extra></extra>",
            xgap=1,
            ygap=1,
            colorbar={"thickness": 10, "outlinewidth": 0, "title": {"text": what, "side": "top"}},
        )
    )
    common = {"tickvals": places, "tickfont": {"size": 11}, "showgrid": False}
    common |= {"zeroline": False, "fixedrange": True, "constrain": "domain"}
    figure.update_xaxes(
        ticktext=[_number(name) for _, name in every], tickangle=0, side="bottom", **common
    )
    figure.update_yaxes(
        ticktext=[name for _, name in every], autorange="reversed", scaleanchor="x", **common
    )
    start = 0
    for title, own in zip(titles, names, strict=True):
        end = start + len(own)
        figure.add_annotation(
            x=(start + end - 1) / 2,
            y=-0.6,
            yanchor="bottom",
            text=f"<b>{in_figure(title)}</b>",
            showarrow=False,
            font={"size": 12},
        )
        figure.add_shape(
            type="rect",
            x0=start - 0.5,
            x1=end - 0.5,
            y0=start - 0.5,
            y1=end - 0.5,
            line={"color": "#2dd4bf", "width": 2},
        )
        start = end
    return _laid_out(figure)


def _number(name: str) -> str:
    """The name of a layer where there is little room: its number, or a few letters."""
    return {"embedding": "in", "head": "out", "classifier": "out"}.get(
        name, name.rpartition(" ")[2]
    )


def table(
    values: Float, rows: Sequence[str], columns: Sequence[str], texts: Any, high: float
) -> go.Figure:
    """A small matrix as a heat map whose cells can be clicked, by their number in reading order."""
    numbers = np.arange(values.size).reshape(values.shape)
    figure = go.Figure(
        go.Heatmap(
            z=np.round(values, 4).tolist(),
            x=list(range(len(columns))),
            y=list(range(len(rows))),
            zmin=0.0,
            zmax=high or 1.0,
            colorscale=scale("Inferno"),
            text=texts,
            hovertemplate="%{text}<extra></extra>",
            xgap=2,
            ygap=2,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
        )
    )
    spots = [(x, y) for y in range(len(rows)) for x in range(len(columns))]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in spots],
            y=[y for _, y in spots],
            customdata=numbers.reshape(-1, 1).tolist(),
            text=[text for row in texts for text in row],
            hovertemplate="%{text}<extra></extra>",
            mode="markers",
            marker={"size": 22, "opacity": 0, "symbol": "square"},
            showlegend=False,
        )
    )
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[_number(name) for name in columns],
        side="top",
        showgrid=False,
        tickangle=0,
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=list(rows), autorange="reversed", showgrid=False
    )
    figure.update_xaxes(fixedrange=True, zeroline=False)
    figure.update_yaxes(fixedrange=True, zeroline=False)
    return _laid_out(figure)


def distances(
    heads: Mapping[str, tuple[Sequence[str], Float, float]],
    fields: Mapping[str, tuple[Sequence[str], Float]],
    colors: Mapping[str, str],
) -> go.Figure:
    """Distance in pixels over depth, from 0 to 1.

    Parameters
    ----------
    heads
        By model, the names of its layers, distances (layers, heads), and that of uniform attention.
    fields
        By model, the names of its layers and the distance of each effective receptive field.
    """
    figure = go.Figure()
    for title, (names, values, uniform) in heads.items():
        depth = np.repeat(_depth(len(names)), values.shape[1])
        told = [
            f"{in_figure(title)}, {name}, head {head}"
            for name in names
            for head in range(values.shape[1])
        ]
        figure.add_scatter(
            x=depth.tolist(),
            y=values.ravel().tolist(),
            mode="markers",
            marker={"color": colors[title], "size": 8, "opacity": 0.6},
            name=f"heads of {in_figure(title)}",
            text=told,
            hovertemplate="%{text}: %{y:.0f} px<extra></extra>",
        )
        figure.add_scatter(
            x=_depth(len(names)).tolist(),
            y=values.mean(axis=1).tolist(),
            mode="lines",
            line={"color": colors[title], "dash": "dot", "width": 2},
            name=f"their mean in {in_figure(title)}",
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[0, 1],
            y=[uniform, uniform],
            mode="lines",
            line={"color": colors[title], "dash": "dash", "width": 1.5},
            name=f"uniform attention, {uniform:.0f} px",
            hoverinfo="skip",
        )
    for title, (names, reach) in fields.items():
        figure.add_scatter(
            x=_depth(len(names)).tolist(),
            y=reach.tolist(),
            mode="lines+markers",
            marker={"symbol": "diamond", "size": 7},
            line={"color": colors[title], "width": 2},
            name=f"receptive field of {in_figure(title)}",
            text=[f"{in_figure(title)}, {name}" for name in names],
            hovertemplate="%{text}: %{y:.0f} px<extra></extra>",
        )
    figure.update_yaxes(title="mean distance in pixels", rangemode="tozero", fixedrange=True)
    figure.update_xaxes(
        title="depth, first layer to last", tickformat=".0%", range=[-0.03, 1.03], fixedrange=True
    )
    return _laid_out(figure, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


def _depth(count: int) -> npt.NDArray[np.float64]:
    return np.linspace(0, 1, count) if count > 1 else np.array([0.5])


def norms(found: TokenNorms, names: Sequence[str], prefix: Sequence[str], color: str) -> go.Figure:
    """Lengths of patches over depth as nested bands, prefix tokens as lines."""
    x = list(names)
    low, near, middle, far, high, longest = found.quantiles.T.tolist()
    figure = go.Figure()
    for lower, upper, opacity, name in (
        (low, high, 0.18, "5 to 95 % of the patches"),
        (near, far, 0.35, "25 to 75 %"),
    ):
        figure.add_scatter(x=x, y=lower, mode="lines", line={"width": 0}, showlegend=False)
        figure.data[-1].hoverinfo = "skip"
        figure.add_scatter(
            x=x,
            y=upper,
            mode="lines",
            line={"width": 0},
            fill="tonexty",
            fillcolor=_faded(color, opacity),
            name=name,
            hoverinfo="skip",
        )
    for values, name, line in (
        (middle, "median patch", {"color": color, "width": 2.5}),
        (longest, "longest patch", {"color": color, "width": 1.5, "dash": "dot"}),
    ):
        figure.add_scatter(x=x, y=values, mode="lines", line=line, name=name)
    for number, name in enumerate(prefix):
        dash = "solid" if number < 2 else "dash"
        line = {"color": COLORS[(2 + number) % 4], "width": 2, "dash": dash}
        values = found.prefix[:, number].tolist()
        figure.add_scatter(x=x, y=values, mode="lines", line=line, name=in_figure(name))
    figure.update_traces(hovertemplate="%{x}: %{y:.3g}", selector={"mode": "lines", "fill": None})
    figure.update_yaxes(title="length", type="log", dtick="D2", fixedrange=True)
    figure.update_xaxes(tickangle=-60, fixedrange=True)
    return _laid_out(
        figure, hovermode="x", legend={"orientation": "h", "y": -0.35, "yanchor": "top"}
    )


def _faded(color: str, opacity: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def places(shares: Float, high: float) -> go.Figure:
    """Share of pictures in which each place is an outlier."""
    figure = go.Figure(
        go.Heatmap(
            z=np.round(shares, 4).tolist(),
            zmin=0.0,
            zmax=high or 1.0,
            colorscale=scale("Inferno"),
            hovertemplate="row %{y}, column %{x}: %{z:.0%}<extra></extra>",
            colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
        )
    )
    figure.update_xaxes(visible=False, constrain="domain", fixedrange=True)
    figure.update_yaxes(
        visible=False,
        autorange="reversed",
        scaleanchor="x",
        constrain="domain",
        fixedrange=True,
    )
    return _laid_out(figure)


def colors(models: Sequence[Model]) -> dict[str, str]:
    """The color of each model, by its title."""
    return {model.spec.title: COLORS[i % 4] for i, model in enumerate(models)}


def agreement(
    found: Mapping[str, tuple[Sequence[str], Float]], colors: Mapping[str, str]
) -> go.Figure:
    """Share of pictures with the final answer over layers, one line per model."""
    figure = go.Figure()
    for title, (names, values) in found.items():
        figure.add_scatter(
            x=list(names),
            y=values.tolist(),
            mode="lines+markers",
            line={"color": colors[title], "width": 2.5},
            name=in_figure(title),
            hovertemplate="%{x}: %{y:.0%}<extra></extra>",
        )
    figure.update_yaxes(
        title="pictures with the final answer", tickformat=".0%", range=[0, 1.04], fixedrange=True
    )
    figure.update_xaxes(fixedrange=True)
    return _laid_out(figure, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
