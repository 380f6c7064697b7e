"""Functions on maps against slow versions of themselves, on maps that hypothesis thinks of."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from core import heatmaps

Map = npt.NDArray[np.float32]
GRIDS = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)
VALUES = st.floats(-1000, 1000, width=32)


def maps(values: st.SearchStrategy[float] = VALUES) -> st.SearchStrategy[Map]:
    """Small maps, now and then with ties."""
    few = st.integers(-3, 3).map(float)
    return GRIDS.flatmap(
        lambda shape: st.one_of(
            arrays(np.float32, shape, elements=values), arrays(np.float32, shape, elements=few)
        )
    )


def positive() -> st.SearchStrategy[Map]:
    """Small maps without negative values."""
    return maps().map(np.abs)


# -- resize ---------------------------------------------------------------------------------------


def bilinear(values: Map, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Enlarge with pixel centers at halves, edges repeated."""
    rows, cols = values.shape
    result = np.empty(size)
    for y in range(size[0]):
        for x in range(size[1]):
            v = min(max((y + 0.5) * rows / size[0] - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) * cols / size[1] - 0.5, 0), cols - 1)
            top, left = int(v), int(u)
            low, right = min(top + 1, rows - 1), min(left + 1, cols - 1)
            a, b = v - top, u - left
            result[y, x] = (
                values[top, left] * (1 - a) * (1 - b)
                + values[top, right] * (1 - a) * b
                + values[low, left] * a * (1 - b)
                + values[low, right] * a * b
            )
    return result


@given(maps(st.floats(-10, 10, width=32)), st.integers(1, 4), st.integers(1, 4))
def test_resize_is_bilinear(values: Map, up: int, across: int) -> None:
    size = (values.shape[0] * up, values.shape[1] * across)
    found = heatmaps.resize(values, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, bilinear(values, size), rtol=1e-4, atol=1e-4)


def test_resize_keeps_rows_and_columns_apart() -> None:
    found = heatmaps.resize(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]), (6, 8))
    assert found.shape == (6, 8)
    assert (found[0, 0], found[0, -1], found[-1, 0], found[-1, -1]) == (0, 1, 4, 5)


def test_resize_repeats_a_single_row_or_column() -> None:
    assert (heatmaps.resize([[1.0, 2.0]], (3, 2)) == [[1, 2], [1, 2], [1, 2]]).all()
    assert (heatmaps.resize([[1.0], [2.0]], (2, 3)) == [[1, 1, 1], [2, 2, 2]]).all()
    assert (heatmaps.resize([[7.0]], (2, 3)) == 7).all()


# -- scales ---------------------------------------------------------------------------------------


def percentile(values: Map, share: float) -> float:
    """Linear interpolation between the sorted values."""
    ordered = sorted(float(v) for v in values.ravel())
    place = share / 100 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@given(maps(), st.floats(0, 100))
def test_limits(values: Map, share: float) -> None:
    low, high = heatmaps.limits(values, share)
    assert low == min(values.ravel())
    assert high == pytest.approx(percentile(values, share), rel=1e-4, abs=1e-2)
    assert heatmaps.limits(values) == (values.min(), values.max())


@given(maps())
def test_normalized_map_spans_zero_to_one_or_is_zero(values: Map) -> None:
    found = heatmaps.normalize(values)
    assert found.dtype == np.float32
    if values.max() > values.min():
        assert (found.min(), found.max()) == (0.0, 1.0)
        order = np.argsort(values, axis=None, kind="stable")
        assert (np.diff(found.ravel()[order]) >= 0).all()
    else:
        assert not found.any()


@given(maps(), VALUES, VALUES)
@example(np.full((1, 1), 4.0, dtype=np.float32), -1.1754943508222875e-38, 0.0)
def test_normalize_to_given_limits(values: Map, low: float, high: float) -> None:
    found = heatmaps.normalize(values, low, high)
    for place in np.ndindex(*values.shape):
        wanted = 0.0
        if high > low:
            wanted = min(max((float(values[place]) - low) / (high - low), 0.0), 1.0)
        assert found[place] == pytest.approx(wanted, abs=2e-2 if high - low < 1e-2 else 1e-3)


def test_one_bright_patch_does_not_blacken_the_rest() -> None:
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    values[0, 0] = 1e6
    assert heatmaps.normalize(values)[9, 9] < 1e-3
    low, high = heatmaps.limits(values, 98)
    assert heatmaps.normalize(values, low, high)[9, 8] > 0.95


# -- comparing two maps ---------------------------------------------------------------------------


