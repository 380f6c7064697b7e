"""What a maximized picture is made of: Fourier coefficients, or their phase alone.

Fourier coefficients in decorrelated colors (Olah, Mordvintsev, Schubert 2017): Adam changes every
coefficient by about the same amount, so the scale of the coefficients decides which picture is
found. Coefficients scaled by 1/frequency give all spatial scales the same weight, as in natural
pictures; with plain pixels the finest scale dominates as noise. The same holds for colors: steps
along the principal axes of natural pictures change brightness more readily than hue.

The phase alone (MACO, Fel et al. 2023, arXiv 2306.06805): magnitudes are held at the mean of
photographs, so that no frequency can be made stronger than it is there. What a picture shows lies
in its phase.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.images import fit_image
from core.maximize.spectrum import mean_spectrum

Parameterization = Literal["fourier", "phase"]

COLORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Square root of the covariance of ImageNet's colors, red, green, blue by principal axis.

The figures are those of Lucid (``lucid/optvis/param/color.py``, Apache-2.0).
"""

DEVIATION = 0.01
"""Standard deviation of the coefficients at the start: a picture close to mid-gray."""

CONTRAST = 0.25
"""Scale of the picture before the sigmoid: how far one step of the optimizer moves it."""

GAIN = 4.0
"""Scale of the waves of `PhaseImage` before the sigmoid, whose slope is 1/4 in the middle: the
contrast is that of photographs."""


