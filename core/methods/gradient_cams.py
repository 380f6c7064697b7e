"""Gradient-weighted class activation maps: the Grad-CAM family.

All four take the activations ``A_k`` of one layer and the gradient ``g_k = ∂y_c/∂A_k`` of the
class logit; they differ in one line each. In a transformer the activations are the tokens that
enter a block, laid out over the picture, prefix tokens left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ZeroGradient
from core.methods.parameters import choice
from core.methods.registry import Kind, Relevance, method
from core.models import Model
from core.models.taps import MAP
from core.numerics import own_state
from core.recording.recording import Recording
from core.recording.run import Needs
from core.targets import Target, asked

_IF_ZERO = (
    "Every weighted activation is negative or zero for this class: this layer holds no evidence "
    "for it."
)

_IF_ZERO_SIGNED = (
    "Activations and gradients of this class never coincide in this layer: it holds no evidence "
    "for or against it."
)


def _layers(model: Model) -> tuple[str, ...]:
    """Taps with maps, the last first."""
    names = [t.name for t in model.taps.values() if t.axes == MAP or t.name.endswith(".input")]
    blocks = [name for name in names if name.startswith("block.")]
    return tuple(reversed(blocks or names))


@dataclass(frozen=True)
class LayerParameters:
    """The layer that is read."""

    layer: str = choice(
        lambda model: _layers(model)[0],
        _layers,
        "Layer",
        "“stage” is the output of a stage, “head.input” the input of the pooling, “block.i.input” "
        "the tokens that enter a block. Earlier layers are finer and less class-specific.",
    )


def _needs(model: Model, parameters: LayerParameters) -> Needs:
    return Needs([parameters.layer], [parameters.layer])


Formula = Callable[[Tensor, Tensor], Tensor]
Remark = Callable[[Tensor, Tensor], tuple[str, ...]]

UNSTABLE = 1e-3
"""Denominator of a Grad-CAM++ weight (ideally 2) below which rounding dominates the weight."""


def _family(
    name: str,
    title: str,
    order: int,
    meaning: str,
    caveat: str,
    source: str,
    *,
    serves: Sequence[Kind] = ("cnn",),
    signed: bool = False,
    remark: Remark = lambda activations, gradients: (),
) -> Callable[[Formula], Formula]:
    """Register a formula of activations and gradients as a method."""

    def register(formula: Formula) -> Formula:
        @method(
            name,
            title=title,
            order=order,
            serves=serves,
            class_specific=True,
            signed=signed,
            meaning=meaning,
            caveat=caveat,
            source=source,
            parameters=LayerParameters,
            needs=_needs,
        )
        def run(
            recording: Recording, targets: Sequence[Target], parameters: LayerParameters
        ) -> Relevance:
            gradients = recording.grid_gradients(parameters.layer, targets)
            if not gradients.any():
                raise ZeroGradient(
                    f"The layer {parameters.layer!r} has no influence on {asked(targets)} (its "
                    "gradient is zero everywhere), so its map would be blank; choose another layer "
                    "or class."
                )
            activations = recording.on_grid(parameters.layer)
            with own_state():
                maps, remarks = formula(activations, gradients), remark(activations, gradients)
            return Relevance(maps, if_zero=_IF_ZERO_SIGNED if signed else _IF_ZERO, remarks=remarks)

        return formula

    return register


@_family(
    "grad_cam",
    "Grad-CAM",
    20,
    "Each channel weighted by the mean gradient of the class's logit; negative sums are set to "
    "zero.",
    "Averaging the gradient over the picture can light up places the class does not depend on.",
    "Selvaraju et al. 2017, arXiv 1610.02391",
    serves=("cnn", "vit"),
)
def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """``ReLU(Σ_k w_k A_k)`` with ``w_k = mean_xy g_k``."""
    weights = gradients.mean(dim=(2, 3))
    return torch.einsum("bk,bkhw->bhw", weights, activations).relu()


def _denominators(activations: Tensor, gradients: Tensor) -> Tensor:
    """``2 + (Σ_xy A) g`` at every place."""
    return 2 + activations.sum(dim=(2, 3), keepdim=True) * gradients


def _instability(activations: Tensor, gradients: Tensor) -> tuple[str, ...]:
    """A remark for each picture in which a relevant weight depends on rounding."""
    counts = _denominators(activations, gradients).abs().where(gradients > 0, 2.0)
    return tuple(
        f"A weight's denominator is as small as {smallest:.0e} here (usually 2), so rounding "
        "dominates this map: prefer LayerCAM or a later layer."
        if smallest < UNSTABLE
        else ""
        for smallest in counts.amin(dim=(1, 2, 3)).tolist()
    )


@_family(
    "grad_cam_plus_plus",
    "Grad-CAM++",
    21,
    "Grad-CAM with weights that count several instances of a class equally.",
    "The weights assume the exponential of the logit as score and are a heuristic otherwise. "
    "Where activations have both signs, as before an activation function, a weight's denominator "
    "can come close to zero and a few channels then outweigh all others.",
    "Chattopadhay et al. 2018, arXiv 1710.11063",
    remark=_instability,
)
def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """``α = g² / (2g² + (Σ_xy A) g³)``, ``w_k = Σ_xy α · ReLU(g)``; α is 0 where g is.

    Computed as ``α = 1 / (2 + (Σ_xy A) g)``: powers of a small gradient would lose the remaining
    digits of single precision where the sum is close to −2.
    """
    denominator = _denominators(activations, gradients)
    usable = (denominator != 0) & (gradients != 0)
    alpha = torch.where(usable, 1 / torch.where(usable, denominator, 1.0), 0.0)
    weights = (alpha * gradients.relu()).sum(dim=(2, 3))
    return torch.einsum("bk,bkhw->bhw", weights, activations).relu()


@_family(
    "hirescam",
    "HiResCAM",
    22,
    "Activation times gradient, position by position: bright only where the logit depends on it.",
    "At the last layer of a network with one linear layer it is CAM itself, up to scale.",
    "Draelos & Carin 2020, arXiv 2011.08891",
    signed=True,
)
def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """``Σ_k g_k ⊙ A_k``, signed."""
    return (gradients * activations).sum(dim=1)


@_family(
    "layer_cam",
    "LayerCAM",
    23,
    "Activation times positive gradient, position by position; sharp also in early layers.",
    "Negative evidence is left out twice, so the map cannot show evidence against a class.",
    "Jiang et al. 2021, LayerCAM",
)
def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """``ReLU(Σ_k ReLU(g_k) ⊙ A_k)``."""
    return (gradients.relu() * activations).sum(dim=1).relu()
