"""The loop of activation maximization."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional

from core.capacity import admitted
from core.errors import ParameterError, UnsupportedMethod, ZeroGradient
from core.frozen import Frozen
from core.maximize.objectives import Objective, checked_objective, checked_whole
from core.maximize.parameterize import (
    FourierImage,
    Parameterization,
    Parameterized,
    PhaseImage,
    to_image,
)
from core.maximize.regularize import Regularization, seam_energy_of
from core.maximize.transforms import CROP, Crops, Transforms
from core.models import Model, VisionTransformer
from core.models.taps import block_tap
from core.numerics import own_state
from core.recording.run import Needs, Pass, run
from core.targets import Target

MOST = 16
"""Most pictures made together."""

OTHER_PATCH = 16
"""Patch in pixels at which the seam energy of a network without patches is measured."""

PERCENTILE = 80.0
"""Percentile of the accumulated gradient from which a place is opaque."""

OnStep = Callable[[int, float, Image.Image], bool | None]
OnSteps = Callable[[int, float, tuple[Image.Image, ...]], bool | None]
Kind = TypeVar("Kind")


@dataclass(frozen=True, eq=False)
class Maximization(Frozen):
    """A finished (or stopped) maximization.

    Attributes
    ----------
    image : PIL.Image.Image
    history : (steps,) float32
        Value of the objective at each step, before the update; higher is better. Of several
        pictures, their mean.
    transparency : (height, width) float32
        The alpha channel, from 0, transparent, to 1, opaque: the absolute gradient of the
        objective by the picture, mean over colors, added up over all steps, divided by its 80th
        percentile, cut off at 1, and averaged over squares of about 1/25 of the side (MACO, Fel
        et al. 2023, section 3.3). It hides what the objective did not depend on.
    seam_energy : float
        Of the picture as shown; 0 means no visible patch grid.
    steps : int
        Steps done.
    patch : int
        Patch in pixels at which the seam energy was measured.
    objective, model_id : str
    seed : int
    parameterization : str
        ``fourier`` or ``phase``.
    regularization : Regularization
    seconds : float
    """

    image: Image.Image
    history: npt.NDArray[np.float32]
    transparency: npt.NDArray[np.float32]
    seam_energy: float
    steps: int
    patch: int
    objective: str
    model_id: str
    seed: int
    parameterization: Parameterization
    regularization: Regularization
    seconds: float

    def on_white(self) -> Image.Image:
        """The picture on white, by its transparency."""
        alpha = self.transparency[..., None]
        values = alpha * np.asarray(self.image, dtype=np.float32) + 255 * (1 - alpha)
        return Image.fromarray(values.round().astype(np.uint8))


def maximize(
    model: Model,
    objective: Objective | Target,
    steps: int = 256,
    size: int | tuple[int, int] = 224,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    parameterization: Parameterization = "fourier",
    start: Image.Image | None = None,
    regularization: Regularization | None = None,
    transforms: Transforms | Crops | None = None,
    patch: int | None = None,
) -> Maximization:
    """Optimize a picture to maximize an objective.

    Gradient ascent on what the picture is made of, which is looked at in random ways before each
    pass. The model is not changed.

    - ``"fourier"``: by Adam on Fourier coefficients scaled by 1/frequency (Olah, Mordvintsev,
      Schubert 2017, “Feature Visualization”, Distill; `FourierImage`), under `Transforms`.
    - ``"phase"``: by NAdam on the phase alone, magnitudes being those of photographs (Fel et al.
      2023, “Unlocking Feature Visualization”, arXiv 2306.06805; `PhaseImage`), under `Crops`. A
      class is more often recognized in these; a step takes as many looks as there are crops.

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
    parameterization
        ``"fourier"`` or ``"phase"``.
    start
        A photograph to start from, for ``"phase"``: its phase, cut to the size. By default noise.
    regularization
        By default `Regularization()`; for ``"phase"`` no penalties, as fixed magnitudes leave
        little to them. ``Regularization(0, 0, 0.1)`` takes away what is left of a patch grid: on
        three classes its seam energy fell from 0.04 to 0.19 to below 0.02.
    transforms
        By default `Transforms()`; for ``"phase"`` `Crops()`.
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
    plan = _plan(
        model,
        objective,
        steps,
        size,
        seed,
        on_step,
        parameterization=parameterization,
        start=start,
        regularization=regularization,
        transforms=transforms,
        patch=patch,
    )

    def told(step: int, loss: float, unit: Tensor) -> bool:
        return on_step is None or on_step(step, loss, to_image(unit)) is not False

    [made] = _ascended(plan, told)
    return made


