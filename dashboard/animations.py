"""Maps that follow each other: an interactive figure and an animated GIF. Knows no Streamlit."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import sample_colorscale

from core import heatmaps
from dashboard.figures import overlay, scale


def animation(
    view: Image.Image,
    maps: Sequence[npt.NDArray[np.float32]],
    labels: Sequence[str],
    *,
    unit: str,
    opacity: float = 0.6,
    colors: str = "Inferno",
    smooth: bool = True,
    percentile: float = 100.0,
) -> go.Figure:
    """Maps that follow each other, with a play button and a slider; the browser plays them."""

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
    step = {"frame": {"duration": 350, "redraw": True}, "mode": "immediate", "fromcurrent": True}
    still = {"frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    figure.update_layout(
        margin={"t": 4, "b": 110},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "x": 0,
                "y": -0.16,
                "yanchor": "top",
                "showactive": False,
                "pad": {"t": 14},
                "buttons": [
                    {"label": "▶", "method": "animate", "args": [None, step]},
                    {"label": "❚❚", "method": "animate", "args": [[None], still]},
                ],
            }
        ],
        sliders=[
            {
                "x": 0.24,
                "len": 0.76,
                "y": -0.16,
                "yanchor": "top",
                "pad": {"t": 4},
                "currentvalue": {"prefix": "discard ratio ", "font": {"size": 12}},
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
    *,
    opacity: float = 0.6,
    colors: str = "Inferno",
    percentile: float = 100.0,
    milliseconds: int = 350,
) -> bytes:
    """The same sequence of overlays as an animated GIF that loops."""
    frames = [
        blend(view, relevance, opacity=opacity, colors=colors, percentile=percentile)
        for relevance in maps
    ]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0
    )
    return buffer.getvalue()


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
    levels = sample_colorscale(scale(colors), np.linspace(0, 1, 256), colortype="tuple")
    table = (np.asarray(levels) * 255).round().astype(np.uint8)
    heat = heatmaps.normalize(heatmaps.resize(relevance, (view.height, view.width)), low, high)
    colored = Image.fromarray(table[(heat * 255).astype(np.uint8)])
    return Image.blend(view.convert("RGB"), colored, opacity)
