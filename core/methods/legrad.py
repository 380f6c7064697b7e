"""LeGrad (Bousselham et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.methods import attention_propagation as propagation
from core.methods.parameters import layers_of, span
from core.methods.registry import Relevance, method
from core.models import VisionTransformer
from core.models.taps import block_tap
from core.numerics import own_state
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording
from core.targets import Target


@dataclass(frozen=True)
class LeGradParameters:
    """The layers that are averaged."""

    layers: tuple[int, ...] | None = span(
        layers_of, "Layers", "Layers averaged; all if none is chosen."
    )


def _needs(model: VisionTransformer, parameters: LeGradParameters) -> Needs:
    layers = range(model.depth)
    chosen = layers if parameters.layers is None else parameters.layers
    return Needs(
        [block_tap(layer, "value") for layer in chosen],
        [block_tap(layer, part) for layer in layers for part in ("context", "output")],
    )


@method(
    "legrad",
    title="LeGrad",
    order=70,
    serves=("vit",),
    class_specific=True,
    meaning="How much more attention to a patch would raise the class's score, computed from each "
    "layer's mean token, averaged over heads, queries and layers.",
    caveat="The classifier is applied to layers it was never trained for, so early layers add "
    "uncertain evidence. Attention itself is not used, only its gradient.",
    source="Bousselham et al. 2024, arXiv 2404.03214",
    parameters=LeGradParameters,
    needs=_needs,
)
def legrad(
    recording: TransformerRecording, targets: Sequence[Target], parameters: LeGradParameters
) -> Relevance:
    """``mean_{layers, heads, queries} ReLU(∂s_l/∂A_l)``.

    The score of a layer is ``s_l = head(norm(mean token of z_l))_c``.
    """
    gradients = propagation.refuse_all_zero(recording.layer_score_gradients(targets))
    received = []
    with own_state():
        for layer in propagation.chosen_layers(recording, parameters.layers):
            positive = map(torch.relu_, propagation.attention_gradient(recording, layer, gradients))
            received.append(propagation.fuse(positive, "mean").mean(dim=1))
    return propagation.on_patches(
        recording,
        torch.stack(received).mean(dim=0),
        "No attention to any patch would raise the class's score in the chosen layers.",
    )