def maximize_several(
    model: Model,
    objective: Objective | Target,
    count: int = 4,
    steps: int = 256,
    size: int | tuple[int, int] = 224,
    seed: int = 0,
    on_step: OnSteps | None = None,
    *,
    diversity: float = 1.0,
    layer: str | None = None,
    parameterization: Parameterization = "phase",
    start: Image.Image | None = None,
    regularization: Regularization | None = None,
    transforms: Transforms | Crops | None = None,
    patch: int | None = None,
) -> tuple[Maximization, ...]:
    """Optimize several pictures for one objective that differ from each other.

    Beside the objective, the similarity of the pictures' features is penalized (Olah,
    Mordvintsev, Schubert 2017, “Feature Visualization”, section Diversity): the mean over pairs
    of pictures of the cosine between the covariances of one layer's channels over its places.
    All looks at all pictures are one batch.

    Parameters
    ----------
    count
        Number of pictures, from 2 to 16.
    on_step
        Called after each step with its number (from 1), the mean loss and the pictures so far;
        returning ``False`` stops.
    diversity
        Strength of the penalty: 1 makes its gradient as large as that of the objective at
        every step, 0 leaves the pictures to their different starts.
    layer
        The tap whose features are compared; by default the stage or block in the middle.

    Other parameters are those of `maximize`.

    Returns
    -------
    A result for each picture.

    Raises
    ------
    ParameterError, UnsupportedMethod, ImageError, ZeroGradient, BusyError
        As `maximize`.
    """
    if not 2 <= checked_whole(count, "The number of pictures") <= MOST:
        raise ParameterError(f"{count} pictures were requested, expected 2 to {MOST}.")
    plan = _plan(
        model,
        objective,
        steps,
        size,
        seed,
        on_step,
        parameterization=parameterization,
        start=start,
        regularization=regularization,
        transforms=transforms,
        patch=patch,
    )
    compared = _compared(model, layer)
    plan = replace(
        plan,
        count=count,
        diversity=_checked_diversity(diversity),
        layer=compared,
        needs=plan.needs | Needs([compared]),
    )

    def told(step: int, loss: float, unit: Tensor) -> bool:
        if on_step is None:
            return True
        return on_step(step, loss, tuple(to_image(unit, i) for i in range(count))) is not False

    return _ascended(plan, told)


# -- the plan ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Plan:
    """A checked request."""

    model: Model
    objective: Objective
    needs: Needs
    steps: int
    shape: tuple[int, int]
    seed: int
    parameterization: Parameterization
    start: Image.Image | None
    regularization: Regularization
    transforms: Transforms | Crops
    grid: int
    side: int
    """Pixels of a crop."""
    count: int = 1
    diversity: float = 0.0
    layer: str = ""

    def pictures(self, generator: torch.Generator) -> Parameterized:
        """The pictures at their start."""
        if self.parameterization == "fourier":
            return FourierImage(self.shape, generator, self.model.device, self.count)
        return PhaseImage(self.shape, generator, self.model.device, self.count, self.start)

    def looks(self, unit: Tensor, generator: torch.Generator) -> Tensor:
        """What the network gets of each picture, in [0, 1] but for noise."""
        return torch.cat(
            [self.transforms(unit[i : i + 1], generator, self.side) for i in range(len(unit))]
        )


def _plan(
    model: Model,
    objective: Objective | Target,
    steps: int,
    size: int | tuple[int, int],
    seed: int,
    on_step: object,
    *,
    parameterization: Parameterization,
    start: Image.Image | None,
    regularization: Regularization | None,
    transforms: Transforms | Crops | None,
    patch: int | None,
) -> _Plan:
    if parameterization not in get_args(Parameterization):
        raise ParameterError(
            f"The parameterization is {parameterization!r}, expected one of: "
            f"{', '.join(get_args(Parameterization))}."
        )
    is_phase = parameterization == "phase"
    regularization = _of_kind(
        Regularization(0.0, 0.0, 0.0) if is_phase and regularization is None else regularization,
        Regularization,
        "regularization",
    )
    if transforms is None:
        transforms = Crops() if is_phase else Transforms()
    if not isinstance(transforms, Transforms | Crops):
        raise ParameterError(f"transforms is {transforms!r}, expected Transforms, Crops, or none.")
    if start is not None and not (is_phase and isinstance(start, Image.Image)):
        raise ParameterError(
            f"start is {start!r}, expected a picture, and the parameterization 'phase'."
            if is_phase
            else "A start is possible with the parameterization 'phase' only."
        )
    shape = _checked_size(model, size)
    if checked_whole(steps, "The number of steps") < 1:
        raise ParameterError(f"{steps} steps were requested, expected at least 1.")
    if not 0 <= checked_whole(seed, "The seed") < 2**63:
        raise ParameterError(f"The seed is {seed}, expected 0 to 2^63 - 1.")
    if on_step is not None and not callable(on_step):
        raise ParameterError(f"on_step is {on_step!r}, expected a function, or none.")
    objective = checked_objective(objective)
    return _Plan(
        model=model,
        objective=objective,
        needs=objective.needs(model),
        steps=steps,
        shape=shape,
        seed=seed,
        parameterization=parameterization,
        start=start,
        regularization=regularization,
        transforms=transforms,
        grid=_checked_patch(model, patch),
        side=_side_of_crops(model, transforms),
    )


def _checked_diversity(value: Any) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise ParameterError(f"diversity is {value!r}, expected a number of at least 0.")
    return float(value)


