"""Widgets shared by several tabs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard import controls, panels, session
from dashboard.view import Figure
from pages.attention.parts import Mosaic, Query


def opacity() -> None:
    """Slider for the opacity of the maps."""
    controls.slider("opacity", "Opacity of the maps", 0.0, 1.0, 0.05)


def layer_slider(layers: int) -> None:
    """Choose a layer, by default the last."""
    controls.slider("layer", "Layer", 0, layers - 1, 1, layers - 1)


def small_print(text: str) -> None:
    """A caption, if the text is not empty."""
    if text:
        st.caption(text)


def mosaic(made: Mosaic, act: Callable[[int], None]) -> None:
    """Maps; a click on one calls ``act`` with its number."""
    panels.chart(made, lambda data: act(int(data[0])))
    st.caption(made.ends)


def query_picker(query: Query) -> None:
    """Choose the query by a click on the picture or by keyboard."""
    if query.readout:
        _kind(query)
    if query.patch is not None:
        _place(query, *query.patch)
    if query.figure is not None:
        _picture(query, query.figure)


def _write(row: int, col: int) -> None:
    session.change(query=f"r{row}c{col}")


def _kind(query: Query) -> None:
    names = {"readout": query.readout, "patch": "one patch"}

    def switch(name: str | None) -> None:
        if name == "patch":
            _write(*query.middle)
        else:
            session.change(query=None)

    by_click = " Click a patch in the picture to choose it."
    st.radio(
        "Whose attention",
        list(names),
        format_func=lambda name: names[name][:1].upper() + names[name][1:],
        help="“One patch” starts with the central one." + (by_click if query.figure else ""),
        **session.tied("query-kind", "readout" if query.patch is None else "patch", switch),
    )


def _place(query: Query, row: int, col: int) -> None:
    rows, cols = query.grid
    left, right = st.columns(2, gap="small")
    left.number_input(
        "Row", 0, rows - 1, **session.tied("query-row", row, lambda held: _write(held, col))
    )
    right.number_input(
        "Column", 0, cols - 1, **session.tied("query-column", col, lambda held: _write(row, held))
    )


def _picture(query: Query, figure: Figure) -> None:
    def choose(data: list[Any]) -> None:
        _write(int(data[0]), int(data[1]))

    panels.chart(figure, choose)
    rows, cols = query.grid
    st.caption(f"Click one of the {rows} × {cols} patches to choose it.")
