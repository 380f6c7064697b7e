"""Penalties of a maximized picture.

Every term is a mean over pixels, so a weight means the same at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.errors import ParameterError

EPSILON = 1e-8
"""Added to both mean squared steps of `seam_energy`: a picture without any steps has 0."""


def total_variation(unit: Tensor) -> Tensor:
    """Mean absolute step to the next pixel, down and along added: a scalar, in [0, 2].

    Parameters
    ----------
    unit
        (batch, 3, height, width) in [0, 1].
    """
    variation: Tensor = unit.diff(dim=-2).abs().mean() + unit.diff(dim=-1).abs().mean()
    return variation


def distance_from_gray(unit: Tensor) -> Tensor:
    """Mean squared distance of (batch, 3, height, width) from mid-gray: a scalar, in [0, 0.25]."""
    return (unit - 0.5).square().mean()


def seam_energy(unit: Tensor, patch: int) -> Tensor:
    """Visibility of a patch grid: a scalar above -1; 0 means not visible.

    Mean squared step between neighbors on two sides of a patch border, over mean squared step
    between neighbors inside a patch, minus one.

    Parameters
    ----------
    unit
        (batch, 3, height, width) in [0, 1].
    patch
        Side of a patch in pixels, at least 2. Patches begin in the upper left corner.
    """
    across, inside, borders, others = unit.new_zeros(4)
    for steps in (unit.diff(dim=-1).square(), unit.transpose(-1, -2).diff(dim=-1).square()):
        places = torch.arange(1, steps.shape[-1] + 1, device=unit.device, dtype=torch.int64)
        border = (places % patch == 0).to(steps)
        across = across + (steps * border).sum()
        inside = inside + (steps * (1 - border)).sum()
        lines = steps.numel() // max(steps.shape[-1], 1)
        borders = borders + lines * border.sum()
        others = others + lines * (1 - border).sum()
    if not borders or not others:
        return unit.sum() * 0
    ratio: Tensor = (across / borders + EPSILON) / (inside / others + EPSILON)
    return ratio - 1


def seam_energy_of(image: Image.Image, patch: int) -> float:
    """`seam_energy` of a picture as it is shown, in float64."""
    values = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).double().div(255)
    return float(seam_energy(values.permute(2, 0, 1).unsqueeze(0), patch))


@dataclass(frozen=True)
class Regularization:
    """Weights of the penalties.

    The optimizer scales the sum so that a term of weight 1 is as strong as the objective. The
    defaults were chosen on classes and channels of the embedded pair: a higher weight of variation
    or gray reduces contrast; a tenth of the seam penalty removes the grid at little
    cost for the objective, ten times that cost up to 40 % of it.

    Attributes
    ----------
    variation
        Of `total_variation`.
    gray
        Of `distance_from_gray`.
    seam
        Of the squared `seam_energy`, so that borders smoother than the insides cost as well. It
        is weighted by the total variation, since a ratio alone would weigh most where there are
        hardly any steps.
    """

    variation: float = 0.03
    gray: float = 0.2
    seam: float = 0.1

    def __post_init__(self) -> None:
        for entry in fields(self):
            weight = getattr(self, entry.name)
            is_number = isinstance(weight, Real) and not isinstance(weight, bool)
            if not is_number or not 0 <= weight < math.inf:
                raise ParameterError(
                    f"{entry.name} is {weight!r}, expected a number of at least 0."
                )

    def penalty(self, unit: Tensor, patch: int) -> Tensor:
        """Weighted sum of the terms for (batch, 3, height, width) in [0, 1]: a scalar."""
        variation = total_variation(unit)
        return (
            self.variation * variation
            + self.gray * distance_from_gray(unit)
            + self.seam * variation.detach() * seam_energy(unit, patch).square()
        )
