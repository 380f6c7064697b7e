"""Speed of activation maximization: against the least it could take, and against a package."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import core
from core import Model
from core.recording.run import run
from tests.benchmarks.speed import pair, twin
from tests.benchmarks.timing import Row, medians, milliseconds

os.environ.setdefault("TQDM_DISABLE", "1")
STEPS = 6
SIDE = 224
CROPS = 2
"""Looks at the picture in each of horama's steps; it fails with one."""


def forward_and_backward(model: Model, objective: Any) -> Callable[[], Tensor]:
    """One pass there and back to the pixels, with the same objective."""
    pixels = torch.rand(1, 3, SIDE, SIDE, device=model.device)
    needs = objective.needs(model)

    def call() -> Tensor:
        leaf = pixels.clone().requires_grad_()
        return torch.autograd.grad(objective.value(run(model, leaf, needs)), leaf)[0]

    return call


def horama(model: Model, layer: str, channel: int, vit: bool) -> Callable[[], Any]:
    """The same layer and channel in horama's Fourier optimization, as few looks as it takes."""
    from horama import fourier

    module = twin(model).requires_grad_(False)
    kept: list[Tensor] = []
    module.get_submodule(layer).register_forward_hook(lambda _m, _a, output: kept.append(output))

    def objective(images: Tensor) -> Tensor:
        kept.clear()
        module(images)
        return kept[0][..., channel].mean() if vit else kept[0][:, channel].mean()

    def call() -> Any:
        return fourier(
            objective,
            total_steps=STEPS,
            image_size=SIDE,
            model_input_size=SIDE,
            crops_per_iteration=CROPS,
            box_size=(0.9, 0.95),
            device=str(model.device),
        )

    return call


def rows(rounds: int) -> list[Row]:
    """One step against one forward and backward pass; steps a second against horama."""
    cnn, vit = pair()
    cases = [
        (cnn, core.conv_channel("stage.3", 3), "blocks.4", 3),
        (vit, core.mlp_channel(8, 5), "blocks.8.mlp.act", 5),
    ]
    found, repeats = [], rounds
    for model, objective, layer, channel in cases:

        def ours(model: Model = model, objective: Any = objective) -> object:
            return core.maximize(model, objective, steps=STEPS, size=SIDE)

        is_vit = model is vit
        times = medians(
            {
                "this project": ours,
                "horama": horama(model, layer, channel, is_vit),
                "forward and backward": forward_and_backward(model, objective),
            },
            repeats,
        )
        step = times["this project"] / STEPS
        details = milliseconds(
            {
                "step": step,
                "horama's step": times["horama"] / STEPS,
                "forward and backward": times["forward and backward"],
            }
        )
        name = model.spec.title
        found += [
            Row(
                f"activation maximization, a step, {name}",
                "one forward + backward, 224 px",
                step / times["forward and backward"],
                reach=1.3,
                details=details,
                note=f"a call of {STEPS} steps divided by {STEPS}",
                repeats=repeats,
                reason="moves, penalties and the step of Adam come on top",
            ),
            Row(
                f"activation maximization, steps a second, {name}",
                "horama's, same layer and channel",
                times["horama"] / times["this project"],
                reach=1.0,
                at_most=False,
                details=details,
                note=f"horama looks {CROPS} times at the picture in each step, its least; look "
                f"for look we take {CROPS * step / (times['horama'] / STEPS):.2f} of its time",
                repeats=repeats,
            ),
        ]
    return found
