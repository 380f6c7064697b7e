"""Animated maps: an interactive figure and an animated GIF. Independent of Streamlit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image, ImageDraw, ImageFont
from plotly.colors import sample_colorscale

from core import heatmaps
from dashboard.figures import overlay, scale

MILLISECONDS = 350
"""Duration of each frame."""

ABOVE = 4
"""Pixels above the picture."""

BELOW = 118
"""Pixels below the picture, for the color bar, the play button and the slider."""

_BAR = 44
"""Of these, pixels for the color bar."""


def animation(
    view: Image.Image,
    maps: Sequence[npt.NDArray[np.float32]],
    labels: Sequence[str],
    *,
    prefix: str,
    unit: str,
    opacity: float = 0.6,
    colors: str = "Inferno",
    smooth: bool = True,
    percentile: float = 100.0,
) -> go.Figure:
    """An animation of maps, with a play button and a slider; the browser plays it.

    Parameters
    ----------
    maps
        One (rows, cols) for each frame; every frame has its own scale.
    labels
        One for each frame, for the slider.
    prefix
        Text before the label of the current frame.
    """

    def scaled(relevance: npt.NDArray[np.float32]) -> list[list[float]]:
        low, high = heatmaps.limits(relevance, percentile)
        scaled_map: list[list[float]] = np.round(
            heatmaps.normalize(relevance, low, high), 3
        ).tolist()
        return scaled_map

    figure = overlay(
        view,
        np.array(scaled(maps[0])),
        low=0,
        high=1,
        unit=unit,
        opacity=opacity,
        colors=colors,
        smooth=smooth,
    )
    figure.frames = [
        go.Frame(data=[{"type": "heatmap", "z": scaled(relevance)}], name=label, traces=[0])
        for relevance, label in zip(maps, labels, strict=True)
    ]
    step = {
        "frame": {"duration": MILLISECONDS, "redraw": True},
        "mode": "immediate",
        "fromcurrent": True,
    }
    still = {"frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    figure.update_yaxes(constraintoward="top")
    figure.update_layout(
        margin={"t": ABOVE, "b": BELOW},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "x": 0,
                "xanchor": "left",
                "y": 0,
                "yanchor": "top",
                "showactive": False,
                "pad": {"t": _BAR + 22, "l": 0},
                "font": {"color": "#14171c"},
                "bgcolor": "#d9f2ee",
                "buttons": [
                    {"label": "▶", "method": "animate", "args": [None, step]},
                    {"label": "❚❚", "method": "animate", "args": [[None], still]},
                ],
            }
        ],
        sliders=[
            {
                "x": 0.3,
                "len": 0.7,
                "xanchor": "left",
                "y": 0,
                "yanchor": "top",
                "pad": {"t": _BAR, "b": 0, "r": 8},
                "currentvalue": {"prefix": prefix, "font": {"size": 12}},
                "font": {"size": 10},
                "steps": [
                    {"label": label, "method": "animate", "args": [[label], still]}
                    for label in labels
                ],
            }
        ],
    )
    return figure


def gif(
    view: Image.Image,
    maps: Sequence[npt.NDArray[np.float32]],
    labels: Sequence[str],
    *,
    opacity: float = 0.6,
    colors: str = "Inferno",
    percentile: float = 100.0,
    milliseconds: int = MILLISECONDS,
) -> bytes:
    """The same overlays as an animated GIF that loops, with a line of text under each."""
    frames = [
        captioned(
            blend(view, relevance, opacity=opacity, colors=colors, percentile=percentile), label
        )
        for relevance, label in zip(maps, labels, strict=True)
    ]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0
    )
    return buffer.getvalue()


def captioned(image: Image.Image, text: str) -> Image.Image:
    """A picture with a caption below it."""
    font = ImageFont.load_default(max(11, round(image.width / 22)))
    left, top, right, bottom = font.getbbox(text)
    tall = round(bottom + top)
    taller = Image.new("RGB", (image.width, image.height + tall), "#14171c")
    taller.paste(image, (0, 0))
    place = ((image.width - (right - left)) / 2, image.height + top / 2)
    ImageDraw.Draw(taller).text(place, text, fill="#ffffff", font=font)
    return taller


@cache
def _table(colors: str) -> npt.NDArray[np.uint8]:
    """A color scale as 256 colors."""
    levels = sample_colorscale(scale(colors), np.linspace(0, 1, 256), colortype="tuple")
    table: npt.NDArray[np.uint8] = (np.asarray(levels) * 255).round().astype(np.uint8)
    return table


def blend(
    view: Image.Image,
    relevance: npt.NDArray[np.float32],
    *,
    opacity: float,
    colors: str,
    percentile: float = 100.0,
) -> Image.Image:
    """A map over its view as a still picture, in the colors of the interactive figures."""
    low, high = heatmaps.limits(relevance, percentile)
    heat = heatmaps.normalize(heatmaps.resize(relevance, (view.height, view.width)), low, high)
    colored = Image.fromarray(_table(colors)[(heat * 255).astype(np.uint8)])
    return Image.blend(view.convert("RGB"), colored, opacity)


def mass_range(shares: Sequence[float]) -> str:
    """Smallest and largest share in whole percent, or one number if they round to the same."""
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low} to {high}"
