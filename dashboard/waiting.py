"""Progress display during computations; a run can end here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

import core
from dashboard.text import duration

Report = Callable[[str, int, int], None]
"""Called with the name of the computation, the steps done and all steps."""

_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def told_to_wait() -> Iterator[None]:
    """Show what a run waits for within a ``with`` block; a waiting run can end here."""
    place = st.empty()
    shown = False

    def on_wait(before: int | None) -> None:
        nonlocal shown
        if before == 0:
            place.empty()  # a message to the browser ends the run if the session has left
            shown = False
            return
        shown = True
        if before is None:
            text = "Another request is already computing this result; please wait."
        else:
            text = f"{before} {'request is' if before == 1 else 'requests are'} ahead of yours."
        place.info(text, icon=":material/hourglass_top:")

    try:
        with core.watching(None, on_wait):
            yield
    finally:
        if shown:
            place.empty()


CANCEL_FROM = 1.0
"""Seconds of a computation from which it can be canceled."""


@contextmanager
def bar(cancel: Callable[[], None]) -> Iterator[None]:
    """Show the progress of `watched` computations inside a ``with`` block.

    A new choice, or leaving the page, ends the run at its next step.

    Parameters
    ----------
    cancel
        Called if the button is pressed that ends a computation.
    """
    progress = _Progress(st.empty(), cancel)
    token = _report.set(progress.report)
    try:
        yield
    finally:
        _report.reset(token)
        progress.place.empty()


@dataclass
class _Progress:
    """What is being computed, in one line with a button."""

    place: Any
    cancel: Callable[[], None]
    line: Any = None
    button: Any = None
    begun: dict[str, float] = field(default_factory=dict)

    def report(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self.line is None:
            with self.place.container(horizontal=True, vertical_alignment="center", key="progress"):
                self.line, self.button = st.empty(), st.empty()
        if not done:
            self.begun[what] = now
        taken = now - self.begun.setdefault(what, now)
        seconds = taken / max(1, done) * (total - done)
        left = f", {duration(seconds)} left" if seconds > 1 else ""
        self.line.progress(done / total, f"{what}: {done} of {total} steps{left}")
        if self.button is not None and taken + seconds > CANCEL_FROM:
            self.button.button(
                "Cancel",
                key="cancel",
                icon=":material/close:",
                help="Keeps what was shown before.",
                on_click=self.cancel,
            )
            self.button = None


@contextmanager
def watched(what: str) -> Iterator[None]:
    """Report the steps of a computation inside a ``with`` block to the `bar` around it, if any."""
    report = _report.get()

    def on_step(done: int, total: int) -> None:
        if report is not None and total > 1:
            report(what, done, total)

    with core.watching(on_step):
        yield


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Report finished pieces inside a ``with`` block, as `watched` reports steps.

    Yields
    ------
    callable
        Called with the number of finished pieces.
    """
    report = _report.get()

    def tell(done: int) -> None:
        if report is not None:
            report(what, done, total)

    yield tell


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """A spinner beside a text inside a ``with`` block, if there is a page."""
    if get_script_run_ctx(suppress_warning=True) is None:
        yield
        return
    with st.spinner(text, show_time=True):
        yield
