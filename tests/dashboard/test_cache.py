"""What is remembered, and what is found out only once."""

from __future__ import annotations

import io

import pytest
from PIL import Image

import core
from core import ImageError
from dashboard import cache


def test_a_refused_file_is_decoded_once_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(data: bytes, name: str) -> Image.Image:
        asked.append(data)
        raise ImageError(f"{name} is damaged.")

    monkeypatch.setattr(core, "read_strange_image", refuse)
    for name in ("one.png", "two.png", "one.png"):
        with pytest.raises(ImageError, match=rf"^{name} is damaged\.$"):
            cache.from_bytes(b"the same bytes", name)
    assert len(asked) == 1
    with pytest.raises(ImageError):
        cache.from_bytes(b"other bytes", "one.png")
    assert len(asked) == 2


def test_a_file_of_the_operator_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes, name: str) -> Image.Image:
        raise AssertionError

    monkeypatch.setattr(core, "read_strange_image", fail)
    buffer = io.BytesIO()
    Image.new("RGB", (5, 3)).save(buffer, "PNG")
    assert cache.from_bytes(buffer.getvalue(), "x", trusted=True).image.size == (5, 3)
