"""What replaces parts of a picture, where exactly, and how a long computation is watched."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image

import core
from core import progress
from core.errors import ParameterError, Stopped
from core.fills import BLUR, FILLS, borders, filled, on_pixels
from tests.support.builders import PATCH, built, close, picture


@pytest.mark.parametrize("fill", FILLS)
def test_a_fill_is_a_picture_of_the_same_size(fill: str) -> None:
    view = picture(4, 6)
    found = filled(view, fill)
    assert (found.mode, found.size) == ("RGB", view.size)
    assert found.tobytes() == filled(view, fill).tobytes()
    assert found.tobytes() != view.tobytes()


def test_fills_are_what_they_are_called() -> None:
    view = picture(10, 10)
    colors = np.asarray(view, dtype=np.float64)
    assert not np.asarray(filled(view, "black")).any()
    mean = np.asarray(filled(view, "mean"))
    assert (mean == np.round(colors.mean(axis=(0, 1)))).all()
    noise = np.asarray(filled(view, "noise"), dtype=np.float64)
    assert np.abs(noise.mean(axis=(0, 1)) - colors.mean(axis=(0, 1))).max() < 10
    assert filled(view, "noise", 1).tobytes() != filled(view, "noise").tobytes()
    with pytest.raises(ParameterError, match="'gray' is unknown; choose one of blur, mean"):
        filled(view, "gray")


def test_blur_is_gaussian() -> None:
    """An edge becomes the normal distribution of its standard deviation."""
    values = np.zeros((160, 320, 3), dtype=np.uint8)
    values[:, 160:] = 255
    row = np.asarray(filled(Image.fromarray(values), "blur"))[80, :, 0] / 255
    distance = (torch.arange(320) + 0.5 - 160) / (BLUR * 160)
    wanted = torch.special.ndtr(distance.double()).numpy()
    assert np.abs(row - wanted).max() < 0.02


def test_cells_reach_their_borders() -> None:
    cells = torch.arange(6).reshape(2, 3)
    wanted = np.kron(cells.numpy(), np.ones((4, 5), dtype=int))
    np.testing.assert_array_equal(on_pixels(cells, (8, 15)), wanted)
    stacked = on_pixels(cells.expand(2, 7, 2, 3) > 2, (8, 15))
    assert stacked.shape == (2, 7, 8, 15)
    assert stacked.dtype == torch.bool
    np.testing.assert_array_equal(stacked[1, 3], wanted > 2)


@pytest.mark.parametrize(("length", "parts"), [(10, 3), (10, 4), (64, 5), (7, 7), (9, 1)])
def test_uneven_cells_are_rounded_evenly(length: int, parts: int) -> None:
    edges = np.array(borders(length, parts))
    assert (edges[0], edges[-1], len(edges)) == (0, length, parts + 1)
    assert np.abs(edges - np.arange(parts + 1) * length / parts).max() <= 0.5
    assert np.diff(edges).min() >= 1
    found = on_pixels(torch.arange(parts)[None], (1, length))[0]
    np.testing.assert_array_equal(found, np.repeat(np.arange(parts), np.diff(edges)))


@pytest.mark.parametrize("parts", [0, 11])
def test_more_cells_than_pixels_are_refused(parts: int) -> None:
    with pytest.raises(ParameterError, match=f"{parts} cells .* 10 pixels; choose 1 to 10"):
        borders(10, parts)


@pytest.mark.parametrize("name", ["timm", "plain"])
def test_a_removed_tile_is_gone_and_no_other_is_touched(name: str) -> None:
    model = built(name).model
    tiles = np.random.default_rng(0).integers(1, 256, (3, 4, 3)).astype(np.uint8)
    view = Image.fromarray(tiles).resize((4 * PATCH, 3 * PATCH), Image.Resampling.NEAREST)
    removed = torch.zeros(3, 4, dtype=torch.bool)
    removed[1, 2] = True
    pixels, black = (model.normalize(one) for one in (view, filled(view, "black")))
    found = torch.where(on_pixels(removed, (3 * PATCH, 4 * PATCH)), black, pixels)
    tiles[1, 2] = 0
    wanted = Image.fromarray(tiles).resize(view.size, Image.Resampling.NEAREST)
    close(found, model.normalize(wanted), 0)


# -- progress -------------------------------------------------------------------------------------


def test_steps_are_told_and_can_be_stopped() -> None:
    told: list[tuple[int, int]] = []
    with core.watching(lambda *step: told.append(step)):
        assert list(progress.steps("abc")) == ["a", "b", "c"]
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert list(progress.steps("ab")) == ["a", "b"]
    assert len(told) == 4
    seen: list[str] = []
    with (
        pytest.raises(Stopped, match="after 2 of 3 steps"),
        core.watching(lambda done, total: done < 2),
    ):
        seen.extend(progress.steps("abc"))
    with core.watching(lambda done, total: done < total):  # when all is done, nothing is left
        assert len(list(progress.steps("abc"))) == 3


def test_watching_is_of_one_thread_and_may_be_nested() -> None:
    outer: list[int] = []
    inner: list[int] = []
    with core.watching(lambda done, total: outer.append(done)):
        other = threading.Thread(target=lambda: list(progress.steps("abc")))
        other.start()
        other.join()
        with core.watching(lambda done, total: inner.append(done)):
            list(progress.steps("a"))
        with core.watching(None):
            list(progress.steps("abcd"))
        assert outer == []
        list(progress.steps("ab"))
    assert (outer, inner) == ([0, 1, 2], [0, 1])
