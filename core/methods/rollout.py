"""Attention rollout (Abnar & Zuidema 2020) and the variant of the vit-explain package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from core import flow
from core.methods.attention import depth
from core.methods.parameters import choice, number, span
from core.methods.registry import Relevance, method
from core.recordings import Recording

DEFINITIONS = ("paper", "vit-explain")


@dataclass(frozen=True)
class RolloutParameters:
    """How heads are fused, what is discarded, which layers take part."""

    fusion: str = choice(
        "mean", ("mean", "max", "min"), "Head fusion", "How the heads of a layer become one matrix."
    )
    discard: float = number(
        0.0,
        0.0,
        1.0,
        0.05,
        "Discard ratio",
        "Share of each layer's smallest attention entries that is set to zero.",
    )
    layers: tuple[int, ...] | None = span(
        depth, "Layers", "Layers that take part in the product; all if not chosen."
    )
    definition: str = choice(
        "paper",
        DEFINITIONS,
        "Definition",
        "“paper” scales rows to sum 1. “vit-explain” is that package's code as published, which "
        "divides columns instead and scales the map by its maximum.",
    )


def layers_of(recording: Recording, layers: Sequence[int] | None) -> list[int]:
    """Chosen layers from the last to the first."""
    chosen = range(recording.transformer.depth) if layers is None else layers
    return sorted(chosen, reverse=True)


def roll(
    recording: Recording,
    layers: Sequence[int],
    matrix: Callable[[int], Tensor],
    normalization: flow.Normalization,
) -> Relevance:
    """Row of the product over ``layers`` (last to first) that the class head reads.

    Parameters
    ----------
    matrix
        Fused matrix (batch, tokens, tokens) of a layer. Only one exists at a time.
    """
    rows = recording.readout_row()
    with torch.no_grad():
        for layer in layers:
            rows = flow.propagate(rows, matrix(layer), normalization)
    row = rows[:, 0]
    prefix = recording.transformer.prefix
    total = row.sum(dim=-1).clamp_min(torch.finfo(row.dtype).tiny)
    hidden = row[:, :prefix].sum(dim=-1) / total
    return Relevance(recording.to_grid(row), hidden=hidden, if_zero=_IF_ZERO)


def by_maximum(relevance: Relevance) -> Relevance:
    """Divide each map by its maximum, as vit-explain does (no minimum subtracted)."""
    peak = relevance.maps.amax(dim=(1, 2), keepdim=True)
    return Relevance(
        relevance.maps / torch.where(peak > 0, peak, 1.0), relevance.hidden, relevance.if_zero
    )


_IF_ZERO = (
    "Nothing flows from the patches to what the class head reads: everything was discarded, or "
    "no entry is positive for this class. Lower the discard ratio or choose more layers."
)


@method(
    "rollout",
    title="Attention rollout",
    family="vit",
    class_specific=False,
    meaning="How much of each patch reaches the class token when attention is multiplied through "
    "the layers, half of each step staying where it is.",
    caveat="It knows nothing of the class, of values or of the MLPs: it is the same picture "
    "whatever the model answers.",
    source="Abnar & Zuidema 2020, arXiv 2005.00928",
    parameters=RolloutParameters,
)
def rollout(
    recording: Recording, targets: Sequence[int], parameters: RolloutParameters
) -> Relevance:
    """``R = Â_L · … · Â_1``, ``Â_l = rownorm(discard(fuse(A_l)) + I)``, row of the class token."""
    model = recording.transformer
    original = parameters.definition == "vit-explain"
    protect = original or model.reads_class_token

    def matrix(layer: int) -> Tensor:
        fused = flow.fuse(recording.heads(layer), cast(flow.Fusion, parameters.fusion))
        return flow.discard(fused, parameters.discard, protect)

    chosen = layers_of(recording, parameters.layers)
    rolled = roll(recording, chosen, matrix, "columns" if original else "rows")
    return by_maximum(rolled) if original else rolled
