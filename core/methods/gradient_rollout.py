"""Class-specific gradient rollout, corrected and as the vit-explain package has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        0.0,
        0.0,
        1.0,
        0.05,
        "Discard ratio",
        "Share of each layer's smallest entries that is set to zero.",
    )
    layers: tuple[int, ...] | None = span(
        depth, "Layers", "Layers that take part in the product; all if not chosen."
    )
    definition: str = choice(
        "paper",
        DEFINITIONS,
        "Definition",
        "“paper” pairs each layer's attention with its own gradient. “vit-explain” is that "
        "package's code as published, which pairs layer l with the gradient of layer L−1−l.",
    )


def attention_request(model: Model, parameters: object = None) -> GradientRequest:
    """Ask for the gradient at every layer's attention output."""
    from core.models import VisionTransformer

    return GradientRequest(
        tuple(VisionTransformer.CONTEXT.format(layer) for layer in range(depth(model)))
    )


def attention_gradients(
    recording: Recording, layer: int, gradients: dict[str, Tensor]
) -> Iterator[Tensor]:
    """``∂y/∂A = (∂y/∂O) · Vᵀ`` of a layer, a few heads at a time as in `Recording.heads`.

    ``O = A·V`` enters the output projection; its gradient is what the probes give. Attention
    itself need not exist for it.
    """
    model = recording.transformer
    contexts = model.context_gradient(gradients[model.CONTEXT.format(layer)], layer)
    values = recording.in_turn(recording.values(layer))
    for context, value in zip(recording.in_turn(contexts), values, strict=True):
        yield context @ value.transpose(-2, -1)


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
        if original:
            weights = _score_gradients(recording, model.depth - 1 - layer, gradients)
        else:
            weights = attention_gradients(recording, layer, gradients)
        weighted = map(torch.mul, recording.heads(layer), weights)
        return flow.discard(flow.fuse(weighted, "mean").relu(), parameters.discard, protect)

    chosen = layers_of(recording, parameters.layers)
    rolled = roll(recording, chosen, matrix, "columns" if original else "rows")
    return by_maximum(rolled) if original else rolled


def _score_gradients(
    recording: Recording, layer: int, gradients: dict[str, Tensor]
) -> Iterator[Tensor]:
    """Gradient with respect to the scores *before* the softmax: ``A ⊙ (dA − Σ_j A·dA)``."""
    pairs = zip(
        recording.heads(layer), attention_gradients(recording, layer, gradients), strict=True
    )
    for attention, gradient in pairs:
        yield attention * (gradient - (attention * gradient).sum(dim=-1, keepdim=True))
