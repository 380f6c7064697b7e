"""A page in two steps: make the view, then draw it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import streamlit as st

from dashboard import session
from dashboard.text import duration, plain
from dashboard.view import Costly, Maker, View

Made = TypeVar("Made", bound=View)


@dataclass
class Shown:
    """The view of the last run of a page.

    Attributes
    ----------
    again
        Whether the run before has drawn the same page.
    complete
        Whether the page was drawn to its end.
    """

    maker: Maker
    again: bool = False
    made: View | None = None
    complete: bool = False

    @property
    def view(self) -> View:
        """The view as known so far."""
        return self.made or self.maker.view(View)


@dataclass
class Begun:
    """Keys of the costly maps that a session has asked for."""

    keys: set[Hashable] = field(default_factory=set)


@dataclass
class Last:
    """The page that a session drew last, or is drawing."""

    shown: Shown | None = None


def begin(title: str, link: str) -> Shown:
    """Called once a run by the frame, before the page is made."""
    screen, before = session.screen(), current()
    again = before is not None and before.complete and before.maker.screen.page == screen.page
    found = Shown(Maker(screen, title, link, session.kept(Begun).keys), again)
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
    # What was drawn before stays where it is while another choice is computed.
    with (
        st.container(key="making"),
        nullcontext() if shown.again else st.skeleton(height=420),
        st.spinner("Running the models …", show_time=True),
    ):
        made = make(shown.maker)
    shown.made = made
    for sentence in made.problems:
        session.problem(sentence)
    if made.costly:
        _offer(made.costly)
    draw(made)


def _offer(costly: Sequence[Costly]) -> None:
    """A button for each map that waits for a click."""
    with st.container(horizontal=True, gap="small", key="costly"):
        for number, one in enumerate(costly):
            st.button(
                f"Compute {plain(one.name)} · {duration(one.cost.seconds)}",
                icon=":material/play_arrow:",
                type="primary",
                key=f"compute-{number}",
                help=f"{one.cost.passes:,} passes of the network. Another choice ends it; what is "
                "finished stays.",
                on_click=session.kept(Begun).keys.add,
                args=(one.cost.key,),
            )
