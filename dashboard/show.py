"""A page in two steps: what it shows is made, then drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from dashboard import session
from dashboard.view import Maker, View

Made = TypeVar("Made", bound=View)


@dataclass
class Shown:
    """What the last run of a page has shown.

    Attributes
    ----------
    complete
        Whether the page was drawn to its end.
    """

    maker: Maker
    made: View | None = None
    complete: bool = False

    @property
    def view(self) -> View:
        """All that is known so far."""
        return self.made or self.maker.view(View)


@dataclass
class Last:
    """The page that a session has drawn last, or is drawing."""

    shown: Shown | None = None


def begin(title: str, link: str) -> Shown:
    """Called once a run by the frame, before the page is made."""
    found = Shown(Maker(session.screen(), title, link))
    session.kept(Last).shown = found
    return found


def current() -> Shown | None:
    """What this run has shown so far; in a callback, what the run before has shown."""
    return session.kept(Last).shown


def page(make: Callable[[Maker], Made], draw: Callable[[Made], None]) -> None:
    """Make what a page shows, then draw it.

    Parameters
    ----------
    make
        Knows no Streamlit.
    draw
        Widgets and layout; asks no model.
    """
    shown = current()
    assert shown is not None, "the frame begins a page before it is made"
    with st.skeleton(height=420), st.spinner("Running the models …", show_time=True):
        made = make(shown.maker)
    shown.made = made
    for sentence in made.problems:
        session.problem(sentence)
    draw(made)
