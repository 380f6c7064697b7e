"""Which method makes a map, and its parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import streamlit as st

import core
from core import (
    Method,
    Model,
    Parameter,
    UnsupportedMethod,
)
from dashboard import screen
from dashboard.controls.fields import chosen

AUTOMATIC_INDEX = -1
"""The same in a list of indices; ``None`` would read as "nothing chosen"."""


def method_picker(
    field: str, label: str, model: Model, first: str = "", *, class_specific: bool = False
) -> Method:
    """Choose a method that the model can serve.

    Parameters
    ----------
    first
        The method that is chosen until another is; by default the first in the field's order.
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
    value = chosen(field, names, first if first in served else names[0])
    tie = screen.bound(field, value)
    key = tie["key"]

    def choose() -> None:
        # Parameters belong to the method that they were chosen for.
        screen.change(**{field: screen.held(key), f"{field}_parameters": ()})

    picked = st.selectbox(
        label,
        names,
        format_func=lambda name: (
            served[name].title + ("" if served[name].class_specific else " · no class")
        ),
        help="\n\n".join(f"**{served[name].title}.** {served[name].meaning}" for name in names),
        filter_mode="contains",
        key=key,
        on_change=screen.guarded(choose),
    )
    return served[picked]


def parameters(field: str, method: Method, model: Model) -> dict[str, Any]:
    """Values of a method's parameters, as the screen has them."""
    wanted = getattr(screen.current(), field)
    texts = dict(getattr(screen.current(), f"{field}_parameters"))
    if wanted in core.changed_methods() and wanted != method.name:
        texts = {}  # they belong to the method that is not to be had here
    return _values(field, method, model, texts)


def listed_parameters(field: str, method: Method, model: Model) -> dict[str, Any]:
    """The same of one of the methods that a field lists."""
    prefix = f"{method.name}."
    texts = {
        name.removeprefix(prefix): text
        for name, text in getattr(screen.current(), f"{field}_parameters")
        if name.startswith(prefix)
    }
    return _values(f"{field}.{method.name}", method, model, texts)


def _values(field: str, method: Method, model: Model, texts: dict[str, str]) -> dict[str, Any]:
    known = method.parameters_for(model)
    values = {}
    for parameter in known:
        value = parameter.default
        if parameter.name in texts:
            text = texts.pop(parameter.name)
            value = _parsed(parameter, text)
            if not parameter.accepts(value):
                screen.problem(
                    f"{field}.{parameter.name} is {text!r}, which {method.title} does not take; "
                    f"shown instead: {_shown(parameter.default)}."
                )
                value = parameter.default
        values[parameter.name] = value
    for name in texts:
        screen.problem(f"{method.title} has no parameter {name!r}; {field}.{name} is ignored.")
    return values


def parameter_widgets(field: str, method: Method, model: Model, values: dict[str, Any]) -> None:
    """A widget for each parameter of a method."""
    for parameter in method.parameters_for(model):
        _parameter_widget(field, parameter, values[parameter.name])


def _parameter_widget(field: str, parameter: Parameter, value: Any) -> None:
    def write(held: Any) -> None:
        texts = dict(getattr(screen.current(), f"{field}_parameters"))
        texts[parameter.name] = _written(parameter, held)
        screen.change(**{f"{field}_parameters": tuple(sorted(texts.items()))})

    name = f"{field}.{parameter.name}"
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
    """A method with its parameters for one model, or why there is none."""

    field: str
    model: Model
    method: Method | None = None
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    refusal: str = ""

    @property
    def needs(self) -> core.Needs:
        """What a pass has to keep for it."""
        if self.method is None:
            return core.Needs()
        return core.needs(self.model, self.method.name, **self.values)


def method_choice(
    field: str, label: str, model: Model, first: str = "", *, class_specific: bool = False
) -> Choice:
    """`method_picker` and `parameters` in one, for a page that goes on where a model has none."""
    try:
        method = method_picker(field, label, model, first, class_specific=class_specific)
    except UnsupportedMethod as error:
        return Choice(field, model, refusal=str(error))
    return Choice(field, model, method, parameters(field, method, model))


def choice_widgets(choice: Choice) -> None:
    """A widget for each parameter of a chosen method, below its title."""
    if choice.method is not None:
        st.markdown(f"**{choice.method.title}**")
        parameter_widgets(choice.field, choice.method, choice.model, choice.values)
