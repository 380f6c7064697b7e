"""Pictures: read safely from anyone, fitted once, seen identically by every model."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Decoders that are tried; everything else is refused before any decoding."""

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded, in pixels (width × height)."""

MAX_SIDE = 2048
"""Longest side after reading, in pixels; larger pictures are scaled down."""

BACKGROUND = (255, 255, 255)
"""What transparent pixels are laid on."""

Fit = Literal["native", "crop", "pad", "stretch", "whole", "given"]
FITS: dict[str, str] = {
    "native": "as the model was evaluated: resized, then its own center crop",
    "crop": "largest centered crop of the model's shape",
    "pad": "whole picture, gray bars added",
    "stretch": "whole picture, proportions not kept",
    "whole": "whole picture at its own shape, rounded to whole patches",
    "given": "as it is: the picture has been fitted before",
}


@dataclass(frozen=True)
class Framing:
    """How a picture is fitted into what a model sees.

    Attributes
    ----------
    fit
        One of `FITS`.
    size
        Side in pixels of the square that is seen; for ``"whole"`` the *short* side. ``None``
        takes the model's own input size.
    """

    fit: Fit = "native"
    size: int | None = None

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ImageError(f"Fit {self.fit!r} is unknown; choose one of {', '.join(FITS)}.")
        if self.size is not None and not 1 <= self.size <= MAX_SIDE:
            raise ImageError(f"Size {self.size} px is out of range; choose 1 to {MAX_SIDE}.")


def read_image(source: str | os.PathLike[str] | bytes, name: str | None = None) -> Image.Image:
    """Read a picture from a file or from bytes.

    The first frame is taken, EXIF rotation applied, transparency laid on white, 16-bit and CMYK
    data converted to 8-bit RGB, and the longest side limited to `MAX_SIDE`.

    Parameters
    ----------
    source
        Path of a file, or the file's bytes.
    name
        What error messages call the picture; the file's name by default.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, fully decoded, detached from its file.

    Raises
    ------
    ImageError
        The picture is missing, empty, not an image, truncated, or larger than `MAX_PIXELS`.
    """
    if isinstance(source, bytes):
        data, name = source, name or "The picture"
    else:
        path = Path(source)
        name = name or path.name
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ImageError(f"{name} cannot be opened ({reason}); choose another file.") from error
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); choose another file.")
    try:
        with warnings.catch_warnings():
            # The size is checked below against our own limit, so Pillow's warning adds nothing.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                _check_size(opened, name)
                opened.seek(0)
                opened.load()
                upright = ImageOps.exif_transpose(opened)
                image = _to_rgb(upright)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise ImageError(f"{name} is not a picture this page can read ({kinds}).") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise ImageError(
            f"{name} is damaged or incomplete and cannot be decoded; export it again."
        ) from error
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return image


def digest(image: Image.Image) -> str:
    """SHA-256 of a picture's pixels in RGB, with its size: equal for equal pictures."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    header = f"{rgb.width}x{rgb.height}:".encode()
    return hashlib.sha256(header + rgb.tobytes()).hexdigest()


def _check_size(opened: Image.Image, name: str) -> None:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{width} × {height}"))


def _too_large(name: str, size: str = "far too many") -> str:
    return (
        f"{name} has {size} pixels; at most {MAX_PIXELS // 1_000_000} million are read, "
        "so make it smaller first."
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        full = 65535.0 if image.mode.startswith("I;16") else None
        return Image.fromarray(_to_8_bit(np.asarray(image), full)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(values: np.ndarray, full: float | None) -> np.ndarray:
    """Scale deep grayscale to 0..255; without a known ``full`` scale it is told from the values."""
    gray = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(gray.max(initial=0.0))
    if full is None:
        full = next((scale for scale in (1.0, 255.0, 65535.0) if top <= scale), top)
    return (np.clip(gray / full, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def fit_image(
    image: Image.Image,
    fit: Fit,
    size: tuple[int, int],
    *,
    multiple: int = 1,
    crop_fraction: float = 1.0,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """Fit a picture into what a model sees.

    Parameters
    ----------
    image
        Mode RGB.
    fit
        One of `FITS`.
    size
        (height, width) in pixels of the result; for ``"whole"`` its smaller number is the
        short side.
    multiple
        ``"whole"`` rounds both sides to this (a patch size).
    crop_fraction
        ``"native"``: the crop is this share of the resized short side.
    resample
        Filter of the resize.

    Returns
    -------
    PIL.Image.Image
        The view, (width, height) = (size[1], size[0]) except for ``"whole"``.
    """
    height, width = size
    if fit == "given":
        return image
    if fit == "stretch":
        return image.resize((width, height), resample)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), resample)
    if fit == "pad":
        return ImageOps.pad(image, (width, height), resample, color=(124, 116, 104))
    if fit == "whole":
        scale = min(size) / min(image.size)

        def whole(side: int) -> int:
            return max(multiple, round(side * scale / multiple) * multiple)

        shape = whole(image.width), whole(image.height)
        return image.resize(_bounded(image, shape, MAX_SIDE**2), resample)
    # "native": resize so that the crop covers crop_fraction of the short side, then cut the center.
    # In whole numbers, as torchvision and timm have it: a rounded factor loses a pixel at times.
    short = max(int(min(size) / crop_fraction + 1e-6), *size)
    long = short * max(image.size) // min(image.size)
    shape = (short, long) if image.width <= image.height else (long, short)
    resized = image.resize(_bounded(image, shape, MAX_PIXELS), resample)
    left = round((resized.width - width) / 2)
    top = round((resized.height - height) / 2)
    return resized.crop((left, top, left + width, top + height))


def _bounded(image: Image.Image, shape: tuple[int, int], most: int) -> tuple[int, int]:
    """Refuse to blow a sliver of a picture up to a (width, height) of more than ``most`` pixels."""
    if shape[0] * shape[1] > most:
        raise ImageError(
            f"A picture of {image.width} × {image.height} pixels is too large or too narrow for "
            "this fit; choose the fit crop, pad or stretch, or a smaller size."
        )
    return shape