class Parameterized(Protocol):
    """Pictures as a function of one tensor."""

    def unit(self) -> Tensor:
        """The pictures as (pictures, 3, height, width) in (0, 1)."""

    @property
    def leaf(self) -> Tensor:
        """The only tensor that requires a gradient."""

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of `leaf`, with its step size."""


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
    count
        Number of pictures.

    Attributes
    ----------
    coefficients : Tensor
        (count, 3, height, width // 2 + 1, 2), real and imaginary parts; the only leaf that
        requires a gradient.
    """

    RATE = 0.05
    """Adam's step size."""

    def __init__(
        self,
        size: tuple[int, int],
        generator: torch.Generator,
        device: torch.device,
        count: int = 1,
    ) -> None:
        height, width = self.size = size
        shape = (count, 3, height, width // 2 + 1, 2)
        start = torch.randn(shape, generator=generator, dtype=torch.float32) * DEVIATION
        self.coefficients = start.to(device).requires_grad_()
        self._scale = (CONTRAST * amplitudes(size)).unsqueeze(-1).to(device)
        colors = torch.tensor(COLORS, dtype=torch.float32)
        self._colors = (colors / colors.norm(dim=0).max()).to(device)

    @property
    def leaf(self) -> Tensor:
        """The coefficients."""
        return self.coefficients

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam([self.coefficients], lr=self.RATE)

    def unit(self) -> Tensor:
        """The picture as (count, 3, height, width) in (0, 1), differentiable by `leaf`."""
        spectrum = torch.view_as_complex(self.coefficients * self._scale)
        waves = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        return torch.einsum("rc,bchw->brhw", self._colors, waves).sigmoid()


class PhaseImage:
    """A picture of any size with the magnitudes of photographs, whose phase alone is free.

    ``sigmoid(logit(mean color) + 4 · colors @ irfft2(magnitude · exp(i · phase)))``, in the
    principal colors of photographs; magnitudes and colors are those of `mean_spectrum`, and the
    constant term is 0 (Fel et al. 2023, section 3; the sigmoid around the mean color and the
    principal colors are this project's own).

    Parameters
    ----------
    size
        (height, width) in pixels.
    generator
        Draws the start, on the CPU: the same seed and size give the same start on every device.
    device
        Device of the picture.
    count
        Number of pictures.
    start
        A photograph whose phase all pictures start from, cut to the size; none draws it uniformly.

    Attributes
    ----------
    phase : Tensor
        (count, 3, height, width // 2 + 1) in radians; the only leaf that requires a gradient.
    """

    RATE = 0.3
    """Step size of NAdam, in radians. At 1 the picture stays blurred."""

    def __init__(
        self,
        size: tuple[int, int],
        generator: torch.Generator,
        device: torch.device,
        count: int = 1,
        start: Image.Image | None = None,
    ) -> None:
        height, width = self.size = size
        spectrum = mean_spectrum()
        self._magnitude = spectrum.of_size(size).to(device)
        self._colors = spectrum.colors.to(device)
        self._mean = spectrum.mean.logit().view(3, 1, 1).to(device)
        shape = (count, 3, height, width // 2 + 1)
        phase = (2 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1) * math.pi
        if start is not None:
            phase = _phase_of(start, size).expand(shape).clone()
        self.phase = phase.to(device).requires_grad_()
        self._mirrored, self._real = (where.to(device) for where in _dependent(size))

    @property
    def leaf(self) -> Tensor:
        """The phase."""
        return self.phase

    def optimizer(self) -> torch.optim.Optimizer:
        """NAdam."""
        return torch.optim.NAdam([self.phase], lr=self.RATE)

    def unit(self) -> Tensor:
        """The pictures as (count, 3, height, width) in (0, 1), differentiable by `leaf`."""
        mixed = torch.einsum("rc,bchw->brhw", self._colors, self.waves())
        unit: Tensor = (self._mean + GAIN * mixed).sigmoid()
        return unit

    def waves(self) -> Tensor:
        """The principal colors, (count, 3, height, width), whose magnitudes are fixed."""
        spectrum = torch.polar(self._magnitude.expand_as(self.phase), self._whole())
        waves: Tensor = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        return waves

    def _whole(self) -> Tensor:
        """The phase of a real picture: where two coefficients are conjugates, one decides."""
        conjugate = -self.phase.flip(2).roll(1, 2)
        phase = torch.where(self._mirrored, conjugate, self.phase)
        sign = (self.phase.detach().cos() < 0).to(phase.dtype) * math.pi
        return torch.where(self._real, sign, phase)


def _dependent(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Coefficients of a real picture that are conjugates of others, and those that are real.

    Both are found in the first column and, for an even width, the last:
    two masks of (height, width // 2 + 1).
    """
    height, width = size
    rows = torch.arange(height, dtype=torch.int64).unsqueeze(1)
    columns = torch.arange(width // 2 + 1, dtype=torch.int64).unsqueeze(0)
    own = (columns == 0) | (2 * columns == width)
    return own & (2 * rows > height), own & ((rows == 0) | (2 * rows == height))


def _phase_of(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Phase of a photograph in principal colors, in the form that `PhaseImage` makes it of:
    (1, 3, height, width // 2 + 1).

    The sigmoid is undone first, so that the picture begins as the photograph with the
    magnitudes of the mean.
    """
    spectrum = mean_spectrum()
    fitted = fit_image(image.convert("RGB"), "crop", size[::-1])
    unit = torch.from_numpy(np.asarray(fitted).copy()).to(torch.float32).permute(2, 0, 1) / 255
    raw = unit.clamp(1 / 255, 254 / 255).logit() - spectrum.mean.logit().view(3, 1, 1)
    waves = torch.einsum("cr,rhw->chw", torch.linalg.inv(spectrum.colors), raw)
    phase: Tensor = torch.fft.rfft2(waves, norm="ortho").angle()
    return phase.unsqueeze(0)


def amplitudes(size: tuple[int, int]) -> Tensor:
    """1/frequency for each coefficient of a real picture: (height, width // 2 + 1).

    Frequencies are in cycles per pixel; the constant term counts as one cycle per longer side.
    """
    rows = torch.fft.fftfreq(size[0], dtype=torch.float32).unsqueeze(1)
    cols = torch.fft.rfftfreq(size[1], dtype=torch.float32).unsqueeze(0)
    return torch.hypot(rows, cols).clamp(min=1 / max(size)).reciprocal()


def to_image(unit: Tensor, number: int = 0) -> Image.Image:
    """A picture of (batch, 3, height, width) in [0, 1], rounded to 8 bits."""
    values = unit.detach()[number].mul(255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy()))
