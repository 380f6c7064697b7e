"""Small random transforms of a maximized picture, for robustness.

Padding, jitter, scale and rotation are one affine map, hence one resampling, whatever their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real

import torch
from torch import Tensor
from torch.nn import functional

from core.errors import ParameterError


@dataclass(frozen=True)
class Transforms:
    """Ranges of the random transforms before each pass.

    All are drawn uniformly between minus and plus the bound. Places outside the picture are
    mid-gray.

    Attributes
    ----------
    padding
        Margin added on every side, as a share of that side, at least 0.
    jitter
        Shift along each axis, as a share of that side.
    scale
        Change of size, as a share.
    rotation
        In degrees.
    """

    padding: float = 0.05
    jitter: float = 0.05
    scale: float = 0.1
    rotation: float = 6.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            bound = getattr(self, entry.name)
            is_number = isinstance(bound, Real) and not isinstance(bound, bool)
            most = 1.0 if entry.name == "scale" else math.inf  # at 1 the picture would vanish
            if not is_number or not 0 <= bound < most:
                expected = "from 0 to below 1" if entry.name == "scale" else "of at least 0"
                raise ParameterError(f"{entry.name} is {bound!r}, expected a number {expected}.")

    def matrix(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw one affine map from the network's input to the picture: (2, 3).

        Coordinates run from -1 to 1 along each side, x first. Angles are kept for any shape.
        """
        height, width = size
        along, down, scale, angle = (
            2 * torch.rand(4, generator=generator, dtype=torch.float32) - 1
        ).tolist()
        zoom = (1 + 2 * self.padding) / (1 + self.scale * scale)
        turn = math.radians(self.rotation * angle)
        cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
        return torch.tensor(
            [
                [cos, -sin * height / width, 2 * self.jitter * along],
                [sin * width / height, cos, 2 * self.jitter * down],
            ],
            dtype=torch.float32,
        )

    def __call__(self, unit: Tensor, generator: torch.Generator) -> Tensor:
        """Transform (1, 3, height, width) in [0, 1]; the shape stays."""
        matrix = self.matrix((unit.shape[-2], unit.shape[-1]), generator).to(unit)
        grid = functional.affine_grid(matrix.unsqueeze(0), list(unit.shape), align_corners=False)
        # Around mid-gray, so that the zeros outside the picture are gray.
        return functional.grid_sample(unit - 0.5, grid, align_corners=False) + 0.5
