"""Transformer attribution, gradient form (Chefer et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.methods import attention_propagation as propagation
from core.methods.parameters import layers_of, span
from core.methods.registry import Relevance, method
from core.models import VisionTransformer
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording, attention_needs
from core.targets import Target


@dataclass(frozen=True)
class AttributionParameters:
    """The layers that are used."""

    layers: tuple[int, ...] | None = span(
        layers_of, "Layers", "Layers in the product; all if none is chosen."
    )


def _needs(model: VisionTransformer, parameters: AttributionParameters) -> Needs:
    layers = range(model.depth) if parameters.layers is None else parameters.layers
    return attention_needs(model, layers, values=True, gradients=layers)


@method(
    "transformer_attribution",
    title="Transformer attribution",
    order=60,
    serves=("vit",),
    class_specific=True,
    meaning="Attention times its gradient, with negatives set to zero per head and then averaged, "
    "added up along all paths through the layers.",
    caveat="This is the form with gradients alone, not the one with layer-wise relevance "
    "propagation; rows are not normalized, so absolute values do not compare between pictures.",
    source="Chefer et al. 2021, arXiv 2103.15679",
    parameters=AttributionParameters,
    needs=_needs,
)
def transformer_attribution(
    recording: TransformerRecording, targets: Sequence[Target], parameters: AttributionParameters
) -> Relevance:
    """``E_l = mean_heads ReLU(A_l ⊙ ∂y_c/∂A_l)``, ``R = Π (I + E_l)``, row of the class token."""
    layers = propagation.chosen_layers(recording, parameters.layers)
    gradients = propagation.refuse_all_zero(recording.context_gradients(layers, targets))

    def matrix(layer: int, queries: slice) -> Tensor:
        weighted = propagation.weighted_attention(recording, layer, gradients, queries)
        return propagation.fuse(map(torch.relu_, weighted), "mean")

    return propagation.roll(recording, parameters.layers, matrix, "none")
