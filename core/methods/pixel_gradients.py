"""Gradients at the pixels: integrated gradients, input × gradient and SmoothGrad.

All three use ``∂y/∂x``, the gradient of the target (a class's logit, or the difference of
two) at the standardized pixels, and sum values over channels and the pixels of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core import capacity, progress
from core.methods import cells
from core.methods.parameters import number
from core.methods.registry import GRADIENT, Relevance, method
from core.numerics import own_state
from core.recording.batches import portion, portions
from core.recording.recording import Recording
from core.recording.run import Needs, run
from core.targets import Target, of_each

_IF_ZERO = "No pixel changes this class's logit, or the picture equals the baseline."


@dataclass(frozen=True)
class PathParameters:
    """Start and number of steps of the path."""

    patch: int = cells.patch_parameter()
    baseline: str = cells.fill_parameter(
        "Baseline", "The picture at which the path begins.", options=("blur", "mean", "black")
    )
    steps: int = number(
        32,
        2,
        256,
        1,
        "Steps",
        "Gradients along the path; more of them reduce the gap between the sum and the logit.",
    )


@dataclass(frozen=True)
class PatchParameters:
    """Grid of the map."""

    patch: int = cells.patch_parameter()


@dataclass(frozen=True)
class SmoothParameters:
    """Number and noise of the copies."""

    patch: int = cells.patch_parameter()
    count: int = number(
        24, 1, 256, 1, "Copies", "How many noisy copies of the picture are averaged."
    )
    noise: float = number(
        0.15,
        0.0,
        0.5,
        0.05,
        "Noise",
        "Standard deviation of the noise as a share of the range of the picture's values.",
    )
    seed: int = number(0, 0, 9999, 1, "Seed", "Another seed draws other noise.")


def _mean_gradients(
    recording: Recording,
    targets: Sequence[Target],
    count: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """``∂y_c/∂x`` (batch, 3, height, width), the mean over copies with a share of noise."""
    model, pixels = recording.model, recording.pixels
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *pixels.shape[1:])
    drawn = torch.randn(shape, generator=generator, dtype=torch.float32).to(pixels.device)
    spread = noise * (pixels.amax((1, 2, 3), True) - pixels.amin((1, 2, 3), True))
    total = torch.zeros_like(pixels)
    for places in portions(model, recording.size, len(recording) * count, gradients=True):
        picture, copy = places // count, places % count
        noisy = pixels[picture] + spread[picture] * drawn[copy]
        with capacity.admitted(), own_state(gradients=True):
            leaf = noisy.requires_grad_()
            asked = [targets[place] for place in picture.tolist()]
            score = of_each(asked, run(model, leaf, Needs()).output, _value).sum()
            (gradients,) = torch.autograd.grad(score, leaf)
        total.index_add_(0, picture, gradients / count)
    return total


def _value(target: Target, logits: Tensor) -> Tensor:
    return target(logits)


def _on_grid(recording: Recording, values: Tensor, patch: int) -> Tensor:
    """Values of pixels (batch, 3, height, width) summed over channels and cells."""
    return cells.sums(values.detach().sum(dim=1), cells.grid_of(recording, patch))


@method(
    "integrated_gradients",
    title="Integrated gradients",
    order=82,
    serves=("cnn", "vit", "pixels"),
    class_specific=True,
    signed=True,
    meaning="How much each place adds to the class's logit on the way from a baseline without "
    "detail to the picture.",
    caveat="It shows what differs from the baseline: content that the baseline shares counts for "
    "nothing, and another baseline gives another map.",
    source="Sundararajan et al. 2017, arXiv 1703.01365",
    parameters=PathParameters,
    needs=lambda model, parameters: Needs(),
    passes=lambda recording, parameters: GRADIENT * parameters.steps,
)
def integrated_gradients(
    recording: Recording, targets: Sequence[Target], parameters: PathParameters
) -> Relevance:
    """``(x − x') ⊙ ∫ ∂y_c/∂x (x' + α (x − x')) dα`` by the midpoint rule.

    The sum over all places is ``y_c(x) − y_c(x')`` up to the gap that the remark states.
    """
    from captum.attr import IntegratedGradients  # takes a second, and few requests need it

    model = recording.model
    most = portion(model, recording.size, gradients=True)
    told = progress.steps(range(len(recording) * math.ceil(parameters.steps / most)))

    def answer(pixels: Tensor, target: Target) -> Tensor:
        next(told, None)
        capacity.next_turn()  # the previous pass holds no memory
        return target(run(model, pixels, Needs()).output)

    baselines = cells.filling(recording, parameters.baseline)
    before = run(model, baselines, Needs()).output
    integrate = IntegratedGradients(answer)
    found = []
    for one, baseline, target in zip(recording.pixels, baselines, targets, strict=True):
        with capacity.admitted(), own_state(gradients=True):
            attributed = integrate.attribute(
                one[None],
                baseline[None],
                additional_forward_args=(target,),
                n_steps=parameters.steps,
                method="riemann_middle",
                internal_batch_size=most,
            )
        found.append(attributed.detach())
    next(told, None)
    maps = _on_grid(recording, torch.cat(found), parameters.patch)
    assert recording.logits is not None  # otherwise the method is not offered
    changed = recording.logits.float() - before.float()
    changes = of_each(targets, changed, _value).tolist()
    totals = maps.sum(dim=(1, 2)).tolist()
    remarks = tuple(map(_completeness, targets, totals, changes))
    return Relevance(maps, if_zero=_IF_ZERO, remarks=remarks)


def _completeness(target: Target, total: float, change: float) -> str:
    """The gap between the sum of a map and the change of the logit that it should equal."""
    what = "the logit" if target.is_class else "the negated logit"
    what = "the difference of the logits" if target.is_difference else what
    gap = f": a gap of {abs(total - change) / abs(change):.1%}" if change else ""
    return (
        f"The map sums to {total:.3g}; from the baseline to the picture {what} changes by "
        f"{change:.3g}{gap}."
    )


@method(
    "input_x_gradient",
    title="Input × gradient",
    order=83,
    serves=("cnn", "vit", "pixels"),
    class_specific=True,
    signed=True,
    meaning="How much each place would add to the class's logit if the network were linear around "
    "this picture.",
    caveat="Networks are far from linear, so the gradient at the picture alone is noisy. Pixels "
    "count from the mean color of the model's training pictures.",
    source="Shrikumar et al. 2016, arXiv 1605.01713",
    parameters=PatchParameters,
    needs=lambda model, parameters: Needs(),
)
def input_x_gradient(
    recording: Recording, targets: Sequence[Target], parameters: PatchParameters
) -> Relevance:
    """``x ⊙ ∂y_c/∂x`` with the standardized pixels ``x``."""
    gradients = _mean_gradients(recording, targets)
    return Relevance(
        _on_grid(recording, recording.pixels * gradients, parameters.patch), if_zero=_IF_ZERO
    )


@method(
    "smooth_grad",
    title="SmoothGrad",
    order=84,
    serves=("cnn", "vit", "pixels"),
    class_specific=True,
    meaning="How strongly the class's logit reacts to the pixels of each place, as the mean over "
    "noisy copies of the picture.",
    caveat="It shows where small changes would matter, for or against, not what the class was "
    "found by.",
    source="Smilkov et al. 2017, arXiv 1706.03825",
    parameters=SmoothParameters,
    needs=lambda model, parameters: Needs(),
    passes=lambda recording, parameters: GRADIENT * parameters.count,
)
def smooth_grad(
    recording: Recording, targets: Sequence[Target], parameters: SmoothParameters
) -> Relevance:
    """``|mean_i ∂y_c/∂x (x + ε_i)|`` with ``ε_i ~ N(0, (noise · (max x − min x))²)``."""
    gradients = _mean_gradients(
        recording, targets, parameters.count, parameters.noise, parameters.seed
    )
    return Relevance(_on_grid(recording, gradients.abs(), parameters.patch), if_zero=_IF_ZERO)
