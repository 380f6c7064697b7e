"""Many small maps in one figure, each of which can be enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image

from core import heatmaps
from dashboard.figures.base import CLEAR, laid_under, scale
from dashboard.figures.pictures import data_uri, thumbnail


def mosaic(
    maps: npt.NDArray[np.float32],
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    colors: str = "Inferno",
    percentile: float = 100.0,
    limits: tuple[float, float] | None = None,
    names: Sequence[str] = (),
    under: Sequence[Image.Image | None] = (),
    opacity: float = 1.0,
    shade: bool = False,
) -> go.Figure:
    """Many maps as one heat map trace with gaps.

    Parameters
    ----------
    maps : (rows of the mosaic, columns of the mosaic, rows, cols)
    limits
        Values at the ends of a scale shared by all maps; by default each has its own.
    names
        One title per map in reading order, written above it, where rows and columns have none.
        A map that is all ``nan`` is left out.
    under
        One picture per map in reading order, drawn beneath it.
    opacity
        Of the maps.
    shade
        Draw black where a map is low and nothing where it is high, instead of colors.

    Notes
    -----
    Hovering names the row, the column, the patch and the raw value.
    """
    lines, columns, rows, cols = maps.shape
    gap = mosaic_gap(rows, cols, bool(names))
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
            across = column_names[j].partition("<br>")[0]
            own = names[i * columns + j] if names else f"{row_names[i]} · {across}"
            text[place] = np.char.add(f"{own}: ", raw)
    figure = go.Figure(
        go.Heatmap(
            z=[[None if np.isnan(v) else round(float(v), 3) for v in row] for row in shown],
            text=text.tolist(),
            hovertemplate="%{text}<extra></extra>",
            zmin=0.0,
            zmax=1.0,
            opacity=opacity,
            colorscale=[[0, "rgba(0,0,0,0.8)"], [1, CLEAR]] if shade else scale(colors),
            showscale=False,
            hoverongaps=False,
        )
    )
    figure.update_xaxes(
        tickvals=[j * (cols + gap) + cols / 2 - 0.5 for j in range(columns)],
        ticktext=list(column_names),
        side="top",
        range=[-0.5, shape[1] - 0.5],
        showgrid=False,
        zeroline=False,
        constrain="domain",
        constraintoward="left",
        ticks="",
    )
    figure.update_yaxes(
        tickvals=[i * (rows + gap) + rows / 2 - 0.5 for i in range(lines)],
        ticktext=list(row_names),
        range=[shape[0] - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        ticks="",
        scaleanchor="x",
        constrain="domain",
        constraintoward="top",
    )
    images = [
        laid_under(
            data_uri(thumbnail(image)), j * (cols + gap) - 0.5, i * (rows + gap) - 0.5, cols, rows
        )
        for (i, j), image in zip(np.ndindex(lines, columns), under, strict=False)
        if image is not None
    ]
    tall = 18 * max([name.count("<br>") for name in column_names], default=0)
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 22 if names else 30 + tall, "b": 4},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        dragmode=False,
        xaxis_fixedrange=True,
        yaxis_fixedrange=True,
        images=images,
        annotations=[
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
        ],
    )
    return figure


def mosaic_gap(rows: int, cols: int, named: bool) -> int:
    """Patches between two maps of a mosaic; more where each map has a title above it."""
    return max(1, round(max(rows, cols) / (3 if named else 14)))


def mosaic_height(
    shape: tuple[int, int, int, int],
    width: str,
    *,
    named: bool = False,
    cell: int = 0,
    top: int = 0,
) -> str:
    """Height of a mosaic as a length of CSS, for a width that is one as well.

    Parameters
    ----------
    cell
        Pixels that a map may be wide at most; 0 for as wide as there is room.
    top
        Pixels of column names beyond their first line.
    """
    lines, columns, rows, cols = shape
    gap = mosaic_gap(rows, cols, named)
    down, across = lines * (rows + gap) - gap, columns * (cols + gap) - gap
    # Names of rows stand left of the maps.
    room = f"({width})" if named else f"({width} - 3.5rem)"
    if cell:
        room = f"min({room}, {cell * across / cols:.0f}px)"
    return f"{room} * {down / across:.4f} + {26 if named else 34 + top}px"


def openable(
    figure: go.Figure,
    shape: tuple[int, int, int, int],
    texts: Sequence[str],
    *,
    named: bool = False,
    size: int = 60,
    marked: int | None = None,
) -> go.Figure:
    """Put an invisible point on every map of a mosaic, so that a click identifies the map.

    Parameters
    ----------
    shape
        Of the maps: rows and columns of the mosaic, rows and columns of a map.
    texts
        Hover text of each map, in reading order; a click returns the point's
        number. A map without a text cannot be clicked.
    named
        Whether each map has a title above it.
    size
        Size of the points in pixels, about that of a map.
    marked
        Number of a map to outline.
    """
    lines, columns, rows, cols = shape
    gap = mosaic_gap(rows, cols, named)
    places = [
        (n, i * (rows + gap), j * (cols + gap))
        for n, (i, j) in enumerate(np.ndindex(lines, columns))
        if n < len(texts) and texts[n]
    ]
    figure.add_trace(
        go.Scatter(
            x=[left + (cols - 1) / 2 for _, _, left in places],
            y=[top + (rows - 1) / 2 for _, top, _ in places],
            mode="markers",
            marker={"size": size, "symbol": "square"},
            opacity=0,
            customdata=[[n] for n, _, _ in places],
            text=[texts[n] for n, _, _ in places],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
            selected={"marker": {"opacity": 0}},
            unselected={"marker": {"opacity": 0}},
        )
    )
    for n, top, left in places:
        if n == marked:
            figure.add_shape(
                type="rect",
                x0=left - 0.5,
                x1=left + cols - 0.5,
                y0=top - 0.5,
                y1=top + rows - 0.5,
                line={"color": "#2dd4bf", "width": 3},
            )
    figure.update_layout(clickmode="event+select")
    return figure
