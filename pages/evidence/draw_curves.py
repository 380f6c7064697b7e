"""Curves of deletion and insertion: widgets and layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from dashboard import controls, measurements, panels, session
from dashboard.looks import Look, texts
from dashboard.text import plain
from pages.evidence.curves import AtStep, Chosen, Curves, Side, listed
from pages.evidence.options import Options


def draw(found: Curves) -> None:
    """The choice of maps, and their curves with chance."""
    *wide, last = st.columns(
        [*[3] * len(found.chosen), 1], gap="medium", vertical_alignment="bottom"
    )
    for column, chosen in zip(wide, found.chosen, strict=True):
        with column:
            _maps_picker(chosen)
    with last:
        measure_button(found.measured)
    if not found.measured:
        st.info(
            "Patches are removed in the order of a map (deletion) or put back into the fully "
            "replaced picture (insertion), and the class's probability is measured at each of "
            f"{measurements.STEPS} steps. Press **Measure**.",
            icon=":material/science:",
        )
        return
    for sentence in found.without:
        st.info(plain(sentence), icon=":material/visibility_off:")
    with st.container(key="curves"):
        sides = st.columns(max(2, len(found.sides)), gap="medium")
    for column, side in zip(sides, found.sides, strict=False):
        with column:
            st.markdown(f"**{plain(side.title)}** · {plain(found.label)}")
            panels.chart(side.figure, partial(_step_of, side.model_id))
            _areas(side)
    if found.at_step is not None:
        _at_a_step(found.label, found.at_step)
    st.caption(
        "The area under deletion should be small and that under insertion large; shares are of the "
        "intact picture's probability. Random is the mean and the standard deviation of "
        f"{found.orders} draws. A map is better than chance if it is better than random order and "
        "than center-outward order, by more than 95 % of the gaps between uninformative orders "
        "on this picture (Student's interval from the random orders); within that it is "
        "not distinguishable. A replaced patch is itself visible to the model, so compare maps "
        "with chance, not with 0 or 1. Of equally relevant patches the first in reading order goes "
        "first."
    )
    for sentence in found.refusals:
        st.info(plain(sentence), icon=":material/block:")


def measure_button(measured: bool) -> None:
    """Start a long measurement, or close it.

    During the computation the button still has its previous state, so a second click sets the
    opposite and ends the computation.
    """
    st.button(
        "Close" if measured else "Measure",
        key="measure",
        type="secondary" if measured else "primary",
        icon=":material/close:" if measured else ":material/play_arrow:",
        width="stretch",
        help="Ends what is still being computed; finished results are kept." if measured else None,
        on_click=lambda: session.change(measured=not session.screen().of(Options).measured),
    )


def _maps_picker(chosen: Chosen) -> None:
    """Choose which maps of a model are measured."""
    model_id = chosen.model.spec.id

    def choose(held: Sequence[str]) -> None:
        now = session.screen()
        others = [one for one in map(Look.read, now.of(Options).maps) if one.model != model_id]
        before = listed(now, model_id)
        kept = [
            next((one for one in before if one.method == name), Look(model_id, name))
            for name in held
        ]
        session.change(maps=texts([*others, *kept]))

    st.multiselect(
        f"Maps of {plain(chosen.model.spec.title)}",
        list(chosen.offered),
        format_func=chosen.offered.__getitem__,
        max_selections=8,
        filter_mode="contains",
        select_all=False,
        help="A map chosen above keeps its parameters; others have their defaults.",
        **session.tied(f"maps-{chosen.number}", list(chosen.methods), choose),
    )


def _step_of(model_id: str, data: list[Any]) -> None:
    """Show the picture at the step of a curve that was clicked."""
    session.change(of=f"{model_id}.{data[0]}", curve=data[1], step=data[2])


def _areas(side: Side) -> None:
    import pandas as pd

    if side.faint:
        st.caption(plain(side.faint))
    number: Callable[..., Any] = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame(list(side.table)),
        key=f"areas-{side.number}",
        hide_index=True,
        row_height=28,
        column_config={
            "map": st.column_config.TextColumn("Map"),
            "deletion_area": number("Deletion", format="%.3f"),
            "insertion_area": number("Insertion", format="%.3f"),
            "deletion_share": number("÷ intact", format="%.2f", help="Deletion as share."),
            "insertion_share": number("÷ intact", format="%.2f", help="Insertion as share."),
            "difference": number(
                "Difference", format="%.2f", help="Insertion minus deletion, as shares."
            ),
            "chance": st.column_config.TextColumn(
                "Better than chance",
                help="Better than random order and than center-outward order, by more "
                "than the interval; the result for each is listed.",
            ),
        },
    )


def _at_a_step(label: str, at: AtStep) -> None:
    left, right = st.columns([1, 2], gap="medium")
    with left:
        alt = f"The picture at step {at.step} of {at.curve}"
        st.image(at.picture, width="stretch", alt=alt)
    with right:
        st.markdown(f"**{plain(at.title)}, {plain(at.name)}** · click a point of a curve")
        controls.segments("curve", "Curve", ("deletion", "insertion"))
        controls.slider("step", "Step", 0, at.steps, 1)
        word = "removed" if at.curve == "deletion" else "restored"
        st.metric(f"{plain(label)}, {at.share:.0%} of the patches {word}", f"{at.probability:.1%}")
