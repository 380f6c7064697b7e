"""Widgets for the method of a map and its parameters."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core import Parameter
from dashboard import session
from dashboard.choices import AUTOMATIC_INDEX, Choice, Slot, value_text, written
from dashboard.looks import Look


def method_picker(choice: Choice, label: str) -> None:
    """Choose another method that supports the model; draws nothing if there is none."""
    if choice.method is None:
        return
    slot, served = choice.slot, choice.offered

    def put(name: str) -> None:
        # Parameters belong to the method that they were chosen for.
        session.become(slot.put(session.screen(), Look(slot.look.model, name)))

    st.selectbox(
        label,
        list(served),
        format_func=lambda name: (
            served[name].title + ("" if served[name].class_specific else " · no class")
        ),
        help="\n\n".join(
            f"**{one.title}.** {one.meaning}{'' if one.is_quick else ' Takes many passes.'}"
            for one in served.values()
        ),
        filter_mode="contains",
        **session.tied(slot.name, choice.method.name, put),
    )


def parameter_widgets(choice: Choice) -> None:
    """A widget for each parameter of a chosen method, below its title."""
    if choice.method is None:
        return
    st.markdown(f"**{choice.method.title}**")
    for parameter in choice.method.parameters_for(choice.model):
        _widget(choice.slot, parameter, choice.values[parameter.name])


def _widget(slot: Slot, parameter: Parameter, value: Any) -> None:
    def write(held: Any) -> None:
        text = written(parameter, held)
        session.become(slot.with_parameter(session.screen(), parameter.name, text))

    name = f"{slot.name}.{parameter.name}"
    last = int(parameter.high)
    if parameter.kind == "span":
        ends = (value[0], value[-1]) if value else (0, last)
        tie = session.tied(name, ends, write)
        st.slider(parameter.label, 0, last, help=parameter.help, **tie)
        return
    if parameter.optional:
        st.number_input(
            parameter.label,
            parameter.low,
            parameter.high,
            value=None,
            step=parameter.step,
            format="%.3f",
            placeholder=value_text(None),
            help=parameter.help,
            **session.tied(name, value, write),
        )
        return
    shown = AUTOMATIC_INDEX if value is None else value
    common: dict[str, Any] = {"help": parameter.help, **session.tied(name, shown, write)}
    if parameter.kind == "number":
        st.slider(parameter.label, parameter.low, parameter.high, step=parameter.step, **common)
    elif parameter.kind == "choice" and len(parameter.options) <= 3:
        st.segmented_control(parameter.label, parameter.options, required=True, **common)
    elif parameter.kind == "choice":
        st.selectbox(parameter.label, parameter.options, filter_mode="contains", **common)
    else:
        st.selectbox(
            parameter.label,
            [AUTOMATIC_INDEX, *range(last + 1)],
            format_func=value_text,
            filter_mode="contains",
            **common,
        )
