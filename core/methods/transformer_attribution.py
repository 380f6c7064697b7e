"""Transformer attribution, gradient form (Chefer et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core import flow
from core.methods.attention import depth
from core.methods.gradient_rollout import attention_gradients, attention_request, class_gradients
from core.methods.parameters import span
from core.methods.registry import Relevance, method
from core.methods.rollout import layers_of, roll
from core.recordings import Recording


@dataclass(frozen=True)
class AttributionParameters:
    """Which layers take part."""

    layers: tuple[int, ...] | None = span(
        depth, "Layers", "Layers that take part in the product; all if not chosen."
    )


@method(
    "transformer_attribution",
    title="Transformer attribution",
    family="vit",
    class_specific=True,
    meaning="Attention times its positive gradient, each head cut before the mean, added up along "
    "all paths through the layers.",
    caveat="This is the form with gradients alone, not the one with layer-wise relevance "
    "propagation; rows are not normalized, so absolute values do not compare between pictures.",
    source="Chefer et al. 2021, arXiv 2103.15679",
    parameters=AttributionParameters,
    request=attention_request,
)
def transformer_attribution(
    recording: Recording, targets: Sequence[int], parameters: AttributionParameters
) -> Relevance:
    """``E_l = mean_heads ReLU(A_l ⊙ ∂y_c/∂A_l)``, ``R = Π (I + E_l)``, row of the class token."""
    gradients = class_gradients(recording, targets, attention_request(recording.model))

    def matrix(layer: int) -> Tensor:
        weighted = map(
            torch.mul, recording.heads(layer), attention_gradients(recording, layer, gradients)
        )
        return flow.fuse(map(torch.relu, weighted), "mean")

    return roll(recording, layers_of(recording, parameters.layers), matrix, "none")
