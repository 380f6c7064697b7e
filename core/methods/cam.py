"""Class activation mapping (Zhou et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.methods.registry import Relevance, method
from core.models.convnet import ConvNet
from core.models.taps import HEAD_INPUT
from core.recording.convolution import ConvolutionRecording
from core.recording.run import Needs
from core.targets import Target


@dataclass(frozen=True)
class CamParameters:
    """CAM has no parameters: its definition fixes the layer and the weights."""


def _unsupported(model: ConvNet) -> str | None:
    if model.linear_head is not None:
        return None
    return (
        f"CAM is defined only where one linear layer follows the pooling; {model.spec.title} has "
        "more layers there, so choose Grad-CAM or HiResCAM."
    )


@method(
    "cam",
    title="CAM",
    order=10,
    serves=("cnn",),
    class_specific=True,
    signed=True,
    meaning="How much each position adds to the class's logit: mean plus bias is the logit.",
    caveat="Positions are those of the last feature map, each of which covers far more of the "
    "picture than its own square.",
    source="Zhou et al. 2016, arXiv 1512.04150",
    parameters=CamParameters,
    needs=lambda model, parameters: Needs(keep=[HEAD_INPUT]),
    unsupported=_unsupported,
)
def cam(
    recording: ConvolutionRecording, targets: Sequence[Target], parameters: CamParameters
) -> Relevance:
    """``M_c(x, y) = Σ_k w_ck · A_k(x, y)``; no bias, no ReLU, so ``mean(M_c) + b_c = logit_c``.

    For a class ``a`` rather than another ``b`` the weights are ``w_a − w_b``, so the map is
    ``M_a − M_b`` exactly.
    """
    weights = recording.model.linear_head
    assert weights is not None  # otherwise `_unsupported` has rejected the model
    features = recording.activations(HEAD_INPUT)
    # A target is applied to the weights as to logits: for two classes it gives their difference.
    chosen = torch.stack([target(weights.T) for target in targets])
    return Relevance(
        torch.einsum("bk,bkhw->bhw", chosen, features),
        if_zero="The class's weights, or all features that they weight, are zero, so its logit is "
        "its bias.",
        remarks=tuple(
            "All weights of this class are equal, so the map is the sum of all features and says "
            "nothing about the class."
            if len(own) > 1 and own.any() and (own == own[0]).all()
            else ""
            for own in chosen
        ),
    )
