"""Conversions of pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    """A picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def data_uri(image: Image.Image, quality: int = 85) -> str:
    """A picture as a JPEG data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, quality)).decode()


def png(image: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def transparent_uri(image: Image.Image) -> str:
    """A picture with transparent places as a PNG data URI."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def thumbnail(image: Image.Image, side: int = 240) -> Image.Image:
    """A picture at most ``side`` pixels long, its shape kept."""
    small = image.copy()
    small.thumbnail((side, side))
    return small


def cut_out(view: Image.Image, mask: npt.NDArray[np.bool_], dark: float = 0.2) -> Image.Image:
    """The view, darkened outside a mask (rows, cols)."""
    size = (view.width, view.height)
    light = np.where(mask, 255, round(255 * dark)).astype(np.uint8)
    stretched = Image.fromarray(light).resize(size, Image.Resampling.NEAREST)
    return Image.composite(view, Image.new("RGB", size), stretched)


def from_colors(colors: npt.NDArray[np.float32], view: Image.Image) -> Image.Image:
    """Colors (rows, cols, 3) in [0, 1] as a picture of the size of a view, one block a place."""
    pixels = Image.fromarray((colors * 255).round().astype(np.uint8))
    return pixels.resize((view.width, view.height), Image.Resampling.NEAREST)
