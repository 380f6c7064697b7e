"""Results to Plotly figures. Knows no Streamlit.

Positions are in pixels of the view, so that every map lies exactly on what the model saw.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import get_colorscale, hex_to_rgb

from core import heatmaps

SEQUENTIAL = ("Inferno", "Viridis", "Cividis", "Turbo")
_CLEAR = "rgba(0,0,0,0)"


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    """A picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def data_uri(image: Image.Image, quality: int = 85) -> str:
    """A picture as a JPEG data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, quality)).decode()


@cache
def scale(name: str) -> list[list[Any]]:
    """A named color scale, spelled out.

    Streamlit takes some dark hexadecimal colors for placeholders of its theme and would repaint
    the low end of a scale, so every color is written as rgb().
    """
    steps = get_colorscale(name)
    return [
        [place, f"rgb{hex_to_rgb(color)}" if color.startswith("#") else color]
        for place, color in steps
    ]


def _canvas(view: Image.Image, top: int = 4, bottom: int = 4) -> go.Figure:
    """An empty figure in the coordinates of a view, with the view as its background."""
    figure = go.Figure()
    figure.add_layout_image(
        source=data_uri(view),
        xref="x",
        yref="y",
        x=0,
        y=0,
        sizex=view.width,
        sizey=view.height,
        sizing="stretch",
        layer="below",
    )
    figure.update_xaxes(range=[0, view.width], visible=False, constrain="domain")
    figure.update_yaxes(range=[view.height, 0], visible=False, scaleanchor="x", constrain="domain")
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": top, "b": bottom},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        dragmode=False,
        xaxis_fixedrange=True,
        yaxis_fixedrange=True,
        showlegend=False,
        hoverlabel={"font_size": 13},
    )
    return figure


def _centers(length: int, count: int) -> list[float]:
    return ((np.arange(count) + 0.5) * length / count).tolist()


def picture(view: Image.Image) -> go.Figure:
    """The view alone, at the scale of the overlays beside it."""
    figure = _canvas(view, bottom=44)
    figure.add_trace(go.Scatter(x=[0], y=[0], mode="markers", opacity=0, hoverinfo="skip"))
    return figure


def overlay(
    view: Image.Image,
    relevance: npt.NDArray[np.float32],
    *,
    low: float,
    high: float,
    unit: str,
    opacity: float = 0.6,
    colors: str = "Inferno",
    smooth: bool = True,
) -> go.Figure:
    """A map over the view it explains; hovering tells the raw value.

    Parameters
    ----------
    view
        What the model saw.
    relevance : (rows, cols)
        Raw values.
    low, high
        Values at the ends of the color scale.
    unit
        Title of the color bar: what the values are and how they are scaled.
    opacity
        Of the map over the picture, in [0, 1].
    """
    figure = _canvas(view, bottom=44)
    rows, cols = relevance.shape
    figure.add_trace(
        go.Heatmap(
            z=np.round(relevance, 7).tolist() if rows * cols < 4096 else relevance,
            x=_centers(view.width, cols),
            y=_centers(view.height, rows),
            zmin=low,
            zmax=high if high > low else low + 1e-9,
            zsmooth="best" if smooth else False,
            opacity=opacity,
            colorscale=scale(colors),
            colorbar=_bar(unit),
            hovertemplate="%{z:.4g}<extra></extra>",
        )
    )
    return figure


def _bar(title: str) -> dict[str, Any]:
    return {
        "orientation": "h",
        "y": 0,
        "yanchor": "top",
        "ypad": 4,
        "thickness": 8,
        "outlinewidth": 0,
        "nticks": 4,
        "tickfont": {"size": 10},
        "title": {"text": title, "side": "bottom", "font": {"size": 11}},
    }


def clickable(figure: go.Figure, view: Image.Image, grid: tuple[int, int]) -> go.Figure:
    """Lay an invisible point on every patch, so that a click tells which one it was.

    Clicks on a heat map itself are not reported to Streamlit; those on points are.
    """
    rows, cols = grid
    xs, ys = np.meshgrid(_centers(view.width, cols), _centers(view.height, rows))
    figure.add_trace(
        go.Scatter(
            x=xs.ravel().tolist(),
            y=ys.ravel().tolist(),
            mode="markers",
            marker={"size": max(6, int(240 / max(grid))), "symbol": "square"},
            opacity=0,
            customdata=[[row, col] for row in range(rows) for col in range(cols)],
            hovertemplate="row %{customdata[0]}, column %{customdata[1]}<extra></extra>",
            showlegend=False,
            selected={"marker": {"opacity": 0}},
            unselected={"marker": {"opacity": 0}},
        )
    )
    figure.update_layout(clickmode="event+select")
    return figure


def mark_patch(
    figure: go.Figure, view: Image.Image, grid: tuple[int, int], patch: tuple[int, int]
) -> go.Figure:
    """Outline one patch."""
    height, width = view.height / grid[0], view.width / grid[1]
    row, col = patch
    figure.add_shape(
        type="rect",
        x0=col * width,
        x1=(col + 1) * width,
        y0=row * height,
        y1=(row + 1) * height,
        line={"color": "#2dd4bf", "width": 3},
    )
    return figure


def mosaic(
    maps: npt.NDArray[np.float32],
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    colors: str = "Inferno",
    percentile: float = 100.0,
    unit: str = "each map scaled from its minimum to its maximum",
    limits: tuple[float, float] | None = None,
    cell: int = 72,
    names: Sequence[str] = (),
) -> go.Figure:
    """Many maps as one heat map trace with gaps.

    Parameters
    ----------
    maps : (rows of the mosaic, columns of the mosaic, rows, cols)
    limits
        Values at the ends of a scale shared by all maps; by default each has its own.
    cell
        Side of a map in pixels, for the height of the figure.
    names
        One title per map in reading order, written above it, where rows and columns have none.
        A map that is all ``nan`` is left out.

    Notes
    -----
    Hovering names the row, the column, the patch and the raw value.
    """
    lines, columns, rows, cols = maps.shape
    gap = max(1, round(max(rows, cols) / (5 if names else 14)))
    shape = (lines * (rows + gap) - gap, columns * (cols + gap) - gap)
    shown = np.full(shape, np.nan, dtype=np.float32)
    text = np.full(shape, "", dtype=object)
    for i in range(lines):
        for j in range(columns):
            tile = maps[i, j]
            if np.isnan(tile).all():
                continue
            low, high = limits or heatmaps.limits(tile, percentile)
            place = (
                slice(i * (rows + gap), i * (rows + gap) + rows),
                slice(j * (cols + gap), j * (cols + gap) + cols),
            )
            shown[place] = heatmaps.normalize(tile, low, high)
            raw = np.char.mod("%.3g", tile)
            own = names[i * columns + j] if names else f"{row_names[i]} · {column_names[j]}"
            text[place] = np.char.add(f"{own}: ", raw)
    figure = go.Figure(
        go.Heatmap(
            z=[[None if np.isnan(v) else round(float(v), 3) for v in row] for row in shown],
            text=text.tolist(),
            hovertemplate="%{text}<extra></extra>",
            zmin=0.0,
            zmax=1.0,
            colorscale=scale(colors),
            showscale=False,
            hoverongaps=False,
        )
    )
    figure.update_xaxes(
        tickvals=[j * (cols + gap) + cols / 2 - 0.5 for j in range(columns)],
        ticktext=list(column_names),
        side="top",
        showgrid=False,
        zeroline=False,
        constrain="domain",
        ticks="",
    )
    figure.update_yaxes(
        tickvals=[i * (rows + gap) + rows / 2 - 0.5 for i in range(lines)],
        ticktext=list(row_names),
        autorange="reversed",
        showgrid=False,
        zeroline=False,
        ticks="",
        scaleanchor="x",
        constrain="domain",
    )
    figure.update_layout(
        height=round(lines * cell * shape[0] / lines / max(rows, cols)) + 60,
        margin={"l": 0, "r": 0, "t": 22 if names else 30, "b": 30},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        dragmode=False,
        xaxis_fixedrange=True,
        yaxis_fixedrange=True,
        annotations=[
            {
                "text": unit,
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": 0,
                "yanchor": "top",
                "yshift": -8,
                "showarrow": False,
                "font": {"size": 11},
            },
            *(
                {
                    "text": name,
                    "x": j * (cols + gap) + cols / 2 - 0.5,
                    "y": i * (rows + gap) - 0.5,
                    "yanchor": "bottom",
                    "showarrow": False,
                    "font": {"size": 11},
                }
                for (i, j), name in zip(np.ndindex(lines, columns), names, strict=False)
                if name
            ),
        ],
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
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        dragmode=False,
    )
    return figure


def curves(series: dict[str, npt.ArrayLike], y_title: str) -> go.Figure:
    """Lines over steps, one per name."""
    figure = go.Figure()
    for name, values in series.items():
        line = np.asarray(values, dtype=float)
        figure.add_trace(
            go.Scatter(x=list(range(1, line.size + 1)), y=line.tolist(), name=name, mode="lines")
        )
    figure.update_layout(
        xaxis_title="step",
        yaxis_title=y_title,
        height=260,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        legend={"orientation": "h", "y": 1.15},
    )
    return figure
