"""Still pictures: colors and overlays to the value, text that stays in its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core import heatmaps, rendering
from core.rendering import Bar, Tile

SCALE = [(0.0, (0, 0, 0)), (0.25, (200, 0, 0)), (1.0, (255, 255, 100))]


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_colors_lie_on_the_lines_between_the_steps() -> None:
    values = np.array([[0.0, 0.25, 1.0], [0.125, 0.625, -3.0]])
    wanted = [
        [(0, 0, 0), (200, 0, 0), (255, 255, 100)],
        [(100, 0, 0), (228, 128, 50), (0, 0, 0)],
    ]
    assert np.abs(rendering.colorize(values, SCALE).astype(int) - wanted).max() <= 1


def test_an_overlay_is_a_weighted_mean_of_picture_and_colors() -> None:
    picture = noise(12, 18)
    relevance = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    bar = Bar(SCALE, -1.0, 2.0, "")
    found = np.asarray(rendering.overlay(picture, relevance, bar, opacity=0.4), dtype=float)
    heat = heatmaps.resize(heatmaps.normalize(relevance, -1.0, 2.0), (12, 18))
    colors = rendering.colorize(heat, SCALE).astype(float)
    assert np.abs(found - (0.4 * colors + 0.6 * np.asarray(picture))).max() <= 1.5


def test_a_scale_with_opacities_covers_the_picture_by_them() -> None:
    picture = noise(8, 8)
    scale = [(0.0, (10, 20, 30, 0.0)), (1.0, (10, 20, 30, 1.0))]
    relevance = np.array([[0.0, 1.0], [0.5, 2.0]], dtype=np.float32)
    bar = Bar(scale, 0.0, 1.0, "")
    found = np.asarray(rendering.overlay(picture, relevance, bar, opacity=0.5, smooth=False), float)
    given = np.asarray(picture, float)
    assert np.array_equal(found[:4, :4], given[:4, :4])
    assert np.abs(found[:4, 4:] - (given[:4, 4:] + [10, 20, 30]) / 2).max() <= 1
    assert np.abs(found[4:, :4] - (0.75 * given[4:, :4] + 0.25 * np.array([10, 20, 30]))).max() <= 1
    assert np.array_equal(rendering.coverage([[-1, 0.25, 2]], scale), [[0, 0.25, 1]])
    assert np.array_equal(rendering.coverage([[0, 1]], SCALE), [[1, 1]])


def test_blocks_are_blocks_and_holes_show_the_picture() -> None:
    picture = noise(8, 8)
    relevance = np.array([[0.0, 1.0], [np.nan, 0.25]], dtype=np.float32)
    bar = Bar(SCALE, 0.0, 1.0, "")
    found = np.asarray(rendering.overlay(picture, relevance, bar, opacity=1.0, smooth=False))
    assert (found[:4, 4:] == (255, 255, 100)).all()
    assert (found[4:, 4:] == (200, 0, 0)).all()
    assert (found[4:, :4] == np.asarray(picture)[4:, :4]).all()


@given(st.text(max_size=200), st.integers(30, 400))
def test_lines_fit_and_lose_no_letter(text: str, width: int) -> None:
    lines = rendering.lines_of(text, 14, width)
    used = rendering.font(14)
    assert all(len(line) <= 1 or used.getlength(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    few = rendering.lines_of(text, 14, width, 2)
    assert len(few) <= 2


def test_a_sheet_shows_tiles_bars_and_notes() -> None:
    image = Image.new("RGB", (100, 100), (10, 200, 30))
    tiles = [Tile("A", "of it", image, Bar(SCALE, 0.0, 1.0, "unit")), Tile("B", "", image)]
    plain = rendering.sheet("Title", "line", [tiles])
    pixels = np.asarray(plain)
    green = (pixels == (10, 200, 30)).all(axis=-1)
    width = rendering.LARGEST
    assert green.sum() == 2 * width * width
    assert (pixels == (255, 255, 100)).all(axis=-1).any(), "the end of the color bar"
    more = rendering.sheet("Title", "line", [tiles], ["A note. " * 60], ["https://example.org"])
    assert more.width == plain.width
    assert more.height > plain.height + 60


@pytest.mark.parametrize("text", ["", "a" * 5000, "\x00\x1b[31m\n\t", "漢字 ♥ 𝕏", "‮x", "<b>"])
def test_any_text_can_be_written(text: str) -> None:
    image = noise(10, 10)
    made = rendering.sheet(text, text, [[Tile(text, text, image, Bar(SCALE, 0, 1, text))]], [text])
    assert made.mode == "RGB"


def test_a_sheet_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "MOST_PIXELS", 2_000_000)
    tall = [[Tile("", "", Image.new("RGB", (10, 100)))]] * 4
    made = rendering.sheet("Tall", "", tall)
    assert made.width == 600 or made.width * made.height <= 2_000_000


def test_without_fonts_of_the_system_pillow_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "FONTS", ("no such font.ttf",))
    monkeypatch.setattr(rendering, "BOLD", ())
    rendering.font.cache_clear()
    try:
        made = rendering.sheet("5 × 3 – “quoted” …", "", [[Tile("é", "·", noise(5, 5))]])
        assert made.size[0] > 0
    finally:
        rendering.font.cache_clear()
