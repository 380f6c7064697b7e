"""Widgets and layout of Compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

import core
from dashboard import cache, columns, controls, models, panels, session, show
from dashboard.looks import MOST, Look
from dashboard.screen import Screen
from dashboard.text import plain
from pages.compare.view import Compare, least

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


def draw(view: Compare) -> None:
    """The head, a row of columns, and numbers and top-5 tables below it."""
    head = panels.head(
        "Compare",
        "The same pixels, the same class, through every model: bright places count for that class.",
        "Each map shows which places of the picture count for **one class**, by that model's own "
        "computation. Bright does not mean that the object is there. A map marked “no class” "
        "(plain rollout, attention) is the same whatever the class: it shows where the ViT "
        "attends, not why it predicts that class. Choose a second class under **Rather than**, "
        "and the maps show what supports the first class more than the second; of labels, what "
        "speaks against one. Colors begin at "
        "zero, where the picture is left as it is; evidence against the class is colored, in "
        "blue, only if you turn it on under Display. Point at a place to read it in all maps; "
        "drag to zoom, double-click to zoom out; **Full screen** shows all maps large. "
        "**Add a column** adds another model, or another "
        "method or definition for a model already shown.",
        "Zhou 2016 (CAM), Selvaraju 2017 (Grad-CAM), Abnar & Zuidema 2020 (rollout), Chefer 2021, "
        "Bousselham 2024 (LeGrad)",
    )
    with head:
        _adder(view)
        controls.display(
            "The maps have different units, so on a shared scale each is shown in multiples of "
            "its own mean (negative values as 0): equal colors mean an equal share of the "
            "relevance.",
            width="content",
        )
    panels.doubt(view.doubt)
    with st.container(key="looks"):
        _heads(view)
        panels.row(view.row, show.still())
    with st.container(key="answers"):
        figures, *tables = st.columns(1 + len(view.models), gap="medium")
    with figures:
        if view.conclusion:
            st.markdown(f":small[**{plain(view.conclusion)}**]")
        panels.agreement(view.agreement)
        for choice, note in zip(view.drawn, view.notes, strict=True):
            if note:
                st.caption(f"**{plain(choice.name)}.** {note}")
        _chance(view)
    shown = session.scene()
    for table, (model_id, model) in zip(tables, view.models.items(), strict=True):
        with table:
            panels.top_five(
                model,
                view.predictions.get(model_id),
                view.classes.shown[0] if view.classes.shown else "",
                shown.picture.digest,
            )
    panels.training_note([*view.models.values()])
    st.caption(view.times)


# -- columns --------------------------------------------------------------------------------------


def _heads(view: Compare) -> None:
    """The class above the picture; method, parameters and position above each column."""
    count = len(view.choices)
    st.html(STYLE.replace("LEAST", str(least(count))))
    first, *places = st.columns(count + 1, gap="small", vertical_alignment="bottom")
    with first, st.container(horizontal=True, gap="xsmall", vertical_alignment="bottom"):
        if view.classes.shown:
            controls.class_picker(view.classes, *_labeled(view))
            with st.popover(
                "Rather than", icon=":material/alt_route:", width="content", key="icon-rather"
            ):
                controls.rather_than_picker(view.classes)
    for number, (place, choice) in enumerate(zip(places, view.choices, strict=True)):
        with place, st.container(horizontal=True, gap="xsmall", vertical_alignment="bottom"):
            title = plain(choice.model.spec.title)
            controls.method_picker(choice, title)
            with st.popover(
                f"Parameters of {title}",
                icon=":material/tune:",
                width="content",
                key=f"icon-column-{number}",
            ):
                controls.parameter_widgets(choice)
                _arrange(number, count)


def _labeled(view: Compare) -> list[core.Model]:
    return [model for model in view.models.values() if model.classes]


def _arrange(number: int, count: int) -> None:
    """Move or remove a column."""
    if count == 1:
        return

    def button(name: str, icon: str, act: Callable[[], Screen], disabled: bool) -> None:
        st.button(
            name,
            icon=f":material/{icon}:",
            key=f"{icon}-{number}",
            disabled=disabled,
            width="stretch",
            on_click=session.guarded(lambda: session.become(act())),
        )

    moved = partial(columns.moved, number=number)
    button("Move left", "arrow_back", lambda: moved(session.screen(), by=-1), number == 0)
    button(
        "Move right", "arrow_forward", lambda: moved(session.screen(), by=1), number == count - 1
    )
    button("Remove", "close", lambda: columns.removed(session.screen(), number), False)


def _adder(view: Compare) -> None:
    """Add a column: another model, or another method or definition for a model shown."""
    full = len(view.choices) >= MOST
    with st.popover(
        "Add a column",
        icon=":material/add_column_right:",
        width="content",
        disabled=full,
        help=f"{MOST} columns at most." if full else None,
    ):
        offered = models.offers()
        st.selectbox(
            "Another model",
            [model_id for model_id in offered if model_id not in view.models],
            index=None,
            format_func=lambda model_id: models.title(offered[model_id]),
            filter_mode="contains",
            placeholder="Choose a model",
            **session.tied("add-column", None, _add),
        )
        st.caption("Or another column with a model already shown and another method:")
        for model_id, model in view.models.items():
            st.selectbox(
                plain(model.spec.title),
                [method.name for method in core.methods(model)],
                index=None,
                format_func=lambda name: core.find_method(name).title,
                filter_mode="contains",
                placeholder="Choose a method",
                **session.tied(f"add-{model_id}", None, partial(_add, model_id)),
            )


def _add(model_id: str | None, method: str | None = "") -> None:
    if model_id is None or method is None:
        return
    session.become(columns.added(session.screen(), Look(cache.spec(model_id).id, method)))


# -- better than chance? --------------------------------------------------------------------------


def _chance(view: Compare) -> None:
    """One line per map on whether it is better than chance, computed on request."""
    for choice, verdict in zip(view.drawn, view.verdicts, strict=False):
        st.caption(f"**{plain(choice.name)}.** {plain(verdict.rstrip('.'))}.")
    checked = bool(view.verdicts)
    st.button(
        "Do not check" if checked else "Better than chance?",
        key="check",
        type="tertiary",
        icon=":material/science:",
        help="Removes patches in the order of each map and compares with random order, with "
        "center-outward order and with edge order; the page Evidence shows the curves.",
        on_click=lambda: session.change(checked=not checked),
    )
