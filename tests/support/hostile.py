"""Hostile picture files, made when asked for: small files that want much time or memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, depth: int, color: int, extra: bytes = b"") -> bytes:
    """A PNG of zeros, packed line by line so that it costs nothing to make."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    line = bytes(1 + (width * channels * depth + 7) // 8)
    packer, packed = zlib.compressobj(1), []
    for _ in range(0, height, step := max(1, 2**20 // len(line))):
        packed.append(packer.compress(line * step))
    packed.append(packer.flush())
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    palette = _chunk(b"PLTE", bytes(range(256)) * 3) if color == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + palette
        + extra
        + _chunk(b"IDAT", b"".join(packed))
        + _chunk(b"IEND", b"")
    )


@cache
def progressive(side: int) -> bytes:
    """A black progressive JPEG."""
    return encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True)


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = progressive(side)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * scans + content[-2:]


def webp_claim(side: int) -> bytes:
    """The head of a WebP with transparency, and nothing behind it."""
    size = side - 1
    extended = bytes([0x10, 0, 0, 0]) + size.to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", len(extended)) + extended
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(mode: str, width: int, height: int, **options: object) -> bytes:
    """A deflated TIFF of zeros."""
    return encoded(Image.new(mode, (width, height)), "TIFF", compression="tiff_deflate", **options)


def lossless_webp(side: int) -> bytes:
    """A WebP with transparency whose pixels are all there."""
    return encoded(Image.new("RGBA", (side, side)), "WEBP", lossless=True, method=0, quality=0)


def noisy(side: int, kind: str, **options: object) -> bytes:
    """Noise, the hardest to unpack."""
    values = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return encoded(Image.fromarray(values), kind, **options)


HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "progressive JPEG of 2,000 scans": lambda: many_scans(7000, 2000),
    "progressive JPEG of 89 scans": lambda: many_scans(2500, 80),
    "progressive JPEG of 49 million pixels": lambda: many_scans(7000, 0),
    "PNG of one column": lambda: png(1, 49_999_999, 8, 0),
    "PNG of one row": lambda: png(49_999_999, 1, 8, 0),
    "PNG of two rows": lambda: png(60_000, 800, 8, 6),
    "PNG of 16 bits, gray": lambda: png(7000, 7000, 16, 0),
    "PNG of 16 bits, colors and transparency": lambda: png(7000, 7000, 16, 6),
    "PNG of 8 bits, transparency": lambda: png(6000, 6000, 8, 6),
    "PNG of a palette": lambda: png(7000, 7000, 8, 3, _chunk(b"tRNS", bytes(256))),
    "PNG of one bit": lambda: png(7000, 7000, 1, 0),
    "PNG of 49 million pixels": lambda: png(7000, 7000, 8, 2),
    "WebP that claims 7,000 × 7,000": lambda: webp_claim(7000),
    "WebP that claims 16,383 × 16,383": lambda: webp_claim(16383),
    "WebP with transparency, 7,000 × 7,000": lambda: lossless_webp(7000),
    "WebP with transparency, 3,800 × 3,800": lambda: lossless_webp(3800),
    "TIFF of floats": lambda: tiff("F", 7000, 7000),
    "TIFF of floats within the limit": lambda: tiff("F", 4300, 4300),
    "TIFF of 32-bit integers": lambda: tiff("I", 7000, 7000),
    "TIFF of 16 bits": lambda: tiff("I;16", 6500, 6500),
    "TIFF of CMYK": lambda: tiff("CMYK", 7000, 7000),
    "TIFF in one strip": lambda: tiff("RGB", 4900, 4900, tiffinfo={278: 10**6}),
    "GIF of 49 million pixels": lambda: encoded(Image.new("P", (7000, 7000)), "GIF"),
    "BMP of 12 million pixels": lambda: encoded(Image.new("RGB", (4000, 3000)), "BMP"),
    "JPEG of noise": lambda: noisy(3500, "JPEG", quality=95),
    "progressive JPEG of noise": lambda: noisy(2000, "JPEG", quality=95, progressive=True),
}
"""By name, what makes the file."""
