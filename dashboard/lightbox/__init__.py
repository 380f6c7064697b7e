"""A full-screen viewer of a row of panels: all as large as the window allows.

The arrow keys go through the panels, **H** hides the maps while it is held, **B** alternates two
maps in one place, wheel and drag zoom and move all panels together, **Esc** closes.
"""

from __future__ import annotations

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


def show(row: Row) -> None:
    """Open the viewer over the page, as long as the screen names one of the row's panels."""
    _mount(
        key=f"{row.key}-lightbox",
        data=contents(row),
        on_closed_change=session.guarded(lambda: session.change(large=None)),
    )


def contents(row: Row) -> dict[str, Any]:
    """What the viewer draws: pictures and maps as data URIs, with titles and scales."""
    pictures: list[str] = []
    panels = []
    for layers in row.layers():
        source = figures.data_uri(layers.picture)
        if source not in pictures:
            pictures.append(source)
        panels.append(
            {
                "title": layers.panel.title,
                "subtitle": layers.panel.subtitle,
                "picture": pictures.index(source),
                "layer": figures.transparent_uri(layers.map) if layers.map else None,
                "scale": _scale(layers.bar) if layers.bar else None,
            }
        )
    return {
        "panels": panels,
        "pictures": pictures,
        "ratio": row.view.width / row.view.height,
        "first": row.opened,
        "smooth": row.display.smooth,
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
