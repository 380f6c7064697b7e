"""The page while a new server imports PyTorch; imports nothing heavy itself."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageOps

from dashboard import opening, registry, startup
from dashboard.style import STYLE

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"
SIDE = 128

_STYLE = """
<style>
.splash { display: flex; flex-wrap: wrap; gap: .5rem; padding-top: 1.9rem; }
.splash img { width: 46px; height: 46px; border-radius: .5rem; }
.st-key-ahead { position: absolute; visibility: hidden; }
</style>
"""

_NOTHING = {
    "data": [{"type": "scatter"}],
    "layout": {"height": 10, "xaxis": {"visible": False}, "yaxis": {"visible": False}},
}


@contextmanager
def shown(name: str, pages: Mapping[str, Any]) -> Iterator[None]:
    """Show the frame of a page and placeholders, until the ``with`` block has imported it."""
    main = st.empty()  # in every run, so that later elements keep their position
    side = st.empty() if name == "review" else st.sidebar.empty()  # Review has no sidebar
    if hasattr(sys.modules.get("dashboard.frame"), "run"):
        yield
        return
    if name != "review":
        with side.container():
            st.html(_thumbnails())
    with main.container():
        _draw(name, pages)
    try:
        yield
    finally:
        main.empty()
        side.empty()


def _draw(name: str, pages: Mapping[str, Any]) -> None:
    st.html(STYLE + _STYLE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for other, page in pages.items():
            st.page_link(page, icon=registry.pages()[other].icon)
    st.title(registry.pages()[name].title, anchor=False)
    st.caption("The server has just started; the models are loading.")
    asked = {key: st.query_params.get_all(key) for key in st.query_params}
    if (still := opening.still(name, asked)) is None:
        st.skeleton(height=420)
    else:
        st.html(still.html("ahead"))
    with st.container(key="ahead"):  # so the browser fetches already what is going to draw charts
        startup.import_charts()
        st.plotly_chart(_NOTHING, key="nothing")


@cache
def _thumbnails() -> str:
    """All samples in their order, as one piece of HTML."""
    found = []
    for sample in tomllib.loads((SAMPLES / "samples.toml").read_text("utf-8"))["sample"]:
        with Image.open(SAMPLES / sample["file"]) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE))
        found.append(f'<img src="{opening.source(small)}" alt="">')
    return f'<div class="splash">{"".join(found)}</div>'
