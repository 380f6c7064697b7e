"""How pixels become model input."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become model input; always from the model's own configuration.

    Attributes
    ----------
    size
        Side in pixels of the square it is evaluated at.
    crop_fraction
        Share of the resized short side that the evaluation crop keeps.
    resample
        Pillow filter of the resize.
    mean, std
        Per channel, for values in [0, 1].
    squash
        Whether it is evaluated on the whole picture squeezed into a square, of which the crop is
        taken, and not on a crop of the resized picture.
    crop_rounds_down
        Where the crop begins if it cannot lie in the exact middle: above and left of it. By default
        as torchvision and timm have it, to the even pixel.
    """

    size: int = 224
    crop_fraction: float = 1.0
    resample: Image.Resampling = Image.Resampling.BICUBIC
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    squash: bool = False
    crop_rounds_down: bool = False
