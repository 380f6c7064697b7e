"""Random looks at a maximized picture, for robustness: small transforms, or crops.

Padding, jitter, scale and rotation are one affine map, hence one resampling, whatever their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real

import torch
from torch import Tensor
from torch.nn import functional

from core.errors import ParameterError

CROP = 140
"""Pixels of a side of a crop for a transformer, rounded to whole patches: about as many tokens in
four crops as in one picture of 280 pixels."""


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

    def __call__(self, unit: Tensor, generator: torch.Generator, side: int | None = None) -> Tensor:
        """Transform (1, 3, height, width) in [0, 1]; the shape stays."""
        matrix = self.matrix((unit.shape[-2], unit.shape[-1]), generator).to(unit)
        grid = functional.affine_grid(matrix.unsqueeze(0), list(unit.shape), align_corners=False)
        # Around mid-gray, so that the zeros outside the picture are gray.
        return functional.grid_sample(unit - 0.5, grid, align_corners=False) + 0.5


@dataclass(frozen=True)
class Crops:
    """Random square crops before each pass, each resampled to one size, with noise.

    A network sees the picture at several scales at once and never as a whole at one place
    (Fel et al. 2023, MACO). Centers are drawn from a normal distribution around the middle and
    moved so that crops lie inside the picture.

    Attributes
    ----------
    count
        Crops of each step, at least 1.
    smallest, largest
        Sides as shares of the shorter side of the picture, drawn uniformly; above 0, at most 1.
    spread
        Standard deviation of centers, as a share of a side.
    noise
        Standard deviation of Gaussian noise, and bound of uniform noise; values are in [0, 1].
    side
        Pixels of a crop as the network gets it; ``None`` is about `CROP` pixels for a
        transformer and the own size of another network.
    """

    count: int = 4
    smallest: float = 0.4
    largest: float = 0.95
    spread: float = 0.15
    noise: float = 0.08
    side: int | None = None

    def __post_init__(self) -> None:
        for name in ("count", *(["side"] if self.side is not None else [])):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ParameterError(f"{name} is {value!r}, expected a whole number from 1.")
        for name in ("smallest", "largest", "spread", "noise"):
            value, share = getattr(self, name), name in ("smallest", "largest")
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or not 0 <= value < math.inf or (share and value > 1):
                raise ParameterError(
                    f"{name} is {value!r}, expected a number of at least 0"
                    + (" and at most 1." if share else ".")
                )
        if not 0 < self.smallest <= self.largest:
            raise ParameterError(
                f"Crops are {self.smallest!r} to {self.largest!r} of a side, expected two numbers "
                "above 0 in ascending order."
            )

    def matrix(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw one affine map from a crop to the picture: (2, 3), as those of `Transforms`."""
        share = float(torch.rand((), generator=generator, dtype=torch.float32))
        share = self.smallest + (self.largest - self.smallest) * share
        moves = torch.randn(2, generator=generator, dtype=torch.float32).tolist()
        rows = []
        for axis, (side, move) in enumerate(zip(size[::-1], moves, strict=True)):
            half = share * min(size) / side  # of the range from -1 to 1
            center = min(max(2 * self.spread * move, half - 1), 1 - half)
            rows.append([half, 0.0, center] if axis == 0 else [0.0, half, center])
        return torch.tensor(rows, dtype=torch.float32)

    def __call__(self, unit: Tensor, generator: torch.Generator, side: int | None = None) -> Tensor:
        """Look at (1, 3, height, width) in [0, 1]: (count, 3, side, side), which noise may take
        out of that range.

        Parameters
        ----------
        side
            Pixels of a crop, where `Crops.side` is ``None``.
        """
        size = (unit.shape[-2], unit.shape[-1])
        matrices = torch.stack([self.matrix(size, generator) for _ in range(self.count)])
        pixels = self.side or side or min(size)
        shape = (self.count, 3, pixels, pixels)
        grid = functional.affine_grid(matrices.to(unit), list(shape), align_corners=False)
        seen = functional.grid_sample(
            unit.expand(self.count, -1, -1, -1),
            grid,
            padding_mode="reflection",
            align_corners=False,
        )
        normal = torch.randn(shape, generator=generator, dtype=torch.float32)
        flat = 2 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1
        return seen + self.noise * (normal + flat).to(unit)
