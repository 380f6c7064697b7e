"""Preprocessing of transformers' image processors, read from their fields and verified."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.errors import ImageError, UnsupportedModel
from core.images import fit_image
from core.models.preprocessing import Preprocessing
from core.numerics import own_state

SHAPES = ((1.0, 1.0), (1.6, 1.0), (1.0, 1.4))
"""Width and height of the test pictures for a processor, as multiples of its short side."""

MEAN_LEVELS, MOST_LEVELS = 0.75, 12.0
"""How far, of 255 levels, input may be from a processor's own on average and anywhere: its resize
works on tensors and rounds otherwise than Pillow."""

_WARPED_FROM = 384
"""Side from which ConvNeXt's processors resize the whole picture instead of cropping it."""


def preprocessing_of(processor: Any, title: str) -> Preprocessing:
    """The operations of a processor, as `Preprocessing`.

    Its fields are translated and then compared with its output on pictures of three shapes, to
    detect operations of its class beyond its fields.

    Parameters
    ----------
    processor
        An image processor of transformers, of either backend.
    title
        Name of the model in messages.

    Raises
    ------
    UnsupportedModel
        It performs an unsupported operation.
    """
    found = _translated(processor, title)
    _prove(processor, found, title)
    return found


def _refuse(title: str, reason: str) -> NoReturn:
    raise UnsupportedModel(
        f"{title} cannot be shown: its image processor {reason}; choose another model, or correct "
        "its preprocessor_config.json."
    )


def _translated(processor: Any, title: str) -> Preprocessing:
    if not getattr(processor, "size", None):
        _refuse(title, f"({type(processor).__name__}) states no size")
    if not getattr(processor, "do_resize", True):
        _refuse(title, "does not resize pictures (do_resize is false)")
    if getattr(processor, "do_pad", False):
        _refuse(title, "pads pictures (do_pad)")
    size = dict(processor.size)
    squash = "height" in size
    if squash and size.get("height") != size.get("width"):
        _refuse(title, f"makes pictures of {size.get('width')} × {size['height']} pixels")
    if set(size) not in ({"height", "width"}, {"shortest_edge"}):
        _refuse(title, f"fits pictures by {', '.join(sorted(size))}")
    resized = int(next(iter(size.values())))
    if getattr(processor, "do_center_crop", False):
        side = _side_of_crop(processor, title)
    elif squash:
        side = resized
    elif type(processor).__name__.startswith("ConvNextImageProcessor"):
        side, squash = resized, resized >= _WARPED_FROM
        resized = side if squash else int(side / float(processor.crop_pct))
    else:
        _refuse(title, "keeps the shape of pictures (a shortest edge without a center crop)")
    if side > resized:
        _refuse(title, f"crops {side} pixels out of {resized}")
    mean, std = _standardization(processor, title)
    try:
        resample = Image.Resampling(int(processor.resample))
    except (TypeError, ValueError):
        _refuse(title, f"resizes by {processor.resample!r}, which is not a Pillow filter")
    return Preprocessing(
        size=side,
        crop_fraction=side / resized,
        resample=resample,
        mean=mean,
        std=std,
        squash=squash,
        crop_rounds_down=True,
    )


def _side_of_crop(processor: Any, title: str) -> int:
    crop = dict(processor.crop_size or {})
    if set(crop) != {"height", "width"} or crop["height"] != crop["width"]:
        _refuse(title, f"crops pictures to {crop or 'no size'}, not to a square")
    return int(crop["height"])


Triple = tuple[float, float, float]


def _standardization(processor: Any, title: str) -> tuple[Triple, Triple]:
    """Mean and deviation for values in [0, 1], equivalent to those for levels.

    It multiplies levels by a factor ``f`` and then takes ``(v − m) / s``; of values in [0, 1] that
    is ``(u − m/k) / (s/k)`` with ``k = 255 f``.
    """
    factor: Any = processor.rescale_factor if getattr(processor, "do_rescale", True) else 1.0
    if not isinstance(factor, Real) or not 0 < float(factor) < math.inf:
        _refuse(title, f"multiplies levels by {factor!r}")
    scale = 255 * float(factor)
    if math.isclose(scale, 1.0, rel_tol=1e-6):
        scale = 1.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if getattr(processor, "do_normalize", True):
        mean = _triple(processor.image_mean, "image_mean", title)
        std = _triple(processor.image_std, "image_std", title)
        if not all(value > 0 for value in std):
            _refuse(title, f"divides by {std}")
    return _scaled(mean, scale), _scaled(std, scale)


def _triple(values: Any, name: str, title: str) -> Triple:
    each = list(values) if isinstance(values, list | tuple) else [values] * 3
    if len(each) != 3 or not all(isinstance(v, Real) and math.isfinite(v) for v in each):
        _refuse(title, f"has {values!r} as {name}, expected three numbers")
    return float(each[0]), float(each[1]), float(each[2])


def _scaled(values: Triple, scale: float) -> Triple:
    return values[0] / scale, values[1] / scale, values[2] / scale


# -- proof ----------------------------------------------------------------------------------------


@own_state()
def _prove(processor: Any, found: Preprocessing, title: str) -> None:
    """Compare with the processor's own output."""
    std = torch.tensor(found.std, dtype=torch.float32).view(3, 1, 1)
    short = round(1.1 * found.size / found.crop_fraction)
    for across, down in SHAPES:
        image = _pattern(round(across * short), round(down * short))
        try:
            output: Mapping[str, Any] = processor(image, return_tensors="pt")
            wanted = output["pixel_values"][0].float()
            view = fitted(image, found)
        except ImageError:
            raise
        except Exception as error:  # processors can raise any exception
            _refuse(title, f"fails on a picture of {image.width} × {image.height} pixels ({error})")
        shape = (3, found.size, found.size)
        if tuple(wanted.shape) != shape:
            _refuse(title, f"returns {tuple(wanted.shape)}, expected {shape}")
        levels = ((_standardized(view, found) - wanted) * std * 255).abs()
        if not (levels.mean() <= MEAN_LEVELS and levels.max() <= MOST_LEVELS):
            _refuse(
                title,
                f"({type(processor).__name__}) does something that its fields do not state, which "
                f"changes pictures by up to {float(levels.max()):.0f} of 255 levels",
            )


def fitted(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """A model's view of a picture by its own preprocessing, at its evaluation size."""
    side = preprocessing.size
    return fit_image(
        image,
        "native",
        (side, side),
        crop_fraction=preprocessing.crop_fraction,
        resample=preprocessing.resample,
        squash=preprocessing.squash,
        crop_rounds_down=preprocessing.crop_rounds_down,
    )


def _standardized(view: Image.Image, preprocessing: Preprocessing) -> Tensor:
    unit = torch.from_numpy(np.array(view)).permute(2, 0, 1).float() / 255
    mean, std = (
        torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (unit - mean) / std


def _pattern(width: int, height: int) -> Image.Image:
    """Waves that differ by channel and direction, so that any shift, flip or swap is visible."""
    x, y = np.arange(width) / width, np.arange(height)[:, None] / height
    channels = [
        0.5 + 0.25 * np.sin(7 * x + 2 * y) + 0.2 * np.cos(5 * y),
        0.2 + 0.6 * x * (1 - 0.5 * y) + 0.1 * np.sin(23 * y),
        0.8 - 0.5 * y + 0.15 * np.sin(17 * x * (1 + y)),
    ]
    stacked = np.stack(np.broadcast_arrays(*channels), axis=-1)
    return Image.fromarray((stacked.clip(0, 1) * 255).round().astype(np.uint8))
