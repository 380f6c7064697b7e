"""Common parts of figures: the view in its own pixels, color scales and bars."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import get_colorscale, hex_to_rgb, sample_colorscale

from core import rendering
from dashboard.figures.pictures import data_uri

_NUMBERS = re.compile(r"[\d.]+")

SEQUENTIAL = ("Inferno", "Viridis", "Cividis", "Turbo")

DIVERGING = "RdBu_r"
"""Colors of values with a sign: blue below zero, red above."""

CLEAR = "rgba(0,0,0,0)"

COLORS = ("#0f8278", "#e07a1f", "#7c5cd6", "#c2417f", "#3b82c4", "#8a8f2a", "#b4532a", "#5b6472")
"""Colors of lines, of models or maps in their order; readable on light and dark backgrounds."""

GRAY = "#8b909a"
"""What lines are compared with."""


@cache
def scale(name: str) -> list[list[Any]]:
    """A named color scale, spelled out.

    Streamlit treats some dark hexadecimal colors as placeholders of its theme and would replace
    the low end of a scale, so every color is written as rgb().
    """
    steps = get_colorscale(name)
    return [
        [place, f"rgb{hex_to_rgb(color)}" if color.startswith("#") else color]
        for place, color in steps
    ]


FADED = 0.5
"""Distance from zero, as share of the scale's longer side, beyond which colors have the full
opacity of the overlay."""

STEPS = 32
"""Number of colors of a fading scale, so that its opacity rises smoothly."""


@cache
def fading(name: str, zero: float = 0.0) -> list[list[Any]]:
    """A named color scale that leaves the picture as it is where the value is zero.

    Parameters
    ----------
    zero
        Place of zero on the scale, in [0, 1].
    """
    places = [i / STEPS for i in range(STEPS + 1)]
    colors = sample_colorscale(get_colorscale(name), places)
    longer = max(zero, 1 - zero)
    opacities = [min(1.0, abs(place - zero) / longer / FADED) for place in places]
    return [
        [place, f"rgba{color.removeprefix('rgb').removesuffix(')')}, {opacity:.3f})"]
        for place, color, opacity in zip(places, colors, opacities, strict=True)
    ]


def numbers(steps: Any) -> rendering.Scale:
    """A color scale of Plotly, with its colors as numbers: red, green, blue, perhaps opacity."""
    return [(float(place), _color(str(color))) for place, color in steps]


def _color(text: str) -> tuple[float, ...]:
    if text.startswith("#"):
        red, green, blue = hex_to_rgb(text)
        return red, green, blue
    return tuple(float(number) for number in _NUMBERS.findall(text))


def canvas(view: Image.Image, top: int = 4, bottom: int = 4) -> go.Figure:
    """An empty figure in the coordinates of a view, with the view as its background."""
    figure = go.Figure()
    figure.add_layout_image(laid_under(data_uri(view), 0, 0, view.width, view.height))
    figure.update_xaxes(range=[0, view.width], visible=False, constrain="domain")
    figure.update_yaxes(range=[view.height, 0], visible=False, scaleanchor="x", constrain="domain")
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": top, "b": bottom},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        dragmode=False,
        xaxis_fixedrange=True,
        yaxis_fixedrange=True,
        showlegend=False,
        hoverlabel={"font_size": 13},
    )
    return figure


def laid_under(
    source: str, left: float, top: float, width: float, height: float, axes: str = ""
) -> dict[str, Any]:
    """A picture below the traces of a figure, stretched over part of its axes.

    Parameters
    ----------
    source
        A data URI.
    axes
        Suffix of their names: empty for the first, then "2", "3" and so on.
    """
    return {
        "source": source,
        "xref": f"x{axes}",
        "yref": f"y{axes}",
        "x": left,
        "y": top,
        "sizex": width,
        "sizey": height,
        "sizing": "stretch",
        "layer": "below",
    }


def centers(length: int, count: int) -> list[float]:
    centers: list[float] = ((np.arange(count) + 0.5) * length / count).tolist()
    return centers


def picture(view: Image.Image) -> go.Figure:
    """The view alone, at the scale of the overlays beside it."""
    figure = canvas(view, bottom=44)
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
    fades: bool = False,
) -> go.Figure:
    """A map over the view it explains; hovering shows the raw value.

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
    fades
        Whether the picture is left as it is where the value is zero.
    """
    figure = canvas(view, bottom=44)
    rows, cols = relevance.shape
    figure.add_trace(
        go.Heatmap(
            z=np.round(relevance, 7).tolist() if rows * cols < 4096 else relevance,
            x=centers(view.width, cols),
            y=centers(view.height, rows),
            zmin=low,
            zmax=high if high > low else low + 1e-9,
            zsmooth="best" if smooth else False,
            opacity=opacity,
            colorscale=fading(colors) if fades else scale(colors),
            colorbar=bar(unit),
            hovertemplate="%{z:.4g}<extra></extra>",
        )
    )
    return figure


def bar(title: str) -> dict[str, Any]:
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
