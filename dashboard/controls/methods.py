"""Which method makes a map, and its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

import core
from core import (
    Method,
    Model,
    Parameter,
    UnsupportedMethod,
)
from dashboard import columns, screen
from dashboard.looks import Look, texts

AUTOMATIC_INDEX = -1
"""The same in a list of indices; ``None`` would read as "nothing chosen"."""


FIRST = "gradient_rollout"
"""The method that a model begins with where it serves it; else the first that it has."""


@dataclass(frozen=True, eq=False)
class Slot:
    """A place of the screen that holds a look.

    Attributes
    ----------
    name
        What it is called in sentences and in keys of widgets, such as ``look-1``.
    put
        Writes another look there.
    """

    name: str
    look: Look
    put: Callable[[Look], None]

    @property
    def parameters(self) -> dict[str, str]:
        """What was chosen of the method's parameters."""
        return dict(self.look.parameters)

    def set(self, parameter: str, text: str) -> None:
        """Choose one parameter; for callbacks."""
        texts = {**self.parameters, parameter: text}
        self.put(replace(self.look, parameters=tuple(sorted(texts.items()))))


def method_picker(slot: Slot, label: str, model: Model, *, class_specific: bool = False) -> Method:
    """Choose a method that the model can serve.

    Parameters
    ----------
    class_specific
        Whether only methods that know the class are offered.

    Raises
    ------
    UnsupportedMethod
        The model is served by none.
    """
    served = {
        method.name: method
        for method in core.methods(model)
        if method.class_specific or not class_specific
    }
    if not served:
        raise UnsupportedMethod(
            f"None of the maps of this page can be made for {model.spec.title}, which was trained "
            "without classes; choose another model, or look at the Attention page."
        )
    names = list(served)
    first = FIRST if FIRST in served else names[0]
    value = slot.look.method or first
    if value not in served:
        screen.problem(
            f"{slot.name} is {value!r}, which is not to be had for {model.spec.title}; shown "
            f"instead: {first}."
        )
        value = first
    # Parameters belong to the method that they were chosen for.
    tie = screen.tied(slot.name, value, lambda name: slot.put(Look(slot.look.model, name)))
    picked = st.selectbox(
        label,
        names,
        format_func=lambda name: (
            served[name].title + ("" if served[name].class_specific else " · no class")
        ),
        help="\n\n".join(f"**{served[name].title}.** {served[name].meaning}" for name in names),
        filter_mode="contains",
        **tie,
    )
    return served[picked]


def parameters(slot: Slot, method: Method, model: Model) -> dict[str, Any]:
    """Values of a method's parameters, as the screen has them."""
    wanted, texts = slot.look.method, slot.parameters
    if wanted in core.changed_methods() and wanted != method.name:
        texts = {}  # they belong to the method that is not to be had here
    return look_values(slot.name, method, model, texts)


def look_values(name: str, method: Method, model: Model, texts: dict[str, str]) -> dict[str, Any]:
    """Values of a method's parameters; what is not to be had is said and has its default.

    Parameters
    ----------
    name
        What the look is called in sentences.
    texts
        What was chosen.
    """
    texts = dict(texts)
    known = method.parameters_for(model)
    values = {}
    for parameter in known:
        value = parameter.default
        if parameter.name in texts:
            text = texts.pop(parameter.name)
            value = _parsed(parameter, text)
            if not parameter.accepts(value):
                screen.problem(
                    f"{name}.{parameter.name} is {text!r}, which {method.title} does not take; "
                    f"shown instead: {_shown(parameter.default)}."
                )
                value = parameter.default
        values[parameter.name] = value
    for text in texts:
        screen.problem(f"{method.title} has no parameter {text!r}; {name}.{text} is ignored.")
    return values


def parameter_widgets(slot: Slot, method: Method, model: Model, values: dict[str, Any]) -> None:
    """A widget for each parameter of a method."""
    for parameter in method.parameters_for(model):
        _parameter_widget(slot, parameter, values[parameter.name])


def _parameter_widget(slot: Slot, parameter: Parameter, value: Any) -> None:
    def write(held: Any) -> None:
        slot.set(parameter.name, _written(parameter, held))

    name = f"{slot.name}.{parameter.name}"
    last = int(parameter.high)
    if parameter.kind == "span":
        ends = (value[0], value[-1]) if value else (0, last)
        tie = screen.tied(name, ends, write)
        st.slider(parameter.label, 0, last, help=parameter.help, **tie)
        return
    shown = AUTOMATIC_INDEX if value is None else value
    tie = screen.tied(name, shown, write)
    common: dict[str, Any] = {"help": parameter.help, **tie}
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
            format_func=_shown,
            filter_mode="contains",
            **common,
        )