@given(maps(), st.floats(0.05, 1))
def test_top_area(values: Map, share: float) -> None:
    marked = heatmaps.top_area(values, share)
    assert marked.dtype == np.bool_
    assert marked.sum() == max(1, round(values.size * share))
    if not marked.all():
        assert values[marked].min() >= values[~marked].max()


def test_ties_of_the_top_area_go_by_position() -> None:
    assert heatmaps.top_area(np.zeros((2, 5)), 0.3).tolist() == [
        [True] * 3 + [False] * 2,
        [False] * 5,
    ]


@given(maps(), st.floats(0.05, 1), st.randoms(use_true_random=False))
def test_overlap(values: Map, share: float, random: Any) -> None:
    flat = list(values.ravel())
    random.shuffle(flat)
    other = np.array(flat, dtype=np.float32).reshape(values.shape)
    first = {tuple(p) for p in np.argwhere(heatmaps.top_area(values, share))}
    second = {tuple(p) for p in np.argwhere(heatmaps.top_area(other, share))}
    wanted = len(first & second) / len(first | second)
    assert heatmaps.overlap(values, other, share) == pytest.approx(wanted)
    assert heatmaps.overlap(values, values, share) == 1.0
    assert heatmaps.overlap(other, values, share) == pytest.approx(wanted)


def test_overlap_of_disjoint_maps_is_zero() -> None:
    values = np.arange(25.0).reshape(5, 5)
    assert heatmaps.overlap(values, -values) == 0.0


def spearman(first: Map, second: Map) -> float:
    """Pearson's correlation of mean ranks, by counting."""

    def ranks(values: Map) -> list[float]:
        flat = [float(v) for v in values.ravel()]
        return [sum(w < v for w in flat) + (sum(w == v for w in flat) + 1) / 2 for v in flat]

    a, b = ranks(first), ranks(second)
    mean = sum(a) / len(a)
    top = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    spread = sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)
    return top / math.sqrt(spread) if spread > 0 else math.nan


@given(st.data())
def test_rank_correlation(data: st.DataObject) -> None:
    first = data.draw(maps())
    second = data.draw(arrays(np.float32, first.shape, elements=st.integers(-4, 4).map(float)))
    found = heatmaps.rank_correlation(first, second)
    assert found == pytest.approx(spearman(first, second), abs=1e-9, nan_ok=True)


@given(maps(st.integers(-40, 40).map(lambda number: number / 8)))
def test_rank_correlation_sees_only_the_order(values: Map) -> None:
    assume(values.max() > values.min())
    assert heatmaps.rank_correlation(values, values) == pytest.approx(1.0)
    assert heatmaps.rank_correlation(values, -values) == pytest.approx(-1.0)
    assert heatmaps.rank_correlation(values, np.exp(np.float64(values))) == pytest.approx(1.0)


def test_rank_correlation_of_a_constant_map_is_unknown() -> None:
    assert math.isnan(heatmaps.rank_correlation(np.ones((2, 3)), np.arange(6.0).reshape(2, 3)))


@given(maps())
def test_share_on_the_right_half(values: Map) -> None:
    right = total = 0.0
    cols = values.shape[1]
    for (_, col), value in np.ndenumerate(values):
        gain = max(float(value), 0.0)
        total += gain
        right += gain * (0.5 if 2 * col + 1 == cols else float(2 * col + 1 > cols))
    wanted = right / total if total > 0 else math.nan
    assert heatmaps.share_right(values) == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    mirrored = heatmaps.share_right(values[:, ::-1])
    assert mirrored == pytest.approx(1 - wanted, abs=1e-6, nan_ok=True)


# -- masks ----------------------------------------------------------------------------------------


@given(st.data(), st.floats(0.01, 1.0))
def test_mass_mask_is_the_smallest_set(data: st.DataObject, mass: float) -> None:
    shape = data.draw(st.sampled_from([(1, 1), (1, 5), (2, 3), (3, 2), (2, 4)]))
    weights = data.draw(arrays(np.float64, shape, elements=st.floats(0, 1).map(lambda v: v**3)))
    assume(weights.sum() > 1e-3)
    mask = heatmaps.mass_mask(weights, mass)
    flat = weights.ravel() / weights.sum()
    assert flat[mask.ravel()].sum() >= mass - 1e-9
    smaller = int(mask.sum()) - 1
    best = max((flat[list(c)].sum() for c in combinations(range(flat.size), smaller)), default=0)
    assert best < mass + 1e-9
    assert mask.all() or weights[mask].min() >= weights[~mask].max()


