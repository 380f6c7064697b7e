"""Pieces of Compare: the heads of its columns, and what is added beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import streamlit as st

import core
from core import Model
from dashboard import columns, controls, frame, screen
from dashboard.controls import Choice
from dashboard.looks import MOST, Look
from dashboard.text import plain

NARROWEST = 188
"""Pixels that a column has at least: the picture and two columns fit into 800 beside the side bar;
what does not fit is reached by scrolling."""

STYLE = """
<style>
.st-key-looks { overflow-x: auto; overflow-y: hidden; }
.st-key-looks > * { min-width: LEASTpx; }
.st-key-looks [data-testid="stHorizontalBlock"] { flex-wrap: nowrap !important; }
.st-key-looks [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {
  flex: 1 1 0 !important; min-width: 0 !important;
}
</style>
"""


def container() -> Any:
    """Where heads and maps stand; to be filled by `heads` and the figure."""
    return st.container(key="looks")


def least(count: int) -> int:
    """Pixels that the picture and so many columns take at least."""
    return NARROWEST * (count + 1)


def heads(models: Mapping[str, Model]) -> tuple[Any, list[Choice]]:
    """What stands above each column: method, parameters, and where the column stands.

    Returns
    -------
    place
        Above the picture, for the class that all columns share.
    choices : list of Choice
        One for each column.
    """
    slots = controls.column_slots()
    st.html(STYLE.replace("LEAST", str(least(len(slots)))))
    places = st.columns(len(slots) + 1, gap="small", vertical_alignment="bottom")
    found = []
    for number, (place, slot) in enumerate(zip(places[1:], slots, strict=True)):
        model = models[slot.look.model]
        with place, st.container(horizontal=True, gap="xsmall", vertical_alignment="bottom"):
            choice = controls.method_choice(slot, plain(model.spec.title), model)
            with st.popover("", icon=":material/tune:", width="content", key=f"column-{number}"):
                controls.choice_widgets(choice)
                _arrange(number, len(slots))
        found.append(choice)
    return places[0], controls.told_apart(found)


def _arrange(number: int, count: int) -> None:
    """Move a column or take it away."""
    if count == 1:
        return

    def button(name: str, icon: str, act: Callable[[], screen.Screen], disabled: bool) -> None:
        st.button(
            name,
            icon=f":material/{icon}:",
            key=f"{icon}-{number}",
            disabled=disabled,
            width="stretch",
            on_click=screen.guarded(lambda: screen.become(act())),
        )

    moved = partial(columns.moved, number=number)
    button("Move left", "arrow_back", lambda: moved(screen.current(), by=-1), number == 0)
    button(
        "Move right", "arrow_forward", lambda: moved(screen.current(), by=1), number == count - 1
    )
    button("Remove", "close", lambda: columns.removed(screen.current(), number), False)


def adder(models: Mapping[str, Model]) -> None:
    """Add a column: another model, or another method or definition of one that is there."""
    count = len(columns.columns(screen.current()))
    with st.popover(
        "Add a column",
        icon=":material/add_column_right:",
        width="content",
        disabled=count >= MOST,
        help=f"{MOST} columns at most." if count >= MOST else None,
    ):
        offered = frame.offered_models()
        others = [model_id for model_id in offered if model_id not in models]
        st.selectbox(
            "Another model",
            others,
            index=None,
            format_func=lambda model_id: frame.model_title(offered[model_id]),
            filter_mode="contains",
            placeholder="Choose a model",
            **screen.tied("add-column", None, _add),
        )
        st.caption("Or one more column of a model that is there, with another method:")
        for model_id, model in models.items():
            st.selectbox(
                plain(model.spec.title),
                [method.name for method in core.methods(model)],
                index=None,
                format_func=lambda name: core.find_method(name).title,
                filter_mode="contains",
                placeholder="Choose a method",
                **screen.tied(f"add-{model_id}", None, partial(_add, model_id)),
            )


def _add(model_id: str | None, method: str | None = "") -> None:
    if model_id is None or method is None:
        return
    screen.become(columns.added(screen.current(), Look(core.find_spec(model_id).id, method)))
