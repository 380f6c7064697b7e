"""Class-specific gradient rollout, corrected and as published in the vit-explain package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.methods import attention_propagation as propagation
from core.methods.parameters import choice, layers_of, number, span
from core.methods.registry import Relevance, method
from core.models import VisionTransformer
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording, attention_needs
from core.targets import Target


@dataclass(frozen=True)
class GradientRolloutParameters:
    """Discard ratio, layers and definition."""

    discard: float = number(
        0.0,
        0.0,
        1.0,
        0.01,
        "Discard ratio",
        "Share of each layer's smallest entries that is set to zero.",
    )
    layers: tuple[int, ...] | None = span(
        layers_of, "Layers", "Layers in the product; all if none is chosen."
    )
    definition: str = choice(
        "paper",
        ("paper", "vit-explain"),
        "Definition",
        "“paper” pairs each layer's attention with its own gradient. “vit-explain” is that "
        "package's code as published, which pairs layer l with the gradient of layer L−1−l.",
    )

    @property
    def published(self) -> bool:
        """Whether the package's published code is followed."""
        return self.definition == "vit-explain"


def _gradient_layers(model: VisionTransformer, parameters: GradientRolloutParameters) -> list[int]:
    """Layers whose gradients are used."""
    chosen = range(model.depth) if parameters.layers is None else parameters.layers
    return [model.depth - 1 - layer if parameters.published else layer for layer in chosen]


def _needs(model: VisionTransformer, parameters: GradientRolloutParameters) -> Needs:
    layers = _gradient_layers(model, parameters)
    needs = attention_needs(model, layers, values=True, gradients=layers)
    return needs | attention_needs(model, parameters.layers)


@method(
    "gradient_rollout",
    title="Gradient rollout",
    order=50,
    serves=("vit",),
    class_specific=True,
    meaning="Rollout in which each attention entry counts by how much more of it would raise the "
    "class's logit.",
    caveat="The gradient is local: it states what a little more attention would change, not how "
    "much the class depends on a patch. Negative entries are left out.",
    source="Gildenblat 2020, “Exploring Explainability for Vision Transformers”; corrected here",
    parameters=GradientRolloutParameters,
    needs=_needs,
)
def gradient_rollout(
    recording: TransformerRecording,
    targets: Sequence[Target],
    parameters: GradientRolloutParameters,
) -> Relevance:
    """``E_l = ReLU(mean_heads(A_l ⊙ ∂y_c/∂A_l))``, discard, then the product of rollout."""
    model, published = recording.model, parameters.published
    layers = _gradient_layers(model, parameters)
    gradients = propagation.refuse_all_zero(recording.context_gradients(layers, targets))
    protect = not published and model.reads_class_token

    def matrix(layer: int, queries: slice) -> Tensor:
        if not published:
            weighted = propagation.weighted_attention(recording, layer, gradients, queries)
            return propagation.fuse(weighted, "mean").relu_()
        scores = _score_gradients(recording, model.depth - 1 - layer, gradients)
        return propagation.fuse(
            map(torch.mul, recording.attention_in_turn(layer), scores), "mean"
        ).relu_()

    normalization: propagation.Normalization = "vit-explain" if published else "rows"
    rolled = propagation.roll(
        recording, parameters.layers, matrix, normalization, parameters.discard, protect
    )
    return propagation.by_maximum(rolled) if published else rolled


def _score_gradients(
    recording: TransformerRecording, layer: int, gradients: Mapping[int, Tensor]
) -> Iterator[Tensor]:
    """Gradient with respect to the scores *before* the softmax: ``A ⊙ (dA − Σ_j A·dA)``."""
    pairs = zip(
        recording.attention_in_turn(layer),
        propagation.attention_gradient(recording, layer, gradients),
        strict=True,
    )
    for attention, gradient in pairs:
        yield attention * (gradient - (attention * gradient).sum(dim=-1, keepdim=True))
