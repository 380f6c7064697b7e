"""A page in two steps: make the view, then draw it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import streamlit as st

from dashboard import opening, session
from dashboard.choices import Choice
from dashboard.looks import Look
from dashboard.screen import Screen, kind_of
from dashboard.text import duration, plain
from dashboard.view import Costly, Maker, View

Made = TypeVar("Made", bound=View)

TAB = "tab-"
"""Beginning of the keys of containers of tabs."""


@dataclass
class Shown:
    """The view of the last run of a page.

    Attributes
    ----------
    there
        Whether the browser shows the page, as this run or one before has drawn it.
    still
        Stands for the page until it is drawn: of the first screen of a sample, if the browser
        does not show the page yet.
    complete
        Whether the page was drawn to its end.
    """

    maker: Maker
    there: bool = False
    still: opening.Still | None = None
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
    """What a session drew last.

    Attributes
    ----------
    shown
        The page that was drawn last, or is being drawn.
    finished
        The screen that was drawn to its end last.
    looks
        The looks that were drawn last, by column.
    """

    shown: Shown | None = None
    finished: Screen | None = None
    looks: dict[str, Look] = field(default_factory=dict)


def begin(title: str, link: str) -> Shown:
    """Called once a run by the frame, before the page is made."""
    screen, before = session.screen(), current()
    there = before is not None and before.there and before.maker.screen.page == screen.page
    last = session.kept(Last)
    maker = Maker(screen, title, link, session.kept(Begun).keys, last.looks)
    still = None if there else opening.still(screen.page, screen.address())
    last.shown = found = Shown(maker, there, still)
    return found


def finished(shown: Shown) -> None:
    """Called by the frame once a page is drawn to its end."""
    shown.complete = True
    last = session.kept(Last)
    last.finished = session.screen()
    last.looks = {**last.looks, **shown.maker.drawn}


def cancel() -> None:
    """Return to the screen that was drawn to its end last; for callbacks.

    Nothing that takes long is computed for it, as it was not asked for again.
    """
    session.kept(Begun).keys.clear()
    if (before := session.kept(Last).finished) is not None:
        session.become(before)


def current() -> Shown | None:
    """The view of this run so far; in a callback, that of the previous run."""
    return session.kept(Last).shown


def still() -> opening.Still | None:
    """The still that stands for the page of this run until it is drawn; see `Shown`."""
    shown = current()
    return shown.still if shown is not None else None


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
        nullcontext() if shown.there else opening.ahead(shown.still),
        st.spinner("Running the models …", show_time=True),
    ):
        _hide_other_tabs()
        made = make(shown.maker)
    shown.made = made
    for sentence in made.problems:
        session.problem(sentence)
    shown.there = True
    if made.costly:
        _offer(made.costly)
    draw(made)


def tab() -> Any:
    """A container for all that belongs to the open tab of a page; see `Options.tabs`."""
    return st.container(key=_tab())


def _tab() -> str:
    """The key of the open tab; empty where the page has none."""
    now = session.screen()
    field = kind_of(now.page).tabs
    return f"{TAB}{now.value(field)}" if field else ""


def _hide_other_tabs() -> None:
    """While a tab is made, nothing remains of the one that was open before."""
    if now := _tab():
        others = f'[class*="st-key-{TAB}"]:not(.st-key-{now})'
        st.html(f"<style>{others} {{ display: none; }}</style>")


def _offer(costly: Sequence[Costly]) -> None:
    """What each map that waits for a click takes, and its button."""
    for number, one in enumerate(costly):
        with st.container(
            horizontal=True, vertical_alignment="center", gap="small", key=f"costly-{number}"
        ):
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
            if one.instead is None or one.instead.method is None:
                continue
            title = plain(one.instead.method.title)
            st.button(
                f"Keep {title}",
                key=f"keep-{number}",
                type="tertiary",
                help="Chooses what the column shows now.",
                on_click=session.guarded(partial(_keep, one.instead)),
            )


def _keep(shown: Choice) -> None:
    session.become(shown.slot.put(session.screen(), shown.slot.look))
