"""LeGrad (Bousselham et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core import flow
from core.methods.attention import depth
from core.methods.gradient_rollout import attention_gradients, attention_request, class_gradients
from core.methods.parameters import span
from core.methods.registry import Relevance, method
from core.methods.rollout import layers_of
from core.models import Model, VisionTransformer
from core.recordings import GradientRequest, Recording


@dataclass(frozen=True)
class LeGradParameters:
    """Which layers are averaged."""

    layers: tuple[int, ...] | None = span(depth, "Layers", "Layers averaged; all if not chosen.")


def _request(model: Model, parameters: object = None) -> GradientRequest:
    outputs = (VisionTransformer.OUTPUT.format(layer) for layer in range(depth(model)))
    return GradientRequest(attention_request(model).taps, tuple(outputs))


@method(
    "legrad",
    title="LeGrad",
    family="vit",
    class_specific=True,
    meaning="How much more attention to a patch would raise the class's score read off each "
    "layer's mean token, averaged over heads, queries and layers.",
    caveat="The class head is applied to layers it was never trained for, so early layers add a "
    "guess. Attention itself does not enter, only its gradient.",
    source="Bousselham et al. 2024, arXiv 2404.03214",
    parameters=LeGradParameters,
    request=_request,
)
def legrad(recording: Recording, targets: Sequence[int], parameters: LeGradParameters) -> Relevance:
    """``mean_{layers, heads, queries} ReLU(∂s_l/∂A_l)``.

    The score of a layer is ``s_l = head(norm(mean token of z_l))_c``.
    """
    gradients = class_gradients(recording, targets, _request(recording.model))
    prefix = recording.transformer.prefix
    with torch.no_grad():
        received = torch.stack(
            [
                flow.fuse(
                    map(torch.relu, attention_gradients(recording, layer, gradients)), "mean"
                ).mean(dim=1)
                for layer in layers_of(recording, parameters.layers)
            ]
        ).mean(dim=0)
    total = received.sum(dim=-1).clamp_min(torch.finfo(received.dtype).tiny)
    return Relevance(
        recording.to_grid(received),
        hidden=received[:, :prefix].sum(dim=-1) / total,
        if_zero="No attention to any patch would raise the class's score in the chosen layers.",
    )
