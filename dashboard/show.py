"""A page in two steps: make the view, then draw it."""

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
    """The view of the last run of a page.

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
        """The view as known so far."""
        return self.made or self.maker.view(View)


@dataclass
class Last:
    """The page that a session drew last, or is drawing."""

    shown: Shown | None = None


def begin(title: str, link: str) -> Shown:
    """Start the page; the frame calls it once per run, before the view is made."""
    found = Shown(Maker(session.screen(), title, link))
    session.kept(Last).shown = found
    return found


def current() -> Shown | None:
    """The view of this run so far; in a callback, that of the previous run."""
    return session.kept(Last).shown


def page(make: Callable[[Maker], Made], draw: Callable[[Made], None]) -> None:
    """Make the view of a page, then draw it.

    Parameters
    ----------
    make
        Makes the view; independent of Streamlit.
    draw
        Widgets and layout; runs no model.
    """
    shown = current()
    assert shown is not None, "the frame begins a page before it is made"
    with st.skeleton(height=420), st.spinner("Running the models …", show_time=True):
        made = make(shown.maker)
    shown.made = made
    for sentence in made.problems:
        session.problem(sentence)
    draw(made)
