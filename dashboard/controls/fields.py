"""One field of the screen, one widget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import streamlit as st

from dashboard import session
from dashboard.choices import one_of, within


def chosen(field: str, options: Sequence[Any], default: Any) -> Any:
    """The value of a field, if it is one of ``options``; else the default and a problem."""
    return one_of(session.screen(), field, options, default, session.problem)


def select(
    field: str,
    label: str,
    options: Sequence[Any],
    default: Any = None,
    format_func: Callable[[Any], str] = str,
    help: str | None = None,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """A select box; names are searched as they are written, not fuzzily."""
    value = chosen(field, options, options[0] if default is None else default)
    tie = session.bound(field, value, read)
    return st.selectbox(
        label, options, format_func=format_func, help=help, filter_mode="contains", **tie
    )


def segments(
    field: str,
    label: str,
    options: Sequence[str],
    default: str | None = None,
    titles: Callable[[str], str] = str.capitalize,
    help: str | None = None,
    hidden_label: bool = False,
    also: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """A row of buttons, one of which is chosen; fields of ``also`` change with every choice."""
    value = chosen(field, options, default or options[0])
    picked: str | None = st.segmented_control(
        label,
        options,
        required=True,
        format_func=titles,
        help=help,
        label_visibility="collapsed" if hidden_label else "visible",
        **session.tied(field, value, lambda held: session.change(**also, **{field: held})),
    )
    return picked or value


def slider(
    field: str,
    label: str,
    low: float,
    high: float,
    step: float,
    default: Any = None,
    help: str | None = None,
) -> Any:
    """A slider; values in the address beyond its range are clipped and reported."""
    value = within(session.screen(), field, low, high, session.problem, default)
    if low == high:
        return value
    return st.slider(label, low, high, step=step, help=help, **session.bound(field, value))


def number(field: str, label: str, low: int, high: int, default: int = 0) -> int:
    """A box for a whole number."""
    value = within(session.screen(), field, low, high, session.problem, default)
    return int(st.number_input(label, low, high, **session.bound(field, int(value))))


def toggle(field: str, label: str, help: str | None = None) -> bool:
    """A switch."""
    value = bool(session.screen().value(field))
    return bool(st.toggle(label, help=help, **session.bound(field, value)))
