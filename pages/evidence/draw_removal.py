"""Removal and changes, and the answers: widgets and layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from core import CHANGES
from dashboard import controls, panels, session
from dashboard.choices import is_opposite, named
from dashboard.text import plain
from dashboard.view import Figure
from pages.evidence.options import text_of_mask
from pages.evidence.removal import DRAWN, LAST_SEED, TAKEN, Before, Mask, Removal


def draw(found: Removal) -> None:
    """The change on the left, the models' answers on the right."""
    left, right = st.columns([2, 3], gap="medium")
    with left:
        titles = TAKEN | {name: change.title for name, change in CHANGES.items()}
        controls.select(
            "change",
            "What is changed",
            list(titles),
            format_func=titles.__getitem__,
            help="The first two remove parts; the others change the whole picture. "
            "All models always get the same picture.",
        )
        if found.change in TAKEN:
            _taken(found)
        else:
            _changed(found)
    if found.refusal:
        return
    with right, st.container(key="before-and-after"):
        columns = st.columns(max(2, len(found.answers)), gap="medium")
        for column, one in zip(columns, found.answers, strict=False):
            with column:
                _before_and_after(one, found.classes)
        if found.curve is not None:
            st.markdown(f"**{plain(named(found.classes))}** as the change grows")
            panels.chart(found.curve)
            st.caption(
                "Hollow: the first answer differs from that for the unchanged picture. One draw "
                "for each strength; another seed gives another curve."
            )
    for sentence in found.refusals:
        st.info(plain(sentence), icon=":material/block:")


def _taken(found: Removal) -> None:
    if found.change == "map":
        controls.slider(
            "top",
            "Share that is removed",
            0.01,
            1.0,
            0.01,
            help="The patches of the highest relevance; of equal ones the first in reading order.",
        )
        last = len(found.names) - 1
        if last:
            controls.select(
                "top_of",
                "Of the map",
                range(last, -1, -1),
                last,
                lambda place: found.names[place],
            )
    if found.refusal:
        st.info(plain(found.refusal), icon=":material/visibility_off:")
    if found.map_name:
        st.caption(plain(found.map_name))
    if found.patches is not None and found.mask is not None:
        _patches(found.patches, found.mask, found.patch)


def _patches(figure: Figure, removed: Mask, patch: tuple[int, int]) -> None:
    """The models' input; a click, a box or the keyboard changes the removed patches."""
    rows, cols = removed.shape
    row, col = patch

    def write(mask: Mask) -> None:
        session.change(change="patches", removed=text_of_mask(mask))

    def pick() -> None:
        places = [p["customdata"] for p in session.held("patches-figure").selection.points]
        if not places:
            return
        mask, index = removed.copy(), tuple(np.array(places, int)[:, :2].T)
        mask[index] = not mask[index].all()
        write(mask)

    def toggle() -> None:
        mask = removed.copy()
        mask[row, col] = not mask[row, col]
        write(mask)

    panels.chart(figure, on_select=session.guarded(pick), selection_mode=("points", "box"))
    st.caption(
        f"{int(removed.sum())} of {removed.size} patches are removed. Click a patch to remove it "
        "or put it back; drag a box over several."
    )
    boxes = st.columns([1, 1, 1], gap="small", vertical_alignment="bottom")
    boxes[0].number_input(
        "Row",
        0,
        rows - 1,
        **session.tied("patch-row", row, lambda held: session.change(query=f"r{held}c{col}")),
    )
    boxes[1].number_input(
        "Column",
        0,
        cols - 1,
        **session.tied("patch-column", col, lambda held: session.change(query=f"r{row}c{held}")),
    )
    boxes[2].button(
        "Put it back" if removed[row, col] else "Take it away",
        key="patch-toggle",
        width="stretch",
        on_click=toggle,
    )
    st.button(
        "Put everything back",
        key="patch-clear",
        icon=":material/restart_alt:",
        disabled=not removed.any(),
        on_click=lambda: write(np.zeros_like(removed)),
    )


def _changed(found: Removal) -> None:
    meaning = CHANGES[found.change].meaning
    st.select_slider(
        f"{meaning[:1].upper()}{meaning[1:]}",
        found.strengths,
        format_func=lambda strength: f"{strength:.3g}",
        **session.bound("strength", found.strength),
    )
    if found.change in DRAWN:
        controls.number("seed", "Seed", 0, LAST_SEED)
    if found.picture is not None:
        st.image(found.picture, width="stretch", alt="The changed picture, as all models get it")


def _before_and_after(one: Before, classes: tuple[str, ...]) -> None:
    import pandas as pd

    what = "Probability of the class"
    if len(classes) > 1:
        # A narrow column truncates the label.
        what = f"{plain(named(classes))}: probability of the first, given one of the two,"
    if is_opposite(classes):
        what = "Probability that the label does not hold"
    st.metric(
        f"{plain(one.title)} · {plain(named(classes))}",
        f"{one.now:.1%}",
        f"{100 * (one.now - one.was):+.1f} points",
        help=f"{what} in the changed picture, and its change.",
    )
    marks = dict(zip(classes, ("● ", "○ "), strict=False))
    table = pd.DataFrame(
        [(f"{marks.get(name, '')}{name}", was, now) for name, was, now in one.rows],
        columns=["class", "before", "after"],
    )
    bar: dict[str, Any] = {"min_value": 0.0, "max_value": 1.0, "format": "percent"}
    st.dataframe(
        table,
        key=f"answers-{one.number}",
        hide_index=True,
        row_height=28,
        column_config={
            "class": st.column_config.TextColumn("Class"),
            "before": st.column_config.NumberColumn("Before", format="percent", width=72),
            "after": st.column_config.ProgressColumn("After", width=92, **bar),
        },
    )
