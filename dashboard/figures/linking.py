"""Linked maps side by side: hovering, zoom and pan apply to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image

from core import heatmaps, rendering
from dashboard.figures.base import (
    CLEAR,
    DIVERGING,
    bar,
    centers,
    fading,
    laid_under,
    numbers,
    scale,
)
from dashboard.figures.pictures import data_uri
from dashboard.text import in_figure

TITLE, SUBTITLE, BARS = 27, 17, 52
"""Pixels above the panels of `linked`, for titles and for each line of subtitles, and below,
for color bars."""

FINE = 64
"""Rows or columns from which a map is sent as numbers of four bytes, and of which no more can be
hovered: a text for each of 224 × 224 pixels would be megabytes for each panel."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel of `linked`: the picture, with or without a map.

    Attributes
    ----------
    title, subtitle
        Above the panel; the subtitle may have several lines.
    relevance : (rows, cols) or None
        Raw values; ``None`` shows the picture alone.
    low, high
        Values at the ends of the color scale.
    unit
        Title of the color bar.
    signed
        Whether zero is the middle of the scale.
    fades
        Whether the picture is unchanged where the value is zero, so that opacity grows
        with the distance from zero.
    image
        Picture shown instead of the view.
    absolute
        Whether hovering shows the value itself, not its share of the largest.
    """

    title: str
    subtitle: str
    relevance: npt.NDArray[np.float32] | None = None
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    signed: bool = False
    fades: bool = False
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
    bars: bool = True,
    corners: Sequence[str] = (),
) -> go.Figure:
    """Panels of one view side by side: hovering reads a place in all, zoom applies to all.

    Parameters
    ----------
    brightness
        Scale the brightness of the picture by the map instead of coloring it.
    bars
        Whether there are color bars below the panels.
    corners
        Text on the effect of a click on the corner of each panel; its custom data is the
        number of the panel.
    """
    count, gap = len(panels), 0.012
    span = (1 - gap * (count - 1)) / count
    grids = [p.relevance.shape for p in panels if p.relevance is not None] or [(1, 1)]
    tall, wide = (max(lengths) for lengths in zip(*grids, strict=True))
    rows, cols = min(tall, FINE), min(wide, FINE)
    hovered = {
        "type": "heatmap",
        "z": np.zeros((rows, cols)).tolist(),
        "x": centers(view.width, cols),
        "y": centers(view.height, rows),
        "text": _readings(panels, (rows, cols), (tall, wide)),
        "hovertemplate": "%{text}<extra></extra>",
        "opacity": 0.0,
        "showscale": False,
    }
    # Built as one value: each addition to a figure costs Plotly as much as all of it at once.
    traces: list[Any] = []
    images: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"images": images, "annotations": notes}
    plain = data_uri(view)
    for i, panel in enumerate(panels):
        suffix = "" if i == 0 else str(i + 1)
        left = i * (span + gap)
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        lit = brightness and panel.relevance is not None
        below = _below(view, panel, lit)
        source = plain if below is view else data_uri(below)
        images.append(laid_under(source, 0, 0, view.width, view.height, suffix))
        layout |= {
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
        if panel.relevance is not None:
            place = {"x": left + span / 2, "xanchor": "center", "len": span * 0.96}
            drawn = _map(view, panel, panel.relevance, 0.0 if lit else opacity, colors, smooth)
            traces.append(drawn | axes | {"colorbar": bar(panel.unit) | place})
        traces.append(hovered | axes)
        if corners:
            traces.append(_corner(view, corners[i], i) | axes)
        notes.append(
            {
                "text": f"<b>{in_figure(panel.title)}</b><br><span style='font-size:12px'>"
                f"{in_figure(panel.subtitle).replace(chr(10), '<br>')}</span>",
                "x": left,
                "xref": "paper",
                "xanchor": "left",
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "yshift": 4,
                "align": "left",
                "showarrow": False,
                "font": {"size": 14},
            }
        )
    layout |= {
        "margin": {
            "l": 0,
            "r": 0,
            "t": TITLE + SUBTITLE * max(len(p.subtitle.splitlines()) or 1 for p in panels),
            "b": BARS if bars else 4,
        },
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "dragmode": "zoom",
        "showlegend": False,
        "hoverlabel": {"font_size": 13, "align": "left"},
    }
    return go.Figure(traces, layout)


def _map(
    view: Image.Image,
    panel: Panel,
    relevance: npt.NDArray[np.float32],
    opacity: float,
    colors: str,
    smooth: bool,
) -> dict[str, Any]:
    """The trace of a panel's map."""
    rows, cols = relevance.shape
    fine = max(rows, cols) > FINE
    return {
        "type": "heatmap",
        "z": relevance.astype(np.float32) if fine else relevance.astype(float).tolist(),
        "x": centers(view.width, cols),
        "y": centers(view.height, rows),
        "zmin": panel.low,
        "zmax": _top(panel),
        "zsmooth": "best" if smooth else False,
        "opacity": opacity,
        "colorscale": _colors(panel, colors),
        "showscale": opacity > 0.0,
        "hoverinfo": "skip",
    }


