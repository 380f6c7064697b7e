"""A full-screen viewer: all panels of a row, or saved screens, as large as the window allows.

The arrow keys go through the panels, **H** hides the maps while it is held, **B** alternates two
maps in one place, wheel and drag zoom and move all panels together, **Esc** closes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from core import rendering
from dashboard import figures, session
from dashboard.rows import Row, number

_FOLDER = Path(__file__).parent


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_mount = st.components.v2.component(
    "parallax_lightbox",
    html=_text("lightbox.html"),
    css=_text("lightbox.css"),
    js=_text("lightbox.js"),
)


@dataclass(frozen=True, eq=False)
class Slide:
    """A picture with its text, for `present`.

    Attributes
    ----------
    source
        A data URI.
    ratio
        Width over height.
    """

    title: str
    subtitle: str
    source: str
    ratio: float


def show(row: Row) -> None:
    """Open the viewer on a row, of which the screen names a panel."""
    closed = session.guarded(lambda: session.change(large=None))
    _mount(key=f"{row.key}-lightbox", data=contents(row), on_closed_change=closed)


def present(key: str, slides: Sequence[Slide], close: Callable[[], None]) -> None:
    """Open the viewer on pictures, one at a time, with large text.

    Parameters
    ----------
    close
        Called when the reader closes it.
    """
    panels = [
        _panel(slide.title, slide.subtitle, number, slide.ratio)
        for number, slide in enumerate(slides)
    ]
    data = {
        "panels": panels,
        "pictures": [slide.source for slide in slides],
        "first": 0,
        "smooth": True,
        "presented": True,
    }
    _mount(key=key, data=data, on_closed_change=session.guarded(close))


def contents(row: Row) -> dict[str, Any]:
    """What the viewer draws: pictures and maps as data URIs, with titles and scales."""
    pictures: list[str] = []
    panels = []
    for layers in row.layers():
        source = figures.data_uri(layers.picture)
        if source not in pictures:
            pictures.append(source)
        shown, picture = layers.panel, layers.picture
        panel = _panel(
            shown.title, shown.subtitle, pictures.index(source), picture.width / picture.height
        )
        if layers.map and layers.bar:
            panel |= {"layer": figures.transparent_uri(layers.map), "scale": _scale(layers.bar)}
        panels.append(panel)
    return {
        "panels": panels,
        "pictures": pictures,
        "first": row.opened,
        "smooth": row.display.smooth,
        "presented": False,
    }


def _panel(title: str, subtitle: str, picture: int, ratio: float) -> dict[str, Any]:
    """A panel without a map; ``picture`` counts the pictures that are sent."""
    return {
        "title": title,
        "subtitle": subtitle,
        "picture": picture,
        "ratio": ratio,
        "layer": None,
        "scale": None,
    }


def _scale(bar: rendering.Bar) -> dict[str, Any]:
    """The color bar, as the viewer draws it: stops of a gradient, and texts."""
    stops = [
        f"rgba({', '.join(f'{part:g}' for part in (*color[:3], *(color[3:] or (1,))))}) {place:.1%}"
        for place, color in bar.scale
    ]
    return {
        "stops": stops,
        "low": number(bar.low, "{:.3g}"),
        "high": number(bar.high, "{:.3g}"),
        "unit": bar.unit,
    }
