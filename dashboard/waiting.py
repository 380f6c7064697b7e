"""What a reader sees while something is computed; this is also where a run can end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

import core


@contextmanager
def told_to_wait() -> Iterator[None]:
    """Say in a ``with`` block what is waited for; this is also where a run that waits can end."""
    place = st.empty()
    shown = False

    def on_wait(before: int | None) -> None:
        nonlocal shown
        if before == 0:
            place.empty()  # any word to the browser is where the run of a reader who left ends
            shown = False
            return
        shown = True
        if before is None:
            text = "Somebody else's request makes just this; it will be here in a moment."
        else:
            text = f"{before} {'request is' if before == 1 else 'requests are'} before yours."
        place.info(text, icon=":material/hourglass_top:")

    try:
        with core.watching(None, on_wait):
            yield
    finally:
        if shown:
            place.empty()


@contextmanager
def watched(what: str) -> Iterator[None]:
    """A bar for what takes many steps inside a ``with`` block; the bar is where a run can end.

    A reader who chooses something else, or leaves, ends the run at its next step.
    """
    place = st.empty()

    def on_step(done: int, total: int) -> None:
        if total > 1:
            place.progress(done / total, f"{what}: {done} of {total} steps")

    try:
        with core.watching(on_step):
            yield
    finally:
        place.empty()