def test_mass_mask_of_several_maps_at_once() -> None:
    stack = np.random.default_rng(0).random((2, 3, 4, 5))
    together = heatmaps.mass_mask(stack, 0.6)
    assert together.shape == stack.shape
    for place in np.ndindex(2, 3):
        assert (together[place] == heatmaps.mass_mask(stack[place], 0.6)).all()


def test_mass_mask_of_nothing_is_empty() -> None:
    assert not heatmaps.mass_mask(np.zeros((2, 3))).any()
    assert heatmaps.mass_mask(np.eye(2), 1.0).tolist() == [[True, False], [False, True]]


def around(values: Map, row: int, col: int) -> list[tuple[int, int]]:
    """Places of the neighbors within the map."""
    return [
        (r, c)
        for r in range(row - 1, row + 2)
        for c in range(col - 1, col + 2)
        if (r, c) != (row, col) and 0 <= r < values.shape[0] and 0 <= c < values.shape[1]
    ]


def groups(shape: tuple[int, ...], largest: int) -> list[frozenset[tuple[int, int]]]:
    """All sets of up to so many places that touch each other, by side or corner."""
    empty = np.zeros(shape, np.float32)
    found = {frozenset([place]) for place in np.ndindex(*shape)}
    every = set(found)
    for _ in range(largest - 1):
        found = {one | {other} for one in found for place in one for other in around(empty, *place)}
        every |= found
    return [one for one in every if len(one) <= largest]


@given(positive(), st.floats(0.5, 12))
def test_spikes_are_far_out_and_few(values: Map, deviations: float) -> None:
    exact = np.float64(values)
    middle = float(np.median(exact))
    limit = middle + deviations * 1.4826 * float(np.median(np.abs(exact - middle)))
    assume((np.abs(exact - limit) > 1e-9).all() or (exact == limit).any())
    wanted = np.zeros(exact.shape, bool)
    for group in groups(exact.shape, 3):
        ring = {other for place in group for other in around(values, *place)} - group
        lowest = min(float(exact[place]) for place in group)
        times = 1 + len(group)
        if lowest > limit and all(lowest > times * float(exact[place]) for place in ring):
            for place in group:
                wanted[place] = True
    np.testing.assert_array_equal(heatmaps.spikes(values, deviations), wanted)


PLACES = {
    "one": [(2, 5)],
    "side by side": [(2, 5), (2, 6)],
    "one above the other at the edge": [(0, 0), (1, 0)],
    "corner to corner": [(3, 3), (4, 4)],
    "three in a bend": [(3, 3), (3, 4), (4, 4)],
    "three in the corner": [(7, 7), (6, 7), (7, 6)],
    "one and two": [(0, 0), (5, 5), (5, 6)],
}


@pytest.mark.parametrize("name", PLACES)
def test_spikes_of_a_plain_map_and_their_filling(name: str) -> None:
    plain = np.random.default_rng(0).random((8, 8)).astype(np.float32) + 1
    assert not heatmaps.spikes(plain).any()
    values = plain.copy()
    for place, height in zip(PLACES[name], (40.0, 39.0, 16.0), strict=False):
        values[place] = height  # one may be less than half of the other
    found = heatmaps.spikes(values)
    assert sorted(map(tuple, np.argwhere(found).tolist())) == sorted(PLACES[name])
    filled = heatmaps.fill(values, found)
    assert filled.max() < 2.1, "what is filled is as what is around, not as the spike"
    assert np.array_equal(filled[~found], plain[~found])


@pytest.mark.parametrize("shape", [(2, 2), (1, 4), (3, 3)])
def test_an_object_is_no_spike(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random((8, 8)) + 1
    values[2 : 2 + shape[0], 2 : 2 + shape[1]] += 40
    assert not heatmaps.spikes(values).any()
    values = np.ones((8, 8))
    values[3, 3:5], values[3, 5:] = 25, 10  # a pair at the end of something larger
    assert not heatmaps.spikes(values).any()
    # Nor what falls off by less than half from patch to patch.
    smooth = 40 * np.exp(-np.hypot(*(np.mgrid[:16, :16] - 7.3)) / 2) + 0.01
    assert not heatmaps.spikes(smooth).any()


@given(st.data())
def test_fill_takes_the_median_of_what_is_around(data: st.DataObject) -> None:
    values = data.draw(maps())
    mask = data.draw(arrays(np.bool_, values.shape))
    found = heatmaps.fill(values, mask)
    for (row, col), value in np.ndenumerate(values):
        near = [float(values[place]) for place in around(values, row, col) if not mask[place]]
        if not mask[row, col]:
            assert found[row, col] == value
        else:
            wanted = np.median(near) if near else np.median(values)
            assert found[row, col] == pytest.approx(float(wanted), rel=1e-5, abs=1e-4)