def _side_of_crops(model: Model, transforms: Transforms | Crops) -> int:
    """Pixels of a crop as the network gets it."""
    own = model.preprocessing.size
    if isinstance(transforms, Crops) and transforms.side is not None:
        return _checked_size(model, transforms.side)[0]
    if not model.flexible or not isinstance(model, VisionTransformer):
        return own
    return max(1, round(min(own, CROP) / model.multiple)) * model.multiple


def _compared(model: Model, layer: str | None) -> str:
    """The tap whose features are compared between pictures."""
    if layer is not None:
        return model.tap(layer).name
    if isinstance(model, VisionTransformer):
        return model.tap(block_tap(model.depth // 2, "output")).name
    stages = [stage.name for stage in model.layers if stage.name in model.taps]
    if not stages:
        raise UnsupportedMethod(
            f"{model.spec.title} has no layer that can be recorded; make its pictures one by one."
        )
    return stages[len(stages) // 2]


# -- the loop ------------------------------------------------------------------------------------


def _ascended(plan: _Plan, told: Callable[[int, float, Tensor], bool]) -> tuple[Maximization, ...]:
    """Gradient ascent: a result for each picture."""
    model, objective = plan.model, plan.objective
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(plan.seed)
    with own_state(gradients=True):
        picture = plan.pictures(generator)
        optimizer = picture.optimizer()
        unit = picture.unit()
        moved = torch.zeros_like(unit)
    history: list[float] = []
    for step in range(1, plan.steps + 1):
        with admitted(), own_state(gradients=True):
            seen = unit.detach().requires_grad_()
            passed = run(model, model.standardize(plan.looks(seen, generator)), plan.needs)
            value = objective.value(passed)
            (pull,) = torch.autograd.grad(value, seen, retain_graph=plan.diversity > 0)
            # The gradient of a penalty of weight 1 is as large as that of the objective, in any
            # unit.
            strength = pull.abs().sum()
            if step == 1 and not strength:
                raise ZeroGradient(
                    f"The {objective.describe(model)} of {model.spec.title} does not change with "
                    "the picture, so its gradient is zero; choose another seed or objective."
                )
            push = strength * _push(plan.regularization, seen, plan.grid)
            if plan.diversity:
                push = push + plan.diversity * _apart(plan, passed, seen, strength)
            (gradient,) = torch.autograd.grad(unit, picture.leaf, push - pull)
            picture.leaf.grad = gradient
            optimizer.step()
            unit = picture.unit()
            moved += pull.abs()
        history.append(value.item())
        if not told(step, -history[-1], unit):
            break
    seconds = time.perf_counter() - started
    return tuple(
        _result(plan, to_image(unit, number), moved[number], history, seconds)
        for number in range(plan.count)
    )


def _result(
    plan: _Plan, image: Image.Image, moved: Tensor, history: list[float], seconds: float
) -> Maximization:
    return Maximization(
        image=image,
        history=np.asarray(history, dtype=np.float32),
        transparency=_transparency(moved),
        seam_energy=seam_energy_of(image, plan.grid),
        steps=len(history),
        patch=plan.grid,
        objective=plan.objective.describe(plan.model),
        model_id=plan.model.spec.id,
        seed=plan.seed,
        parameterization=plan.parameterization,
        regularization=plan.regularization,
        seconds=seconds,
    )


def _transparency(moved: Tensor) -> npt.NDArray[np.float32]:
    """The alpha channel from the accumulated gradient (3, height, width)."""
    total = moved.mean(0).cpu().numpy().astype(np.float64)
    alpha = np.minimum(total / max(np.percentile(total, PERCENTILE), 1e-30), 1)
    window = 2 * round(min(alpha.shape) / 56) + 1
    smooth: npt.NDArray[np.float64] = uniform_filter(alpha, window, mode="reflect")
    return smooth.clip(0, 1).astype(np.float32)


def _apart(plan: _Plan, passed: Pass, seen: Tensor, strength: Tensor) -> Tensor:
    """Gradient of the similarity of the pictures, as large as ``strength``."""
    model = plan.model
    features = model.on_grid(passed.tensor(plan.layer), plan.layer, passed.size).flatten(2)
    looks, channels, places = features.shape
    grouped = features.reshape(plan.count, looks // plan.count, channels, places)
    alike = similarity(grouped.transpose(1, 2).flatten(2))
    (push,) = torch.autograd.grad(alike, seen)
    return push * (strength / push.abs().sum().clamp(min=torch.finfo(push.dtype).tiny))


def similarity(features: Tensor) -> Tensor:
    """Mean over pairs of pictures of the cosine between their covariances of channels: a scalar.

    Parameters
    ----------
    features
        (pictures, channels, places).
    """
    centered = features - features.mean(-1, keepdim=True)
    scaled = centered / centered.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]
    covariances = (scaled @ scaled.transpose(1, 2)).flatten(1)
    unit = functional.normalize(covariances, dim=1)
    count = len(unit)
    cosines: Tensor = unit @ unit.T
    return (cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))


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
