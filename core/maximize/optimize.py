"""The loop of activation maximization."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.capacity import admitted
from core.errors import ParameterError, ZeroGradient
from core.frozen import Frozen
from core.maximize.objectives import Objective, checked_objective, checked_whole
from core.maximize.parameterize import FourierImage, to_image
from core.maximize.regularize import Regularization, seam_energy_of
from core.maximize.transforms import Transforms
from core.models import Model, VisionTransformer
from core.numerics import own_state
from core.recording.run import Needs, run
from core.targets import Target

RATE = 0.05
"""Adam's step size."""

OTHER_PATCH = 16
"""Patch in pixels at which the seam energy of a network without patches is measured."""

OnStep = Callable[[int, float, Image.Image], bool | None]
Kind = TypeVar("Kind", Regularization, Transforms)


@dataclass(frozen=True, eq=False)
class Maximization(Frozen):
    """A finished (or stopped) maximization.

    Attributes
    ----------
    image : PIL.Image.Image
    history : (steps,) float32
        Value of the objective at each step, before the update; higher is better.
    seam_energy : float
        Of the picture as shown; 0 means no visible patch grid.
    steps : int
        Steps done.
    patch : int
        Patch in pixels at which the seam energy was measured.
    objective, model_id : str
    seed : int
    regularization : Regularization
    seconds : float
    """

    image: Image.Image
    history: npt.NDArray[np.float32]
    seam_energy: float
    steps: int
    patch: int
    objective: str
    model_id: str
    seed: int
    regularization: Regularization
    seconds: float


def maximize(
    model: Model,
    objective: Objective | Target,
    steps: int = 256,
    size: int | tuple[int, int] = 224,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    regularization: Regularization | None = None,
    transforms: Transforms | None = None,
    patch: int | None = None,
) -> Maximization:
    """Optimize a picture to maximize an objective.

    Gradient ascent by Adam on the Fourier coefficients of the picture (Olah, Mordvintsev,
    Schubert 2017, “Feature Visualization”, Distill), which is transformed at random before each
    pass. The model is not changed: only the coefficients receive gradients.

    Parameters
    ----------
    objective
        From `class_logit`, `conv_channel`, `block_channel`, `mlp_channel` or `head_channel`;
        objectives can be added and scaled. Or a target: `rather_than`.
    size
        Side of a square, or (height, width), in pixels; multiples of a transformer's patch.
    seed
        The same seed and size give the same start and the same transforms for every model.
    on_step
        Called after each step with its number (from 1), the loss and the picture so far;
        returning ``False`` stops. The loss is minus the objective's value; the penalties, whose
        weight follows the objective's gradient at every step, are not included.
    regularization, transforms
        By default `Regularization()` and `Transforms()`.
    patch
        Patch side in pixels for measuring and penalizing seams; by default the transformer's own,
        and `OTHER_PATCH` for a convolutional network. At least 2.

    Raises
    ------
    ParameterError, UnsupportedMethod
        The model has no such class, layer, head or channel, or does not accept this size.
    ImageError
        A pass would take more than the memory budget.
    ZeroGradient
        The picture cannot influence the objective.
    BusyError
        All slots for network passes were in use for too long.
    """
    regularization = _of_kind(regularization, Regularization, "regularization")
    transforms = _of_kind(transforms, Transforms, "transforms")
    shape = _checked_size(model, size)
    if checked_whole(steps, "The number of steps") < 1:
        raise ParameterError(f"{steps} steps were requested, expected at least 1.")
    if not 0 <= checked_whole(seed, "The seed") < 2**63:
        raise ParameterError(f"The seed is {seed}, expected 0 to 2^63 - 1.")
    if on_step is not None and not callable(on_step):
        raise ParameterError(f"on_step is {on_step!r}, expected a function, or none.")
    objective = checked_objective(objective)
    needs = objective.needs(model)
    grid = _checked_patch(model, patch)
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    with own_state(gradients=True):
        picture = FourierImage(shape, generator, model.device)
        adam = torch.optim.Adam([picture.coefficients], lr=RATE)
        unit = picture.unit()
    history: list[float] = []
    for step in range(1, steps + 1):
        with admitted(), own_state(gradients=True):
            seen = unit.detach().requires_grad_()
            value = _look(model, objective, transforms(seen, generator), needs)
            (pull,) = torch.autograd.grad(value, seen)
            push = _push(regularization, seen, grid)
            # The gradient of a penalty of weight 1 is as large as that of the objective, in any
            # unit.
            strength = pull.abs().sum()
            if step == 1 and not strength:
                raise ZeroGradient(
                    f"The {objective.describe(model)} of {model.spec.title} does not change with "
                    "the picture, so its gradient is zero; choose another seed or objective."
                )
            (gradient,) = torch.autograd.grad(unit, picture.coefficients, strength * push - pull)
            picture.coefficients.grad = gradient
            adam.step()
            unit = picture.unit()
        history.append(value.item())
        if on_step is not None and on_step(step, -history[-1], to_image(unit)) is False:
            break
    image = to_image(unit)
    return Maximization(
        image=image,
        history=np.asarray(history, dtype=np.float32),
        seam_energy=seam_energy_of(image, grid),
        steps=len(history),
        patch=grid,
        objective=objective.describe(model),
        model_id=model.spec.id,
        seed=seed,
        regularization=regularization,
        seconds=time.perf_counter() - started,
    )


def _look(model: Model, objective: Objective, unit: Tensor, needs: Needs) -> Tensor:
    """Value of the objective for one picture in [0, 1]."""
    return objective.value(run(model, model.standardize(unit), needs))


def _push(regularization: Regularization, seen: Tensor, patch: int) -> Tensor:
    """Gradient of the penalties at the picture."""
    penalty = regularization.penalty(seen, patch)
    if not penalty.requires_grad:
        return torch.zeros_like(seen)
    (push,) = torch.autograd.grad(penalty, seen)
    return push


def _checked_patch(model: Model, patch: int | None) -> int:
    if patch is None:
        return model.patch if isinstance(model, VisionTransformer) else OTHER_PATCH
    if checked_whole(patch, "patch") < 2:
        raise ParameterError(f"patch is {patch!r}, expected at least 2 pixels.")
    return int(patch)


def _of_kind(value: Kind | None, kind: type[Kind], name: str) -> Kind:
    """A setting, by default that of its kind."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ParameterError(f"{name} is {value!r}, expected a {kind.__name__}, or none.")
    return value


def _checked_size(model: Model, size: int | tuple[int, int]) -> tuple[int, int]:
    pair = size if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2:
        raise ParameterError(f"The size is {size!r}, expected a side or (height, width) in pixels.")
    height, width = (checked_whole(side, "A side of the picture") for side in pair)
    for side in (height, width):
        if side < 16 or side > 1024 or side % model.multiple:
            raise ParameterError(
                f"The size is {height} × {width} pixels; {model.spec.title} takes sides from 16 "
                f"to 1024 that are multiples of {model.multiple}."
            )
    fixed = model.preprocessing.size
    if not model.flexible and (height, width) != (fixed, fixed):
        raise ParameterError(
            f"The size is {height} × {width} pixels; {model.spec.title} takes only {fixed} × "
            f"{fixed}."
        )
    return height, width