@dataclass(frozen=True, eq=False)
class Layers:
    """A panel of `linked` as pictures.

    Attributes
    ----------
    picture
        What lies below.
    map
        RGBA, of the same size; ``None`` where there is none, or where it is the brightness.
    bar
        Of the map.
    """

    panel: Panel
    picture: Image.Image
    map: Image.Image | None
    bar: rendering.Bar | None


def layers(
    view: Image.Image,
    panel: Panel,
    *,
    opacity: float,
    colors: str,
    smooth: bool,
    brightness: bool,
) -> Layers:
    """The picture and the map of a panel, apart; parameters as in `linked`."""
    lit = brightness and panel.relevance is not None
    below = _below(view, panel, lit)
    if panel.relevance is None or lit:
        return Layers(panel, below, None, None)
    ends = rendering.Bar(numbers(_colors(panel, colors)), panel.low, _top(panel), panel.unit)
    above = rendering.layer(panel.relevance, ends, below.size, opacity=opacity, smooth=smooth)
    return Layers(panel, below, above, ends)


def _below(view: Image.Image, panel: Panel, lit: bool) -> Image.Image:
    """The picture below the map of a panel."""
    if panel.image is not None:
        return panel.image
    return brightened(view, panel) if lit else view


def _top(panel: Panel) -> float:
    """The value at the upper end of the color scale, above the lower one."""
    return panel.high if panel.high > panel.low else panel.low + 1e-9


def _colors(panel: Panel, sequential: str) -> list[list[Any]]:
    """The color scale of a panel's map."""
    name = DIVERGING if panel.signed else sequential
    return fading(name, 0.5 if panel.signed else 0.0) if panel.fades else scale(name)


def _corner(view: Image.Image, text: str, number: int) -> dict[str, Any]:
    """A mark in the upper right corner that can be clicked; Streamlit reports clicks on points."""
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


def _readings(
    panels: Sequence[Panel], grid: tuple[int, int], finest: tuple[int, int]
) -> list[list[str]]:
    """Values of every panel at each place of a grid, mostly as shares of its largest.

    Parameters
    ----------
    grid
        Rows and columns of places.
    finest
        Rows and columns of the finest map, by which places are named.
    """
    middles = [
        (np.arange(count) * length + length // 2) // count
        for count, length in zip(grid, finest, strict=True)
    ]
    lines = []
    for panel in panels:
        if panel.relevance is None:
            continue
        peak = float(np.abs(panel.relevance).max()) or 1.0
        own = zip(middles, panel.relevance.shape, finest, strict=True)
        values = panel.relevance[np.ix_(*(at * length // most for at, length, most in own))]
        form = "{:.2f}" if panel.absolute else "{:.0%} of its largest"
        lines.append((panel.title, values if panel.absolute else values / peak, form))
    return [
        [
            f"row {row}, column {col}"
            + "".join(
                f"<br>{in_figure(title)}: {form.format(values[i, j])}"
                for title, values, form in lines
            )
            for j, col in enumerate(middles[1])
        ]
        for i, row in enumerate(middles[0])
    ]


def brightened(view: Image.Image, panel: Panel) -> Image.Image:
    """The view, with its brightness scaled by the panel's map."""
    assert panel.relevance is not None
    low = 0.0 if panel.signed else panel.low
    size = (view.height, view.width)
    heat = heatmaps.normalize(heatmaps.resize(panel.relevance, size), low, panel.high)
    pixels = np.asarray(view.convert("RGB"), dtype=np.float32) * heat[..., None]
    return Image.fromarray(pixels.round().astype(np.uint8))
