"""Class activation mapping (Zhou et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from core.methods.registry import Relevance, method
from core.models import Model
from core.models.convnet import ConvNet
from core.recordings import Recording


@dataclass(frozen=True)
class CamParameters:
    """CAM has none: the layer and the weights are given by the definition."""


def _unsupported(model: Model) -> str | None:
    if cast(ConvNet, model).is_linear_after_pooling:
        return None
    return (
        f"CAM is defined only where one linear layer follows the pooling; {model.spec.title} has "
        "more there, so choose Grad-CAM or HiResCAM."
    )


@method(
    "cam",
    title="CAM",
    family="cnn",
    class_specific=True,
    meaning="How much each position adds to the class's logit: mean plus bias is the logit.",
    caveat="Positions are those of the last feature map, each of which sees far more of the "
    "picture than its own square.",
    source="Zhou et al. 2016, arXiv 1512.04150",
    parameters=CamParameters,
    unsupported=_unsupported,
)
def cam(recording: Recording, targets: Sequence[int], parameters: CamParameters) -> Relevance:
    """``M_c(x, y) = Σ_k w_ck · A_k(x, y)``; no bias, no ReLU, so ``mean(M_c) + b_c = logit_c``."""
    features = recording.tensors[ConvNet.FEATURES]
    weights = cast(ConvNet, recording.model).head.weight[list(targets)]
    return Relevance(torch.einsum("bk,bkhw->bhw", weights, features))
