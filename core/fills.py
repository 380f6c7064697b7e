"""Fills of removed parts of a picture, and their exact borders.

A fill is an 8-bit picture like the view itself, so that every model gets the same fill and the
displayed picture is exactly the models' input. It is standardized like any view:
``torch.where(on_pixels(removed, size), model.normalize(filled(view, "blur")), pixels)``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor, int64, tensor

from core.errors import ParameterError

Fill = Literal["blur", "mean", "black", "noise"]
FILLS: dict[Fill, str] = {
    "blur": "the picture itself, blurred",
    "mean": "the picture's mean color",
    "black": "black",
    "noise": "noise with the mean and standard deviation of the picture's colors",
}

BLUR = 1 / 16
"""Standard deviation of the blur as a share of the short side.

At 224 pixels that is 14, the patch side of the embedded transformer: details as small as the
removed parts disappear, and large areas keep their color.
"""


def filled(view: Image.Image, fill: str = "blur", seed: int = 0) -> Image.Image:
    """A picture of the same size that replaces removed parts of ``view``.

    Parameters
    ----------
    view
        What the model sees, mode RGB.
    fill
        ``"blur"``: Pillow's Gaussian blur (three box blurs) of `BLUR` times the short side.
        ``"mean"``: its mean color. ``"black"``: zeros. ``"noise"``: independent normal values with
        the mean and standard deviation of each channel, cut off at the ends of the range.
    seed
        Of the noise.

    Raises
    ------
    ParameterError
        The fill is unknown.
    """
    if fill not in FILLS:
        raise ParameterError(f"The fill {fill!r} is unknown; choose one of {', '.join(FILLS)}.")
    if fill == "blur":
        return view.filter(ImageFilter.GaussianBlur(BLUR * min(view.size)))
    if fill == "black":
        return Image.new("RGB", view.size)
    colors = np.asarray(view, dtype=np.float64)
    mean, spread = colors.mean(axis=(0, 1)), colors.std(axis=(0, 1))
    if fill == "mean":
        spread = np.zeros_like(spread)
    noise = np.random.default_rng(seed).standard_normal(colors.shape)
    return Image.fromarray((mean + spread * noise).round().clip(0, 255).astype(np.uint8))


def borders(length: int, parts: int) -> list[int]:
    """Where ``parts`` parts of ``length`` pixels begin, and where the last ends: rounded evenly.

    Raises
    ------
    ParameterError
        There are more parts than pixels, or none.
    """
    if not 1 <= parts <= length:
        raise ParameterError(
            f"A grid of {parts} cells was requested along {length} pixels; choose 1 to {length}."
        )
    return [(2 * i * length + parts) // (2 * parts) for i in range(parts + 1)]


def on_pixels(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Values of grid cells repeated over the pixels of each cell.

    Parameters
    ----------
    cells : (..., rows, cols)
        Any dtype, including bool.
    size
        Height and width in pixels; where they are no multiples of the grid, see `borders`.

    Returns
    -------
    (..., height, width)
    """
    for axis, length in zip((-2, -1), size, strict=True):
        edges = borders(length, cells.shape[axis])
        lengths = [end - start for start, end in pairwise(edges)]
        repeats = tensor(lengths, device=cells.device, dtype=int64)
        cells = cells.repeat_interleave(repeats, dim=axis)
    return cells
