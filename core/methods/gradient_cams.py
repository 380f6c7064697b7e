"""Gradient-weighted class activation maps of convolutional networks: the Grad-CAM family.

All four take the activations ``A_k`` of one layer and the gradient ``g_k = ∂y_c/∂A_k`` of the
class logit; they differ in one line each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from core.errors import ZeroGradient
from core.methods.parameters import choice
from core.methods.registry import Relevance, method
from core.models import Model
from core.models.convnet import ConvNet
from core.recordings import GradientRequest, Recording

_IF_ZERO = (
    "Every weighted activation is negative or zero for this class: this layer holds no evidence "
    "for it."
)


def _layers(model: Model) -> tuple[str, ...]:
    return tuple(reversed(cast(ConvNet, model).layers))


@dataclass(frozen=True)
class LayerParameters:
    """Which layer is looked at."""

    layer: str = choice(
        ConvNet.FEATURES,
        _layers,
        "Layer",
        "Output of a stage. “features” is what enters the pooling; earlier layers are finer and "
        "say less about the class.",
    )


def _request(model: Model, parameters: LayerParameters) -> GradientRequest:
    return GradientRequest((parameters.layer,))


def _gradients(
    recording: Recording, targets: Sequence[int], parameters: LayerParameters
) -> tuple[Tensor, Tensor]:
    """Activations and gradients of the layer, both (batch, channels, height, width)."""
    gradients = recording.gradients(_request(recording.model, parameters), targets)
    gradient = gradients[parameters.layer]
    if not gradient.any():
        raise ZeroGradient(
            f"The layer {parameters.layer!r} has no influence on this class (its gradient is zero "
            "everywhere), so its map would be blank; choose another layer or class."
        )
    return recording.activations(parameters.layer), gradient


def _family(
    name: str, title: str, meaning: str, caveat: str, source: str
) -> Callable[[Callable[[Tensor, Tensor], Tensor]], Callable[[Tensor, Tensor], Tensor]]:
    """Register a formula of activations and gradients as a method."""

    def register(
        formula: Callable[[Tensor, Tensor], Tensor],
    ) -> Callable[[Tensor, Tensor], Tensor]:
        @method(
            name,
            title=title,
            family="cnn",
            class_specific=True,
            meaning=meaning,
            caveat=caveat,
            source=source,
            parameters=LayerParameters,
            request=_request,
        )
        def run(
            recording: Recording, targets: Sequence[int], parameters: LayerParameters
        ) -> Relevance:
            activations, gradients = _gradients(recording, targets, parameters)
            with torch.no_grad():
                return Relevance(formula(activations, gradients), if_zero=_IF_ZERO)

        return formula

    return register


@_family(
    "grad_cam",
    "Grad-CAM",
    "Each channel weighted by the mean gradient of the class's logit; negative sums are cut.",
    "Averaging the gradient over the picture can light up places the class does not depend on.",
    "Selvaraju et al. 2017, arXiv 1610.02391",
)
def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """``ReLU(Σ_k w_k A_k)`` with ``w_k = mean_xy g_k``."""
    weights = gradients.mean(dim=(2, 3))
    return torch.einsum("bk,bkhw->bhw", weights, activations).relu()


@_family(
    "grad_cam_plus_plus",
    "Grad-CAM++",
    "Grad-CAM with weights that let several instances of a class count alike.",
    "The weights assume an exponential of the logit as score; they are a heuristic elsewhere.",
    "Chattopadhay et al. 2018, arXiv 1710.11063",
)
def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """``α = g² / (2g² + (Σ_xy A) g³)``, ``w_k = Σ_xy α · ReLU(g)``; α is 0 where g is."""
    square, cube = gradients**2, gradients**3
    denominator = 2 * square + activations.sum(dim=(2, 3), keepdim=True) * cube
    usable = denominator != 0
    alpha = torch.where(usable, square / torch.where(usable, denominator, 1.0), 0.0)
    weights = (alpha * gradients.relu()).sum(dim=(2, 3))
    return torch.einsum("bk,bkhw->bhw", weights, activations).relu()


@_family(
    "hirescam",
    "HiResCAM",
    "Activation times gradient, position by position: only what the logit depends on lights up.",
    "At the last layer of a network with one linear layer it is CAM itself, up to scale.",
    "Draelos & Carin 2020, arXiv 2011.08891",
)
def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """``Σ_k g_k ⊙ A_k``, signed."""
    return (gradients * activations).sum(dim=1)


@_family(
    "layer_cam",
    "LayerCAM",
    "Activation times positive gradient, position by position; sharp also in early layers.",
    "Negative evidence is left out twice, so the map cannot show what speaks against a class.",
    "Jiang et al. 2021, LayerCAM",
)
def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """``ReLU(Σ_k ReLU(g_k) ⊙ A_k)``."""
    return (gradients.relu() * activations).sum(dim=1).relu()
