"""Attention rollout (Abnar & Zuidema 2020) and two variants that are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from core.methods import attention_propagation as propagation
from core.methods.parameters import choice, layers_of, number, span
from core.methods.registry import Relevance, method
from core.models import VisionTransformer
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording, attention_needs
from core.targets import Target

NORMALIZATION: dict[str, propagation.Normalization] = {
    "paper": "rows",
    "columns": "columns",
    "vit-explain": "vit-explain",
}
"""How each definition scales a layer's matrix."""


@dataclass(frozen=True)
class RolloutParameters:
    """Fusion of heads, discard ratio and layers."""

    fusion: str = choice(
        "mean", ("mean", "max", "min"), "Head fusion", "How the heads of a layer become one matrix."
    )
    discard: float = number(
        0.0,
        0.0,
        1.0,
        0.01,
        "Discard ratio",
        "Share of each layer's smallest attention entries that is set to zero.",
    )
    layers: tuple[int, ...] | None = span(
        layers_of, "Layers", "Layers in the product; all if none is chosen."
    )
    definition: str = choice(
        "paper",
        tuple(NORMALIZATION),
        "Definition",
        "“paper” scales the rows of each layer to sum to 1. “columns” divides by the sums of the "
        "columns instead, as in a widely read tutorial. “vit-explain” is that package's code "
        "as published, which divides columns by the sums of rows and the map by its maximum.",
    )


def _needs(model: VisionTransformer, parameters: RolloutParameters) -> Needs:
    return attention_needs(model, parameters.layers)


@method(
    "rollout",
    title="Attention rollout",
    order=30,
    serves=("vit",),
    class_specific=False,
    meaning="How much of each patch reaches the class token when attention is multiplied through "
    "the layers, with equal weight for the residual connection.",
    caveat="It ignores the class, the value vectors and the MLPs: it is the same map "
    "whatever the model predicts.",
    source="Abnar & Zuidema 2020, arXiv 2005.00928",
    parameters=RolloutParameters,
    needs=_needs,
)
def rollout(
    recording: TransformerRecording, targets: Sequence[Target], parameters: RolloutParameters
) -> Relevance:
    """``R = Â_L · … · Â_1``, ``Â_l = rownorm(discard(fuse(A_l)) + I)``, row of the class token."""
    published = parameters.definition == "vit-explain"
    protect = published or recording.model.reads_class_token

    def matrix(layer: int, queries: slice) -> Tensor:
        return propagation.fuse(recording.attention_in_turn(layer, queries), parameters.fusion)

    normalization = NORMALIZATION[parameters.definition]
    rolled = propagation.roll(
        recording, parameters.layers, matrix, normalization, parameters.discard, protect
    )
    return propagation.by_maximum(rolled) if published else rolled
