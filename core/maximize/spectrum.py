"""The mean magnitude spectrum of photographs, in decorrelated colors.

It fixes the magnitudes of a picture whose phase alone is optimized (Fel et al. 2023, MACO,
arXiv 2306.06805). `data.recipes.mean_spectrum` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from core.errors import ParameterError
from core.paths import DATA

FILE = DATA / "spectrum.npz"


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Statistics of photographs.

    Attributes
    ----------
    magnitude : (3, side, side // 2 + 1) float32
        Mean over photographs of ``|rfft2|`` with ``norm="ortho"``, one channel for each principal
        color; the constant term is 0.
    colors : (3, 3) float32
        Columns are the principal axes of red, green and blue in [0, 1], each as long as one
        standard deviation: ``rgb = mean + colors @ channels``.
    mean : (3,) float32
        Mean red, green and blue, in [0, 1].
    """

    magnitude: Tensor
    colors: Tensor
    mean: Tensor

    def of_size(self, size: tuple[int, int]) -> Tensor:
        """Magnitudes for another size, at the same frequencies in cycles per pixel.

        With ``norm="ortho"`` the magnitude at a frequency does not depend on the size. It is
        interpolated bilinearly after a multiplication by the frequency, as it falls about as
        1/frequency; frequencies below the lowest measured one follow that law.

        Parameters
        ----------
        size
            (height, width) in pixels.

        Returns
        -------
        (3, height, width // 2 + 1) float32

        Raises
        ------
        ParameterError
            A side is shorter than 2 pixels.
        """
        height, width = size
        if min(size) < 2:
            raise ParameterError(f"The size is {height} × {width} px, expected at least 2 × 2.")
        side = self.magnitude.shape[1]
        flat = self.magnitude * _frequencies((side, side))
        flat[:, 0, 0] = (flat[:, 0, 1] + flat[:, 1, 0]) / 2
        # Rows from -1/2 to 1/2 cycles per pixel, both ends included.
        rolled = torch.roll(flat, side // 2, dims=1)
        rolled = torch.cat([rolled, rolled[:, :1]], dim=1)
        rows = 2 * torch.fft.fftfreq(height, dtype=torch.float32)
        columns = 4 * torch.fft.rfftfreq(width, dtype=torch.float32) - 1
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
        found = functional.grid_sample(
            rolled[None], places[None], padding_mode="border", align_corners=True
        )[0]
        found = found / _frequencies(size).clamp(min=1 / max(size))
        found[:, 0, 0] = 0
        return found


def _frequencies(size: tuple[int, int]) -> Tensor:
    """Cycles per pixel of every coefficient of a real picture: (height, width // 2 + 1)."""
    rows = torch.fft.fftfreq(size[0], dtype=torch.float32).unsqueeze(1)
    columns = torch.fft.rfftfreq(size[1], dtype=torch.float32).unsqueeze(0)
    return torch.hypot(rows, columns)


@cache
def mean_spectrum(path: Path = FILE) -> Spectrum:
    """The spectrum shipped with the application."""
    with np.load(path) as held:
        return Spectrum(
            *(
                torch.from_numpy(held[name].astype(np.float32))
                for name in ("magnitude", "colors", "mean")
            )
        )
