"""Pictures from anyone: shown properly, or refused with one sentence that names file and reason."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import core
from core.errors import ImageError
from core.images import MAX_PIXELS, MAX_SIDE
from tests.support.builders import (
    picture,
)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def bomb(width: int, height: int) -> bytes:
    """A small, valid PNG of an enormous black picture, one bit a pixel."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    squeeze = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def refused(source: Any, name: str | None = "cat.png") -> str:
    """The sentence with which a picture is refused."""
    with pytest.raises(ImageError) as caught:
        core.read_image(source, name)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 200
    return message


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"not a picture at all", b"\0"],
)
def test_not_an_image(content: bytes) -> None:
    message = refused(content)
    assert message.startswith("cat.png is not a picture this page can read")
    assert "JPEG" in message


def test_empty() -> None:
    assert "cat.png is empty (0 bytes)" in refused(b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(kind: str, share: float) -> None:
    content = encoded(picture(20, 20), kind)
    message = refused(content[: int(len(content) * share)])
    assert message.startswith("cat.png ")
    assert "damaged or incomplete" in message or "not a picture" in message


def test_damaged_inside() -> None:
    content = bytearray(encoded(picture(20, 20)))
    content[100:160] = b"x" * 60
    assert "damaged or incomplete" in refused(bytes(content))


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000)])
def test_bomb_is_refused_before_it_is_decoded(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bomb(width, height if height < 20_000 else 10)
    if height > 20_000:  # only the header says so
        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        content = content[:8] + chunk(b"IHDR", header) + content[33:]
    assert len(content) < 100_000

    def decode(self: Image.Image) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    message = refused(content, "bomb.png")
    assert "bomb.png has" in message
    assert f"{MAX_PIXELS // 1_000_000} million" in message


def test_large_picture_within_the_limit_is_scaled_down() -> None:
    image = core.read_image(bomb(5000, 3000))
    assert image.size == (MAX_SIDE, round(MAX_SIDE * 3000 / 5000))


def test_missing_file(tmp_path: Path) -> None:
    message = refused(tmp_path / "gone.jpg", None)
    assert message.startswith("gone.jpg cannot be opened")
    assert str(tmp_path) not in message
    assert "cannot be opened" in refused(tmp_path, None)


def test_file_is_named_and_detached(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no")
    assert refused(path, None).startswith("broken.png ")
    path.write_bytes(encoded(picture(2, 2)))
    image = core.read_image(path)
    path.unlink()
    assert np.array_equal(np.asarray(image), np.asarray(picture(2, 2)))
    assert np.array_equal(np.asarray(core.read_image(encoded(picture(2, 2)))), np.asarray(image))


@given(
    st.binary(max_size=300), st.integers(0, 400), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF"])
)
def test_whatever_the_bytes_only_our_own_error(noise: bytes, place: int, kind: str) -> None:
    content = bytearray(encoded(picture(3, 4), kind))
    content[place : place + len(noise)] = noise
    with contextlib.suppress(ImageError):
        assert core.read_image(bytes(content)).mode == "RGB"


# -- unusual but fine -----------------------------------------------------------------------------


def test_cmyk() -> None:
    cmyk = Image.new("CMYK", (8, 6), (255, 0, 0, 0))
    image = core.read_image(encoded(cmyk, "JPEG", quality=95))
    assert image.mode == "RGB"
    red, green, blue = np.asarray(image).mean(axis=(0, 1))
    assert red < 60
    assert min(green, blue) > 100


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_gray_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = core.read_image(encoded(Image.fromarray(ramp), kind))
    found = np.asarray(image)[..., 0].astype(int)
    assert np.abs(found - np.arange(256).reshape(16, 16)).max() <= 1
    assert (np.asarray(image) == np.asarray(image)[..., :1]).all()


def test_dark_deep_gray_stays_dark() -> None:
    night = np.full((4, 4), 300, dtype=np.uint16)
    assert np.asarray(core.read_image(encoded(Image.fromarray(night)))).max() == 1


@pytest.mark.parametrize(("top", "dtype"), [(1.0, np.float32), (65535, np.int32), (255, np.int32)])
def test_other_deep_pixels_keep_their_range(top: float, dtype: type) -> None:
    ramp = (np.linspace(0, 1, 16).reshape(4, 4) * top).astype(dtype)
    found = np.asarray(core.read_image(encoded(Image.fromarray(ramp), "TIFF")))[..., 0]
    assert (found.min(), found.max()) == (0, 255)
    assert (np.diff(found.ravel().astype(int)) > 0).all()


def test_transparency_is_laid_on_white() -> None:
    values = np.zeros((2, 3, 4), dtype=np.uint8)
    values[..., 0] = 200
    values[0, 1, 3], values[1, 2, 3] = 255, 128
    found = np.asarray(core.read_image(encoded(Image.fromarray(values, "RGBA")))).astype(int)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == [200, 0, 0]
    assert np.abs(found[1, 2] - [227, 127, 127]).max() <= 1


def test_transparent_entry_of_a_palette_is_laid_on_white() -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    found = np.asarray(core.read_image(encoded(image, transparency=0)))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == [200, 100, 50]


def test_gray_with_alpha_and_two_colors() -> None:
    gray = Image.merge("LA", [Image.new("L", (3, 2), 40), Image.new("L", (3, 2), 0)])
    assert (np.asarray(core.read_image(encoded(gray))) == 255).all()
    assert (np.asarray(core.read_image(encoded(Image.new("1", (3, 2), 1)))) == 255).all()


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, "ab/cd"),
        (2, "ba/dc"),
        (3, "dc/ba"),
        (4, "cd/ab"),
        (5, "ac/bd"),
        (6, "ca/db"),
        (7, "db/ca"),
        (8, "bd/ac"),
    ],
)
def test_rotation_by_exif(orientation: int, expected: str) -> None:
    gray = {"a": 0, "b": 80, "c": 160, "d": 240}
    stored = np.array([[gray["a"], gray["b"]], [gray["c"], gray["d"]]], dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = core.read_image(encoded(Image.fromarray(stored).convert("RGB"), exif=exif))
    wanted = [[gray[letter] for letter in row] for row in expected.split("/")]
    assert np.asarray(image)[..., 0].tolist() == wanted
    assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue", "green")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    found = np.asarray(core.read_image(content)).reshape(-1, 3)
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 3


def test_one_pixel_and_slivers() -> None:
    for size, kept in [((1, 1), (1, 1)), ((1, 4000), (1, MAX_SIDE)), ((4000, 1), (MAX_SIDE, 1))]:
        image = core.read_image(encoded(Image.new("RGB", size, (9, 8, 7))))
        assert (image.mode, image.size) == ("RGB", kept)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC photograph"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0heic", "a HEIF photograph"),
        (b"\0\0\0\x20ftypavif\0\0\0\0avif", "an AVIF picture"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b'<?xml version="1.0"?>\n<SVG xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"\0\0\0\x18ftypisom", "not a picture this page can read"),
    ],
)
def test_a_file_of_another_kind_is_named_whatever_it_is_called(data: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=f"^photo.jpg is {kind}"):
        core.read_image(data + bytes(40), "photo.jpg")
