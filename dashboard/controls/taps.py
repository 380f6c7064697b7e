"""Which stage, block and channel of a network is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core import (
    Model,
    Tap,
    VisionTransformer,
)
from dashboard import session
from dashboard.looks import Look, texts

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


@dataclass(frozen=True, eq=False)
class Feature:
    """What the screen says of one model's features: a tap and a channel, as far as chosen.

    Attributes
    ----------
    key
        What tells its widgets from those of the other models.
    """

    key: str
    model: Model
    tap: str
    channel: int | None

    def choose(self, tap: str, channel: int | None) -> None:
        """Choose both; for callbacks. A channel belongs to the tap that it was chosen for."""
        model_id = self.model.spec.id
        chosen = () if channel is None else (("channel", str(channel)),)
        kept = {look.model: look for look in map(Look.read, session.screen().shared.feature)}
        kept[model_id] = Look(model_id, tap, chosen)
        shown = [look for look in kept.values() if look.model in session.screen().shared.m]
        session.change(feature=texts(shown))


def feature_of(number: int, model: Model) -> Feature:
    """What the screen says of a model's features; ``number`` is its place in the list of models."""
    looks = {look.model: look for look in map(Look.read, session.screen().shared.feature)}
    look = looks.get(model.spec.id, Look(model.spec.id))
    wanted = dict(look.parameters).get("channel")
    channel = int(wanted) if wanted and wanted.isdecimal() and len(wanted) < 7 else None
    if wanted and channel is None:
        session.problem(
            f"feature has the channel {wanted[:60]!r}, expected a whole number; shown instead: "
            "the most active on this picture."
        )
    return Feature(f"feature-{number}", model, look.method, channel)


def tap_picker(feature: Feature, label: str, default: str) -> str:
    """Choose a layer of a model: a tap of its table, with a slider for those that have blocks."""
    model = feature.model
    if isinstance(model, VisionTransformer):
        return _block_picker(feature, label, model, default)
    value = _chosen(feature, list(model.taps), default)
    found: str = st.selectbox(
        label,
        list(model.taps),
        format_func=stage_title,
        filter_mode="contains",
        **session.tied(feature.key, value, lambda held: feature.choose(held, None)),
    )
    return found


def _chosen(feature: Feature, offered: Sequence[str], default: str) -> str:
    if not feature.tap or feature.tap in offered:
        return feature.tap or default
    session.problem(
        f"feature has the layer {feature.tap[:60]!r}, which {feature.model.spec.title} does not "
        f"have; shown instead: {default}."
    )
    return default


def _block_picker(feature: Feature, label: str, model: VisionTransformer, default: str) -> str:
    """Choose a part of a transformer's block, as a slider and a list."""
    offered = [tap for tap in model.taps if tap.rpartition(".")[2] in PARTS]
    value = _chosen(feature, offered, default)
    block, _, part = value.rpartition(".")
    parts = [p for p in PARTS if f"{block}.{p}" in offered]
    last = model.depth - 1

    def write_block(number: int) -> None:
        feature.choose(f"block.{number}.{part}", None)

    def write_part(name: str | None) -> None:
        feature.choose(f"{block}.{name or part}", None)

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
    return value


def channel_picker(feature: Feature, label: str, tap: Tap, strongest: int) -> int:
    """Choose a channel of a tap; until one is chosen it is the strongest."""
    wanted = feature.channel
    if wanted is not None and wanted >= tap.features:
        session.problem(
            f"feature has the channel {wanted}, but {tap.name} has channels 0 to "
            f"{tap.features - 1}; shown instead: {strongest}, the most active on this picture."
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
        **session.tied(
            f"{feature.key}-channel",
            MOST_ACTIVE if wanted is None else wanted,
            lambda held: feature.choose(tap.name, None if held == MOST_ACTIVE else held),
        ),
    )
    return strongest if wanted is None else wanted


def _capital(text: str) -> str:
    """A text with a capital first; the rest stays, as in MLP."""
    return text[:1].upper() + text[1:]