def _shown(value: Any) -> str:
    return "automatic" if value in (None, AUTOMATIC_INDEX) else str(value)


def _written(parameter: Parameter, held: Any) -> str:
    if held is None or (parameter.kind == "index" and held == AUTOMATIC_INDEX):
        return "automatic"
    if parameter.kind == "span":
        return f"{held[0]}-{held[1]}"
    return f"{held:g}" if parameter.kind == "number" else str(held)


def _parsed(parameter: Parameter, text: str) -> Any:
    """What a text of the address means; the text itself if it means nothing."""
    if parameter.kind == "choice":
        return text
    if text == "automatic":
        return None
    try:
        if parameter.kind == "number":
            value = float(text)
            return int(value) if parameter.is_whole and value.is_integer() else value
        if parameter.kind == "index":
            return int(text)
        start, _, end = text.partition("-")
        first, final = int(start), int(end or start)
        if not 0 <= first <= final <= parameter.high:  # before a row as long as it says is made
            return text
        layers = tuple(range(first, final + 1))
        return None if layers == tuple(range(int(parameter.high) + 1)) else layers
    except ValueError:
        return text


@dataclass(frozen=True, eq=False)
class Choice:
    """A look that a page shows: a method with its parameters for one model, or why there is none.

    Attributes
    ----------
    name
        What tells it from the other looks of the page.
    own
        Parameters that tell it from the other looks with its model and method; may be empty.
    """

    slot: Slot
    model: Model
    method: Method | None = None
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    refusal: str = ""
    name: str = ""
    own: str = ""

    @property
    def needs(self) -> core.Needs:
        """What a pass has to keep for it."""
        if self.method is None:
            return core.Needs()
        return core.needs(self.model, self.method.name, **self.values)


def column_slots() -> list[Slot]:
    """The columns of the screen, from left to right."""

    def put(number: int) -> Callable[[Look], None]:
        return lambda look: screen.become(columns.with_look(screen.current(), number, look))

    found = columns.columns(screen.current())
    return [Slot(f"look-{number}", look, put(number)) for number, look in enumerate(found)]


def row_slot(number: int, model: Model) -> Slot:
    """What a model's row of Gradient rollout holds."""
    model_id = model.spec.id
    rows = {look.model: look for look in map(Look.read, screen.current().row)}

    def put(look: Look) -> None:
        kept = {model_id: look for model_id, look in rows.items() if model_id in screen.current().m}
        screen.change(row=texts({**kept, model_id: look}.values()))

    return Slot(f"row-{number}", rows.get(model_id, Look(model_id)), put)


def method_choice(slot: Slot, label: str, model: Model, *, class_specific: bool = False) -> Choice:
    """`method_picker` and `parameters` in one, for a page that goes on where a model has none."""
    try:
        method = method_picker(slot, label, model, class_specific=class_specific)
    except UnsupportedMethod as error:
        return Choice(slot, model, refusal=str(error))
    return Choice(slot, model, method, parameters(slot, method, model))


def told_apart(choices: Sequence[Choice]) -> list[Choice]:
    """The same looks, each with a name that no other has.

    That is the model's title, followed by the method's where a model has several looks, and by the
    parameters that differ where it has several with one method.
    """
    found: list[Choice] = []
    for choice in choices:
        of_model = [one for one in choices if one.model is choice.model]
        alike = [one for one in of_model if one.method is choice.method]
        own = ", ".join(
            f"{name} {_shown(value)}"
            for name, value in choice.values.items()
            if any(one.values.get(name) != value for one in alike)
        )
        method = choice.method.title if choice.method and len(of_model) > 1 else ""
        name = ", ".join(filter(None, [choice.model.spec.title, method, own]))
        same = sum(name == before.name.partition(" (")[0] for before in found)
        found.append(replace(choice, name=f"{name} ({same + 1})" if same else name, own=own))
    return found


def needs_of(choices: Sequence[Choice], model: Model) -> core.Needs:
    """What one pass of a model has to keep for all of its looks."""
    found = core.Needs()
    for choice in choices:
        if choice.model is model:
            found |= choice.needs
    return found


def choice_widgets(choice: Choice) -> None:
    """A widget for each parameter of a chosen method, below its title."""
    if choice.method is not None:
        st.markdown(f"**{choice.method.title}**")
        parameter_widgets(choice.slot, choice.method, choice.model, choice.values)
