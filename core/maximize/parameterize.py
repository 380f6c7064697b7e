"""The picture as Fourier coefficients in decorrelated colors (Olah, Mordvintsev, Schubert 2017).

Adam changes every coefficient by about the same amount, so the scale of the coefficients decides
which picture is found. Coefficients scaled by 1/frequency give all spatial scales
the same weight, as in natural pictures; with plain pixels the finest scale dominates as noise.
The same holds for colors: steps along the principal axes of natural pictures change
brightness more readily than hue.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

COLORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Square root of the covariance of ImageNet's colors, red, green, blue by principal axis.

The figures are those of Lucid (``lucid/optvis/param/color.py``, Apache-2.0).
"""

DEVIATION = 0.01
"""Standard deviation of the coefficients at the start: a picture close to mid-gray."""

CONTRAST = 0.25
"""Scale of the picture before the sigmoid: how far one step of the optimizer moves it."""


class FourierImage:
    """A picture of any size whose degrees of freedom are scaled Fourier coefficients.

    Parameters
    ----------
    size
        (height, width) in pixels.
    generator
        Draws the start, on the CPU: the same seed and size give the same start on every device.
    device
        Device of the picture.

    Attributes
    ----------
    coefficients : Tensor
        (1, 3, height, width // 2 + 1, 2), real and imaginary parts; the only leaf that requires
        a gradient.
    """

    def __init__(
        self, size: tuple[int, int], generator: torch.Generator, device: torch.device
    ) -> None:
        height, width = self.size = size
        shape = (1, 3, height, width // 2 + 1, 2)
        start = torch.randn(shape, generator=generator, dtype=torch.float32) * DEVIATION
        self.coefficients = start.to(device).requires_grad_()
        self._scale = (CONTRAST * amplitudes(size)).unsqueeze(-1).to(device)
        colors = torch.tensor(COLORS, dtype=torch.float32)
        self._colors = (colors / colors.norm(dim=0).max()).to(device)

    def unit(self) -> Tensor:
        """The picture as (1, 3, height, width) in (0, 1), differentiable by the coefficients."""
        spectrum = torch.view_as_complex(self.coefficients * self._scale)
        waves = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        return torch.einsum("rc,bchw->brhw", self._colors, waves).sigmoid()


def amplitudes(size: tuple[int, int]) -> Tensor:
    """1/frequency for each coefficient of a real picture: (height, width // 2 + 1).

    Frequencies are in cycles per pixel; the constant term counts as one cycle per longer side.
    """
    rows = torch.fft.fftfreq(size[0], dtype=torch.float32).unsqueeze(1)
    cols = torch.fft.rfftfreq(size[1], dtype=torch.float32).unsqueeze(0)
    return torch.hypot(rows, cols).clamp(min=1 / max(size)).reciprocal()


def to_image(unit: Tensor) -> Image.Image:
    """The first picture of (batch, 3, height, width) in [0, 1], rounded to 8 bits."""
    values = unit.detach()[0].mul(255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy()))
