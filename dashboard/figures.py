"""Results to Plotly figures. Knows no Streamlit.

Positions are in pixels of the view, so that every map lies exactly on what the model saw.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import get_colorscale, hex_to_rgb

from core import heatmaps
from dashboard.text import in_figure

SEQUENTIAL = ("Inferno", "Viridis", "Cividis", "Turbo")
LINKED_TOP, LINKED_BOTTOM = 44, 52
"""Pixels above and below the panels of `linked`: titles and color bars."""

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
    centers: list[float] = ((np.arange(count) + 0.5) * length / count).tolist()
    return centers


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


@dataclass(frozen=True, eq=False)
class Panel:
    """One place of `linked`: the picture, with or without a map.

    Attributes
    ----------
    title, subtitle
        Above the panel.
    relevance : (rows, cols) or None
        Raw values; ``None`` shows the picture alone.
    low, high
        Values at the ends of the color scale.
    unit
        Title of the color bar.
    signed
        Whether zero belongs into the middle of the scale.
    image
        What is shown in place of the view.
    absolute
        Whether a reading gives the value itself, not its share of the largest.
    """

    title: str
    subtitle: str
    relevance: npt.NDArray[np.float32] | None = None
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    signed: bool = False
    image: Image.Image | None = None
    absolute: bool = False


def linked(
    view: Image.Image,
    panels: Sequence[Panel],
    *,
    opacity: float = 0.6,
    colors: str = "Inferno",
    smooth: bool = True,
    brightness: bool = False,
    corners: Sequence[str] = (),
) -> go.Figure:
    """Panels of one view side by side: pointing at a place reads it in all, zoom moves all.

    Parameters
    ----------
    brightness
        Show the picture as bright as the map instead of a map in colors.
    corners
        What a click on the corner of each panel does, in a few words; its custom data is the
        number of the panel.
    """
    count, gap = len(panels), 0.012
    span = (1 - gap * (count - 1)) / count
    rows = max([p.relevance.shape[0] for p in panels if p.relevance is not None], default=1)
    cols = max([p.relevance.shape[1] for p in panels if p.relevance is not None], default=1)
    text = _readings(panels, rows, cols)
    figure = go.Figure()
    plain = data_uri(view)
    for i, panel in enumerate(panels):
        suffix = "" if i == 0 else str(i + 1)
        left = i * (span + gap)
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        lit = brightness and panel.relevance is not None
        figure.add_layout_image(
            source=(
                data_uri(panel.image)
                if panel.image is not None
                else data_uri(brightened(view, panel))
                if lit
                else plain
            ),
            xref=axes["xaxis"],
            yref=axes["yaxis"],
            x=0,
            y=0,
            sizex=view.width,
            sizey=view.height,
            sizing="stretch",
            layer="below",
        )
        figure.update_layout(
            {
                f"xaxis{suffix}": {
                    "domain": [left, left + span],
                    "range": [0, view.width],
                    "visible": False,
                    "constrain": "domain",
                    "anchor": axes["yaxis"],
                    **({"matches": "x"} if i else {}),
                },
                f"yaxis{suffix}": {
                    "range": [view.height, 0],
                    "visible": False,
                    "scaleanchor": axes["xaxis"],
                    "constrain": "domain",
                    "constraintoward": "top",
                    "anchor": axes["xaxis"],
                    **({"matches": "y"} if i else {}),
                },
            }
        )
        if panel.relevance is not None:
            high, tall = panel.relevance.shape[1], panel.relevance.shape[0]
            figure.add_trace(
                go.Heatmap(
                    z=panel.relevance.astype(float).tolist(),
                    x=_centers(view.width, high),
                    y=_centers(view.height, tall),
                    zmin=panel.low,
                    zmax=panel.high if panel.high > panel.low else panel.low + 1e-9,
                    zsmooth="best" if smooth else False,
                    opacity=0.0 if lit else opacity,
                    colorscale=scale("RdBu_r" if panel.signed else colors),
                    colorbar=_bar(panel.unit)
                    | {"x": left + span / 2, "xanchor": "center", "len": span * 0.96},
                    showscale=not lit,
                    hoverinfo="skip",
                    **axes,
                )
            )
        figure.add_trace(
            go.Heatmap(
                z=np.zeros((rows, cols)).tolist(),
                x=_centers(view.width, cols),
                y=_centers(view.height, rows),
                text=text,
                hovertemplate="%{text}<extra></extra>",
                opacity=0.0,
                showscale=False,
                **axes,
            )
        )
        if corners:
            figure.add_trace(_corner(view, corners[i], i) | axes)
        figure.add_annotation(
            text=f"<b>{in_figure(panel.title)}</b><br><span style='font-size:12px'>"
            f"{in_figure(panel.subtitle)}</span>",
            x=left,
            xref="paper",
            xanchor="left",
            y=1,
            yref="paper",
            yanchor="bottom",
            yshift=4,
            align="left",
            showarrow=False,
            font={"size": 14},
        )
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": LINKED_TOP, "b": LINKED_BOTTOM},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        dragmode="zoom",
        showlegend=False,
        hoverlabel={"font_size": 13, "align": "left"},
    )
    return figure


def _corner(view: Image.Image, text: str, number: int) -> dict[str, Any]:
    """A mark in the upper right corner that can be clicked; Streamlit tells of clicks on points."""
    inset = 0.05 * max(view.size)
    return {
        "type": "scatter",
        "x": [view.width - inset],
        "y": [inset],
        "mode": "markers+text",
        "text": ["⤢"],
        "customdata": [[number]],
        "marker": {"size": 22, "symbol": "square", "color": "rgba(0,0,0,.45)"},
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
        "textfont": {"color": "white", "size": 15},
        "hovertemplate": f"{in_figure(text)}<extra></extra>",
        "cliponaxis": False,
    }


def _readings(panels: Sequence[Panel], rows: int, cols: int) -> list[list[str]]:
    """What every panel has at each place of the finest grid, mostly as shares of its largest."""
    lines = []
    for panel in panels:
        if panel.relevance is None:
            continue
        peak = float(np.abs(panel.relevance).max()) or 1.0
        tall, wide = panel.relevance.shape
        places = np.ix_(np.arange(rows) * tall // rows, np.arange(cols) * wide // cols)
        values = panel.relevance[places]
        form = "{:.2f}" if panel.absolute else "{:.0%} of its largest"
        lines.append((panel.title, values if panel.absolute else values / peak, form))
    return [
        [
            f"row {row}, column {col}"
            + "".join(
                f"<br>{in_figure(title)}: {form.format(values[row, col])}"
                for title, values, form in lines
            )
            for col in range(cols)
        ]
        for row in range(rows)
    ]


def brightened(view: Image.Image, panel: Panel) -> Image.Image:
    """The view, as bright at every place as the panel's map."""
    assert panel.relevance is not None
    low = 0.0 if panel.signed else panel.low
    size = (view.height, view.width)
    heat = heatmaps.normalize(heatmaps.resize(panel.relevance, size), low, panel.high)
    pixels = np.asarray(view.convert("RGB"), dtype=np.float32) * heat[..., None]
    return Image.fromarray(pixels.round().astype(np.uint8))


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
    figure: go.Figure,
    view: Image.Image,
    grid: tuple[int, int],
    patch: tuple[int, int],
    panel: int = 0,
) -> go.Figure:
    """Outline one patch, in one panel where there are several."""
    height, width = view.height / grid[0], view.width / grid[1]
    row, col = patch
    figure.add_shape(
        type="rect",
        xref=f"x{panel + 1}" if panel else "x",
        yref=f"y{panel + 1}" if panel else "y",
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
            colorscale=[[0, "rgba(0,0,0,0.8)"], [1, _CLEAR]] if shade else scale(colors),
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
    for (i, j), image in zip(np.ndindex(lines, columns), under, strict=False):
        if image is not None:
            figure.add_layout_image(
                source=data_uri(thumbnail(image)),
                xref="x",
                yref="y",
                x=j * (cols + gap) - 0.5,
                y=i * (rows + gap) - 0.5,
                sizex=cols,
                sizey=rows,
                sizing="stretch",
                layer="below",
            )
    tall = 18 * max([name.count("<br>") for name in column_names], default=0)
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 22 if names else 30 + tall, "b": 4},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        dragmode=False,
        xaxis_fixedrange=True,
        yaxis_fixedrange=True,
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
    """Lay an invisible point on every map of a mosaic, so that a click tells which one it was.

    Parameters
    ----------
    shape
        Of the maps: rows and columns of the mosaic, rows and columns of a map.
    texts
        What pointing at each map says, in reading order; the point's number comes back with a
        click. Without a text a map cannot be clicked.
    named
        Whether each map has a title above it.
    size
        Of the points in pixels, about that of a map.
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


def thumbnail(image: Image.Image, side: int = 240) -> Image.Image:
    """A picture at most ``side`` pixels long, its shape kept."""
    small = image.copy()
    small.thumbnail((side, side))
    return small


def cut_out(view: Image.Image, mask: npt.NDArray[np.bool_], dark: float = 0.2) -> Image.Image:
    """The view as it is where a mask (rows, cols) holds, dark elsewhere."""
    size = (view.width, view.height)
    light = np.where(mask, 255, round(255 * dark)).astype(np.uint8)
    stretched = Image.fromarray(light).resize(size, Image.Resampling.NEAREST)
    return Image.composite(view, Image.new("RGB", size), stretched)


def from_colors(colors: npt.NDArray[np.float32], view: Image.Image) -> Image.Image:
    """Colors (rows, cols, 3) in [0, 1] as a picture of the size of a view, one block a place."""
    pixels = Image.fromarray((colors * 255).round().astype(np.uint8))
    return pixels.resize((view.width, view.height), Image.Resampling.NEAREST)


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
    """A whole attention matrix; pointing at a cell tells which token looks at which.

    Parameters
    ----------
    values : (tokens, tokens)
        Query by key.
    names
        One name per token.
    ticks
        What stands at the axes beside which tokens.
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
            colorbar=_bar(unit),
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
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
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
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
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
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        legend={"orientation": "h", "y": 1.15},
    )
    return figure
