"""Pictures: read safely from untrusted sources, fitted once, identical for every model."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from core.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Decoders that are tried; everything else is rejected before any decoding."""

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded, in pixels (width × height)."""

MAX_LENGTH = 65_535
"""Longest side of a file; the decoder's table of rows alone would take hundreds of MB beyond."""

MAX_FILE = 64 * 2**20
"""Largest file, in bytes."""

MEMORY = 300 * 2**20
"""Bytes that decoding one file may take, estimated from its header before decoding."""

MAX_SCANS, MAX_WORK = 100, 1_000_000_000
"""Scans of a progressive JPEG, and their number × pixels: each scan covers the whole picture."""

MAX_SIDE = 2048
"""Longest side after reading, in pixels; larger pictures are scaled down."""

BACKGROUND = (255, 255, 255)
"""Background of transparent pixels."""

Fit = Literal["native", "crop", "pad", "stretch", "whole", "given"]
FITS: dict[str, str] = {
    "native": "as the model was evaluated: resized, then center-cropped",
    "crop": "largest centered crop of the model's shape",
    "pad": "whole picture, gray bars added",
    "stretch": "whole picture, aspect ratio not kept",
    "whole": "whole picture at its own aspect ratio, rounded to whole patches",
    "given": "as it is: the picture has already been fitted",
}


