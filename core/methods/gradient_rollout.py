"""Class-specific gradient rollout, corrected and as the vit-explain package has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core import flow
from core.errors import ZeroGradient
from core.methods.attention import depth
from core.methods.parameters import choice, number, span
from core.methods.registry import Relevance, method
from core.methods.rollout import DEFINITIONS, by_maximum, layers_of, roll
from core.models import Model
from core.recordings import GradientRequest, Recording


@dataclass(frozen=True)
class GradientRolloutParameters:
    """What is discarded, which layers take part, whose definition."""

    discard: float = number(
        0.0, 0.0, 1.0, 0.05, "Discard ratio",
        "Share of each layer's smallest entries that is set to zero.",
    )  # fmt: skip
    layers: tuple[int, ...] | None = span(
        depth, "Layers", "Layers that take part in the product; all if not chosen."
    )
    definition: str = choice(
        "paper", DEFINITIONS, "Definition",
        "“paper” pairs each layer's attention with its own gradient. “vit-explain” is that "
        "package's code as published, which pairs layer l with the gradient of layer L−1−l.",
    )  # fmt: skip


def attention_request(model: Model, parameters: object = None) -> GradientRequest:
    """Ask for the gradient at every layer's attention output."""
    from core.models import VisionTransformer

    return GradientRequest(
        tuple(VisionTransformer.CONTEXT.format(layer) for layer in range(depth(model)))
    )


def attention_gradient(recording: Recording, layer: int, gradients: dict[str, Tensor]) -> Tensor:
    """``∂y/∂A = (∂y/∂O) · Vᵀ`` of a layer: (batch, heads, query, key), without unfused attention.

    ``O = A·V`` enters the output projection; its gradient is what the probes give.
    """
    model = recording.transformer
    _, _, values = recording.queries_keys_values(layer)
    context = model.context_gradient(gradients[model.CONTEXT.format(layer)], layer)
    return context @ values.transpose(-2, -1)


def class_gradients(
    recording: Recording, targets: Sequence[int], request: GradientRequest
) -> dict[str, Tensor]:
    """Gradients of ``request``, refused with a reason where all of them are zero.

    Raises
    ------
    ZeroGradient
        The class does not depend on the attention at all.
    """
    gradients = recording.gradients(request, targets)
    if not any(bool(gradient.any()) for gradient in gradients.values()):
        raise ZeroGradient(
            "The class does not depend on any layer's attention (its gradient is zero everywhere), "
            "so the map would be blank; choose another class."
        )
    return gradients


@method(
    "gradient_rollout",
    title="Gradient rollout",
    family="vit",
    class_specific=True,
    meaning="Rollout in which each attention entry counts by how much more of it would raise the "
    "class's logit.",
    caveat="The gradient is local: it tells what a little more attention would change, not what "
    "the class would lose without a patch. Negative entries are left out.",
    source="Gildenblat 2020, “Exploring Explainability for Vision Transformers”; corrected here",
    parameters=GradientRolloutParameters,
    request=attention_request,
)
def gradient_rollout(
    recording: Recording, targets: Sequence[int], parameters: GradientRolloutParameters
) -> Relevance:
    """``E_l = ReLU(mean_heads(A_l ⊙ ∂y_c/∂A_l))``, discard, then the product of rollout."""
    model = recording.transformer
    gradients = class_gradients(recording, targets, attention_request(model))
    original = parameters.definition == "vit-explain"
    protect = not original and model.reads_class_token

    def matrix(layer: int) -> Tensor:
        attention = recording.attention(layer)
        if original:
            gradient = _scores_gradient(recording, model.depth - 1 - layer, gradients)
        else:
            gradient = attention_gradient(recording, layer, gradients)
        weighted = (attention * gradient).mean(dim=1).relu()
        return flow.discard(weighted, parameters.discard, protect)

    chosen = layers_of(recording, parameters.layers)
    rolled = roll(recording, chosen, matrix, "columns" if original else "rows")
    return by_maximum(rolled) if original else rolled


def _scores_gradient(recording: Recording, layer: int, gradients: dict[str, Tensor]) -> Tensor:
    """Gradient with respect to the scores *before* the softmax: ``A ⊙ (dA − Σ_j A·dA)``."""
    attention = recording.attention(layer)
    gradient = attention_gradient(recording, layer, gradients)
    expected = torch.sum(attention * gradient, dim=-1, keepdim=True)
    return attention * (gradient - expected)
