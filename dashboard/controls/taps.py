"""Which stage, block and channel of a network is looked at."""

from __future__ import annotations

import streamlit as st

from core import (
    Model,
    Tap,
    VisionTransformer,
)
from dashboard import screen
from dashboard.controls.fields import chosen

PARTS = {
    "output": "output",
    "hidden": "MLP",
    "query": "query",
    "key": "key",
    "value": "value",
}
"""What is offered of a transformer's block."""

MOST_ACTIVE = -1
"""What stands in a channel list for "the program chooses"."""


def stage_title(tap: str) -> str:
    """A tap of a convolutional network, for people."""
    return tap.replace(".", " ") if tap.startswith("stage") else "what the pooling reads"


def stage_picker(field: str, label: str, model: Model, default: str, channel: str) -> str:
    """Choose a tap of a convolutional network; in the field is the tap's name.

    Parameters
    ----------
    channel
        Field of the tap's channel, which belongs to the tap that it was chosen for.
    """
    value: str = chosen(field, list(model.taps), default)
    found: str = st.selectbox(
        label,
        list(model.taps),
        format_func=stage_title,
        filter_mode="contains",
        **screen.tied(field, value, lambda held: screen.change(**{field: held, channel: None})),
    )
    return found


def block_picker(
    field: str, label: str, model: VisionTransformer, default: str, channel: str
) -> str:
    """Choose a part of a transformer's block, as a slider and a list.

    In the field is the tap's name, such as ``block.7.key``; see `stage_picker`.
    """
    offered = [tap for tap in model.taps if tap.rpartition(".")[2] in PARTS]
    value: str = chosen(field, offered, default)
    block, _, part = value.rpartition(".")
    parts = [p for p in PARTS if f"{block}.{p}" in offered]
    last = model.depth - 1

    def write_block(number: int) -> None:
        screen.change(**{field: f"block.{number}.{part}", channel: None})

    def write_part(name: str | None) -> None:
        screen.change(**{field: f"{block}.{name or part}", channel: None})

    number = int(block.rpartition(".")[2])
    if last:
        st.slider(label, 0, last, **screen.tied(f"{field}-block", number, write_block))
    st.selectbox(
        "Part of the block",
        parts,
        filter_mode="contains",
        format_func=lambda name: _capital(PARTS[name]),
        help=" ".join(
            f"**{_capital(PARTS[name])}**: {model.taps[f'{block}.{name}'].meaning}."
            for name in parts
        ),
        **screen.tied(f"{field}-part", part, write_part),
    )
    return value


def channel_picker(field: str, label: str, tap: Tap, strongest: int) -> int:
    """Choose a channel of a tap; until one is chosen it is the strongest."""
    wanted = getattr(screen.current(), field)
    if wanted is not None and wanted >= tap.features:
        screen.problem(
            f"{field} is {wanted}, but {tap.name} has channels 0 to {tap.features - 1}; shown "
            f"instead: {strongest}, the most active on this picture."
        )
        wanted = None

    def name(channel: int) -> str:
        if channel == MOST_ACTIVE:
            return f"most active: {name(strongest)}"
        if tap.heads == 1:
            return str(channel)
        return f"{channel} (head {channel // tap.channels}, channel {channel % tap.channels})"

    st.selectbox(
        label,
        [MOST_ACTIVE, *range(tap.features)],
        format_func=name,
        filter_mode="contains",
        help="“Most active” is the channel with the largest mean of absolute values on this "
        "picture.",
        **screen.bound(
            field,
            MOST_ACTIVE if wanted is None else wanted,
            lambda held: None if held == MOST_ACTIVE else held,
        ),
    )
    return strongest if wanted is None else wanted


def _capital(text: str) -> str:
    """A text with a capital first; the rest stays, as in MLP."""
    return text[:1].upper() + text[1:]