@dataclass(frozen=True)
class Framing:
    """How a picture is fitted to the input of a model.

    Attributes
    ----------
    fit
        One of `FITS`.
    size
        Side of the square view in pixels; for ``"whole"`` the *short* side. ``None``
        means the model's own input size.
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

    The first frame is taken, EXIF rotation applied, transparency composited on white, 16-bit and
    CMYK data converted to 8-bit RGB, and the longest side limited to `MAX_SIDE`.

    Parameters
    ----------
    source
        Path of a file, or the file's bytes.
    name
        Name of the picture in error messages; by default the file's name.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, fully decoded, detached from its file.

    Raises
    ------
    ImageError
        The picture is missing, empty, not an image, truncated, or would need more memory or time
        than allowed; the latter is estimated from the header, before anything is decoded.
    """
    if isinstance(source, bytes):
        data, name = source, name or "The picture"
    else:
        path = Path(source)
        name = name or path.name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ImageError(f"{name} cannot be opened ({reason}); choose another file.") from error
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); choose another file.")
    if len(data) > MAX_FILE:
        raise ImageError(f"{name} is larger than {MAX_FILE >> 20} MB; make it smaller first.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_size(opened, data, name)
            opened.seek(0)
            if max(opened.size) > MAX_SIDE:
                opened.draft(None, (MAX_SIDE, MAX_SIDE))  # JPEG: half, a quarter or an eighth
            opened.load()
            image = _to_rgb(opened)
            if max(image.size) > MAX_SIDE:
                image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
            return _upright(image.convert("RGB"), opened)
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        if known := _other_kind(data):
            raise ImageError(
                f"{name} is {known}, which this page cannot read; export it as JPEG or PNG."
            ) from error
        raise ImageError(f"{name} is not a picture this page can read ({kinds}).") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise ImageError(
            f"{name} is damaged or incomplete and cannot be decoded; export it again."
        ) from error


def digest(image: Image.Image) -> str:
    """SHA-256 of a picture's pixels in RGB, with its size: equal for equal pictures."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    header = f"{rgb.width}x{rgb.height}:".encode()
    return hashlib.sha256(header + rgb.tobytes()).hexdigest()


_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ROWS = 256
"""Rows converted at a time, as a conversion needs more memory than its result."""


_BRANDS = {
    b"heic": "a HEIC photograph",
    b"heix": "a HEIC photograph",
    b"heim": "a HEIC photograph",
    b"heis": "a HEIC photograph",
    b"hevc": "a HEIC photograph",
    b"mif1": "a HEIF photograph",
    b"msf1": "a HEIF photograph",
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
}
"""Kinds of ISO base media files by their major brand, in bytes 8 to 12 after ``ftyp``."""


def _other_kind(data: bytes) -> str:
    """What a file is that is no picture of `FORMATS`, by its first bytes; empty if unknown."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    if data.startswith(b"%PDF"):
        return "a PDF document"
    return "an SVG drawing" if b"<svg" in data[:1024].lower() else ""


def _check_size(opened: Image.Image, data: bytes, name: str) -> None:
    """Reject, before decoding, a file that would take too much memory or time."""
    width, height = opened.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_LENGTH:
        raise ImageError(_too_large(name, f"{width} × {height}"))
    stored = 1 if opened.mode in ("1", "L", "P") else 2 if opened.mode.startswith("I;16") else 4
    needed = stored
    if opened.mode not in ("L", "RGB") or "transparency" in opened.info:
        needed += 4  # composited on white, as RGB
    if opened.format == "WEBP":
        needed = 20  # two canvases, the returned frame, a copy, and the picture
    elif opened.format == "TIFF":
        needed += 2 * stored  # a strip may be the whole picture, packed and unpacked
    elif opened.format == "JPEG":
        scans, coefficients = _jpeg_structure(data)
        if scans > MAX_SCANS or scans * width * height > MAX_WORK:
            raise ImageError(
                f"{name} consists of {scans} scans, which would take too long to decode; "
                "export it again."
            )
        needed = 8 + (math.ceil(2 * coefficients) if scans > 1 else 0)
        if max(opened.size) > 2 * MAX_SIDE and min(opened.size) >= 2 * MAX_SIDE:
            needed -= 6  # decoded at half its size
    scaled = 4 * MAX_SIDE * (MAX_SIDE + height) if max(opened.size) > MAX_SIDE else 0
    if needed * width * height + scaled > MEMORY:
        limit = max(0, MEMORY - scaled) // (needed * 1_000_000)
        raise ImageError(
            f"{name} has {width} × {height} pixels; the limit for its kind ({opened.format}, "
            f"{opened.mode}) is {limit} million, so make it smaller first or save it as JPEG."
        )


def _jpeg_structure(data: bytes) -> tuple[int, float]:
    """Number of scans of a JPEG, and its coefficients per pixel."""
    scans, coefficients, at = 0, 3.0, 2
    while match := _JPEG_MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        length = int.from_bytes(data[at : at + 2], "big")
        if marker in _FRAMES and at + 8 <= len(data):
            sampling = data[at + 9 : at + length : 3][: data[at + 7]]
            factors = [(both >> 4) * (both & 15) for both in sampling]
            coefficients = sum(factors) / max(1, max(factors, default=1))
        if marker == 0xDA:
            scans += 1
        if marker != 0xD8:
            at += length
    return scans, coefficients


def _too_large(name: str, size: str = "far too many") -> str:
    return (
        f"{name} has {size} pixels; the limit is {MAX_PIXELS // 1_000_000} million, and "
        f"{MAX_LENGTH:,} a side, so make it smaller first."
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    """As RGB, or as 8-bit gray where it is gray; in bands, so that no second copy is needed."""
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    bands = [
        (0, top, image.width, min(top + _ROWS, image.height))
        for top in range(0, image.height, _ROWS)
    ]
    if image.mode.startswith("I") or image.mode == "F":
        full = 65535.0 if image.mode.startswith("I;16") else None
        if full is None:
            top = max(float(_finite(image.crop(band)).max(initial=0.0)) for band in bands)
            full = next((scale for scale in (1.0, 255.0, 65535.0) if top <= scale), top)
        gray = Image.new("L", image.size)
        for band in bands:
            gray.paste(Image.fromarray(_to_8_bit(_finite(image.crop(band)), full)), band[:2])
        return gray
    canvas = Image.new("RGB", image.size)
    transparent = image.has_transparency_data
    for band in bands:
        part = image.crop(band)
        if transparent:
            layer = part.convert("RGBA")
            white = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
            part = Image.alpha_composite(white, layer)
        canvas.paste(part.convert("RGB"), band[:2])
    return canvas


def _upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Apply the orientation stored in the file."""
    turn = _TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
    upright = image if turn is None else image.transpose(turn)
    upright.info = {}  # this also drops location and camera data
    return upright


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that undoes each Exif orientation."""


def _finite(band: Image.Image) -> np.ndarray:
    values = np.asarray(band).astype(np.float64)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _to_8_bit(gray: np.ndarray, full: float) -> np.ndarray:
    return (np.clip(gray / full, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def fit_image(
    image: Image.Image,
    fit: Fit,
    size: tuple[int, int],
    *,
    multiple: int = 1,
    crop_fraction: float = 1.0,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    squash: bool = False,
    crop_rounds_down: bool = False,
) -> Image.Image:
    """Fit a picture to the input of a model.

    Parameters
    ----------
    image
        Mode RGB.
    fit
        One of `FITS`.
    size
        (height, width) in pixels of the result; for ``"whole"`` the smaller of the two is the
        short side.
    multiple
        ``"whole"`` rounds both sides to multiples of this (a patch size).
    crop_fraction
        ``"native"``: the crop is this share of the resized short side.
    resample
        Filter of the resize.
    squash
        ``"native"``: the whole picture is resized to a square, from which the crop is taken.
    crop_rounds_down
        ``"native"``: a crop that cannot be centered exactly is placed up and left of the center.

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
        kept = _at_least_a_line(image, width, height, resample)
        return ImageOps.pad(kept, (width, height), resample, color=(124, 116, 104))
    if fit == "whole":
        scale = min(size) / min(image.size)

        def whole(side: int) -> int:
            return max(multiple, round(side * scale / multiple) * multiple)

        shape = whole(image.width), whole(image.height)
        return image.resize(_bounded(image, shape, MAX_SIDE**2), resample)
    # "native": resize so that the crop covers crop_fraction of the short side, then cut the center.
    # In integers, as in torchvision and timm: a rounded factor sometimes loses a pixel.
    short = max(int(min(size) / crop_fraction + 1e-6), *size)
    long = short * max(image.size) // min(image.size)
    shape = (short, long) if image.width <= image.height else (long, short)
    if squash:
        shape = (short, short)
    resized = image.resize(_bounded(image, shape, MAX_PIXELS), resample)
    rounded: Callable[[float], int] = math.floor if crop_rounds_down else round
    left = rounded((resized.width - width) / 2)
    top = rounded((resized.height - height) / 2)
    return resized.crop((left, top, left + width, top + height))


def _at_least_a_line(
    image: Image.Image, width: int, height: int, resample: Image.Resampling
) -> Image.Image:
    """Keep at least one line of pixels of an extremely narrow picture between the bars."""
    wide = image.width * height > width * image.height
    # Rounded as Pillow does.
    if round(image.height / image.width * width if wide else image.width / image.height * height):
        return image
    return image.resize((width, 1) if wide else (1, height), resample)


def _bounded(image: Image.Image, shape: tuple[int, int], most: int) -> tuple[int, int]:
    """Reject an extremely narrow picture whose (width, height) would exceed ``most`` pixels."""
    if shape[0] * shape[1] > most:
        raise ImageError(
            f"A picture of {image.width} × {image.height} pixels is too large or too narrow for "
            "this fit; choose the fit crop, pad or stretch, or a smaller size."
        )
    return shape
