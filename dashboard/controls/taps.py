"""Widgets for the stage, block and channel of a network."""

from __future__ import annotations

import streamlit as st

from core import Tap, VisionTransformer
from dashboard import session
from dashboard.features import PARTS, Feature, offered_taps, stage_title

MOST_CONTRAST = -1
"""Entry of a channel list for automatic choice."""


def choose_feature(feature: Feature, tap: str, channel: int | None) -> None:
    """Choose a tap and a channel of it; for callbacks."""
    session.become(feature.put(session.screen(), tap, channel))


def tap_picker(feature: Feature, label: str, tap: str) -> None:
    """Choose a layer of a model: a tap of its table, with a slider for those that have blocks.

    Parameters
    ----------
    tap
        The current one; see `dashboard.features.tap_of`.
    """
    model = feature.model
    if isinstance(model, VisionTransformer):
        _block_picker(feature, label, model, tap)
        return
    st.selectbox(
        label,
        offered_taps(model),
        format_func=stage_title,
        filter_mode="contains",
        **session.tied(feature.key, tap, lambda held: choose_feature(feature, held, None)),
    )


def _block_picker(feature: Feature, label: str, model: VisionTransformer, tap: str) -> None:
    """Choose a part of a transformer's block, as a slider and a list."""
    offered = offered_taps(model)
    block, _, part = tap.rpartition(".")
    parts = [p for p in PARTS if f"{block}.{p}" in offered]
    last = model.depth - 1

    def write_block(number: int) -> None:
        choose_feature(feature, f"block.{number}.{part}", None)

    def write_part(name: str | None) -> None:
        choose_feature(feature, f"{block}.{name or part}", None)

    number = int(block.rpartition(".")[2])
    if last:
        st.slider(label, 0, last, **session.tied(f"{feature.key}-block", number, write_block))
    st.selectbox(
        "Part of the block",
        parts,
        filter_mode="contains",
        format_func=lambda name: _capital(PARTS[name]),
        help=" ".join(
            f"**{_capital(PARTS[name])}**: {model.taps[f'{block}.{name}'].meaning}."
            for name in parts
        ),
        **session.tied(f"{feature.key}-part", part, write_part),
    )


def channel_picker(feature: Feature, label: str, tap: Tap, strongest: int, channel: int) -> None:
    """Choose a channel of a tap; until one is chosen it is that with the most contrast.

    Parameters
    ----------
    channel
        The current one; see `dashboard.features.channel_of`.
    """

    def name(number: int) -> str:
        if number == MOST_CONTRAST:
            return f"most contrast: {name(strongest)}"
        if tap.heads == 1:
            return str(number)
        return f"{number} (head {number // tap.channels}, channel {number % tap.channels})"

    st.selectbox(
        label,
        [MOST_CONTRAST, *range(tap.features)],
        format_func=name,
        filter_mode="contains",
        help="“Most contrast” is the channel with the widest range of values on this picture, from "
        "the 10th to the 90th percentile of its places.",
        **session.tied(
            f"{feature.key}-channel",
            channel if channel == feature.channel else MOST_CONTRAST,
            lambda held: choose_feature(feature, tap.name, None if held == MOST_CONTRAST else held),
        ),
    )


def _capital(text: str) -> str:
    """A text with a capital first; the rest stays, as in MLP."""
    return text[:1].upper() + text[1:]
