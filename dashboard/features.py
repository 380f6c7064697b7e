"""The chosen tap and channel of each model. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core import Model, Tap, VisionTransformer
from dashboard.choices import Tell
from dashboard.looks import Look, texts
from dashboard.screen import Screen

PARTS = {
    "output": "output",
    "hidden": "MLP",
    "query": "query",
    "key": "key",
    "value": "value",
}
"""Offered parts of a transformer's block."""


@dataclass(frozen=True, eq=False)
class Feature:
    """The screen's choice of a model's features: a tap and a channel, as far as chosen.

    Attributes
    ----------
    key
        Key that distinguishes its widgets from those of other models.
    """

    key: str
    model: Model
    tap: str
    channel: int | None

    def put(self, now: Screen, tap: str, channel: int | None) -> Screen:
        """The screen with both chosen. A channel is valid only for its tap."""
        model_id = self.model.spec.id
        chosen = () if channel is None else (("channel", str(channel)),)
        kept = {look.model: look for look in map(Look.read, now.shared.feature)}
        kept[model_id] = Look(model_id, tap, chosen)
        return now.to(feature=texts([look for look in kept.values() if look.model in now.shared.m]))


def feature_of(now: Screen, number: int, model: Model, tell: Tell) -> Feature:
    """The screen's choice of a model's features; ``number`` is its index in the list of models."""
    looks = {look.model: look for look in map(Look.read, now.shared.feature)}
    look = looks.get(model.spec.id, Look(model.spec.id))
    wanted = dict(look.parameters).get("channel")
    channel = int(wanted) if wanted and wanted.isdecimal() and len(wanted) < 7 else None
    if wanted and channel is None:
        tell(
            f"feature has the channel {wanted[:60]!r}, expected a whole number; shown instead: "
            "that with the most contrast on this picture."
        )
    return Feature(f"feature-{number}", model, look.method, channel)


def offered_taps(model: Model) -> Sequence[str]:
    """Names of the taps that can be chosen: for a transformer the `PARTS` of its blocks."""
    if isinstance(model, VisionTransformer):
        return [tap for tap in model.taps if tap.rpartition(".")[2] in PARTS]
    return list(model.taps)


def tap_of(feature: Feature, default: str, tell: Tell) -> str:
    """The tap that is chosen, if the model has it; else the default."""
    if not feature.tap or feature.tap in offered_taps(feature.model):
        return feature.tap or default
    tell(
        f"feature has the layer {feature.tap[:60]!r}, which {feature.model.spec.title} does not "
        f"have; shown instead: {default}."
    )
    return default


def channel_of(feature: Feature, tap: Tap, strongest: int, tell: Tell) -> int:
    """The channel that is chosen, if the tap has it; else the strongest."""
    wanted = feature.channel
    if wanted is None or wanted < tap.features:
        return strongest if wanted is None else wanted
    tell(
        f"feature has the channel {wanted}, but {tap.name} has channels 0 to "
        f"{tap.features - 1}; shown instead: {strongest}, with the most contrast on this picture."
    )
    return strongest


def stage_title(tap: str) -> str:
    """The title of a tap of a convolutional network."""
    return tap.replace(".", " ") if tap.startswith("stage") else "what the pooling reads"


def tap_title(tap: str) -> str:
    """The title of a tap of any model."""
    block, _, part = tap.rpartition(".")
    if part in PARTS and block:
        return f"{block.replace('.', ' ').capitalize()}, {PARTS[part]}"
    return stage_title(tap).capitalize()
