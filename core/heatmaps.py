"""Display of relevance, and measures that compare two maps. Pure functions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Map = npt.NDArray[np.float32]


def resize(relevance: npt.ArrayLike, size: tuple[int, int]) -> Map:
    """Bilinear resize of a map.

    Parameters
    ----------
    relevance : (rows, cols)
    size
        (height, width) of the result in pixels. A single row or column is repeated.
    """
    values = np.asarray(relevance, dtype=np.float32)
    picture = Image.fromarray(values)
    resized = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def limits(relevance: npt.ArrayLike, percentile: float = 100.0) -> tuple[float, float]:
    """Range of values that a color scale shows: from the minimum to the given percentile.

    With ``percentile`` 100 the range ends at the maximum; below that the brightest patches share
    the end color, so that a single artifact patch does not darken the rest of the map.
    """
    values = np.asarray(relevance, dtype=np.float32)
    return float(values.min()), float(np.percentile(values, percentile))


def normalize(
    relevance: npt.ArrayLike,
    low: float | None = None,
    high: float | None = None,
) -> Map:
    """Scale linearly so that ``low`` becomes 0 and ``high`` 1, clipping outside.

    Defaults are the map's own minimum and maximum; a constant map becomes all zero.
    """
    values = np.asarray(relevance, dtype=np.float32)
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    if not high > low:
        return np.zeros_like(values)
    # In double precision, or a very narrow range overflows.
    scaled: Map = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    return scaled


def top_area(relevance: npt.ArrayLike, share: float = 0.2) -> npt.NDArray[np.bool_]:
    """Mark the ``share`` of positions with the highest values (ties broken by position)."""
    values = np.asarray(relevance, dtype=np.float32)
    count = max(1, round(values.size * share))
    order = np.argsort(-values, axis=None, kind="stable")
    marked = np.zeros(values.size, dtype=np.bool_)
    marked[order[:count]] = True
    return marked.reshape(values.shape)


def overlap(first: npt.ArrayLike, second: npt.ArrayLike, share: float = 0.2) -> float:
    """Intersection over union of the ``top_area`` of two maps of the same shape, in [0, 1]."""
    a, b = top_area(first, share), top_area(second, share)
    return float((a & b).sum() / (a | b).sum())


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's rank correlation of two maps of the same shape, in [-1, 1].

    Ties share their mean rank. ``nan`` where a map is constant.
    """
    a, b = _ranks(first), _ranks(second)
    if a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Rank of every value, in reading order; ties share their mean rank."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    _, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
    return ranks


def agreement(
    first: npt.ArrayLike, second: npt.ArrayLike, share: float = 0.2
) -> tuple[float, float]:
    """`rank_correlation` and `overlap` of two maps of one view, each on its own grid.

    Both are resized to the finer of the two grids before they are compared.
    """
    maps = [np.asarray(values, dtype=np.float32) for values in (first, second)]
    rows, cols = (max(values.shape[axis] for values in maps) for axis in (0, 1))
    a, b = (resize(values, (rows, cols)) for values in maps)
    return rank_correlation(a, b), overlap(a, b, share)


def share_right(relevance: npt.ArrayLike) -> float:
    """Share of the positive relevance that lies on the right half, in [0, 1]; ``nan`` if none.

    A middle column counts half to each side.
    """
    values = np.maximum(np.asarray(relevance, dtype=np.float64), 0.0)
    columns = values.sum(axis=0)
    center = (np.arange(columns.size) + 0.5) / columns.size - 0.5
    weight = np.where(np.isclose(center, 0.0), 0.5, (center > 0).astype(np.float64))
    total = columns.sum()
    return float((columns * weight).sum() / total) if total > 0 else float("nan")


def quarter_shares(relevance: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Shares of the positive relevance on the four quarters, row by row: (4,), of sum 1.

    A middle row or column counts half to each side; ``nan`` where nothing is positive.
    """
    values = np.maximum(np.asarray(relevance, dtype=np.float64), 0.0)
    # How much of each row lies in the upper half, and of each column in the left one.
    upper, left = (np.clip(n / 2 - np.arange(n), 0, 1) for n in values.shape)
    halves = np.stack([upper, 1 - upper]) @ values @ np.stack([left, 1 - left]).T
    total = halves.sum()
    return halves.ravel() / total if total > 0 else np.full(4, np.nan)


def mass_mask(weights: npt.ArrayLike, mass: float = 0.6) -> npt.NDArray[np.bool_]:
    """Smallest set of positions whose renormalized weights reach ``mass``, per map.

    Parameters
    ----------
    weights : (..., rows, cols)
        Not negative.
    mass
        In (0, 1]; 0.6 in the figures of Caron et al. 2021 (arXiv 2104.14294).

    Returns
    -------
    bool array of the same shape
    """
    values = np.asarray(weights, dtype=np.float64)
    flat = values.reshape(*values.shape[:-2], -1)
    order = np.argsort(-flat, axis=-1, kind="stable")
    ranked = np.take_along_axis(flat, order, axis=-1)
    total = ranked.sum(axis=-1, keepdims=True)
    before = (np.cumsum(ranked, axis=-1) - ranked) / np.where(total > 0, total, 1.0)
    # A position belongs to the set as long as those ranked before it have not reached the mass.
    chosen = (before < mass - 1e-12) & (ranked > 0)
    mask = np.zeros_like(flat, dtype=np.bool_)
    np.put_along_axis(mask, order, chosen, axis=-1)
    return mask.reshape(values.shape)


def density(relevance: npt.ArrayLike) -> Map:
    """Positive relevance in multiples of its mean: a uniform map is 1 everywhere.

    Makes maps in different units comparable; negative values become 0, and so does a map without
    any positive value.
    """
    values = np.maximum(np.asarray(relevance, dtype=np.float32), 0.0)
    mean = float(values.mean())
    relative: Map = (values / (mean or 1.0)).astype(np.float32)
    return relative


LARGEST_SPIKE = 3
"""Largest number of adjacent patches (by side or corner) in a spike."""


def spikes(values: npt.ArrayLike, deviations: float = 10.0) -> npt.NDArray[np.bool_]:
    """Isolated positions far above the rest, such as the artifact patches of some transformers.

    Up to `LARGEST_SPIKE` positions that touch each other (eight neighbors) count if all of them lie
    more than ``deviations`` robust standard deviations (1.4826 times the median absolute deviation)
    above the median *and* above a multiple of each position around them: twice for one position,
    three times for two, four times for three. A salient object is larger, or does not end
    as sharply: pairs of patches on lamps, rims and a tripod in the samples reach 2.1 to 2.9 times
    their neighbors.

    Parameters
    ----------
    values : (rows, cols)
        Not negative.
    """
    grid = np.asarray(values, dtype=np.float64)
    median = np.median(grid)
    spread = 1.4826 * np.median(np.abs(grid - median))
    far = grid > median + deviations * spread
    found = np.zeros(grid.shape, dtype=np.bool_)
    # A group above all its neighbors contains a local maximum, and is reached from
    # there by repeatedly adding the highest neighbor.
    for row, col in np.argwhere(far & (grid >= _neighbors(grid, -np.inf).max(axis=0))):
        group = {(int(row), int(col))}
        for _ in range(LARGEST_SPIKE):
            around = _around(group, grid.shape)
            lowest = min(grid[place] for place in group)
            highest = max((grid[place] for place in around), default=-np.inf)
            if lowest > (1 + len(group)) * highest:
                for place in group:
                    found[place] = True
            follower = max(around, key=lambda place: float(grid[place]), default=None)
            if follower is None or not far[follower]:
                break
            group.add(follower)
    return found


def _around(group: set[tuple[int, int]], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Positions of the grid that touch a group, in reading order."""
    near = {(r + i, c + j) for r, c in group for i in (-1, 0, 1) for j in (-1, 0, 1)} - group
    rows, cols = shape
    return sorted((r, c) for r, c in near if 0 <= r < rows and 0 <= c < cols)


def fill(relevance: npt.ArrayLike, mask: npt.NDArray[np.bool_]) -> Map:
    """Replace masked positions by the median of their unmasked neighbors (of the map if none)."""
    values = np.asarray(relevance, dtype=np.float32)
    around = _neighbors(np.where(mask, np.nan, values), np.nan)
    filled = values.copy()
    for row, col in np.argwhere(mask):
        near = around[:, row, col]
        near = near[~np.isnan(near)]
        filled[row, col] = np.median(near) if near.size else np.median(values)
    return filled


def _neighbors(grid: npt.NDArray[np.floating], beyond: float) -> npt.NDArray[np.floating]:
    """The eight neighbors of every position: (8, rows, cols), ``beyond`` outside the grid."""
    rows, cols = grid.shape
    padded = np.pad(grid, 1, constant_values=beyond)
    return np.stack(
        [
            padded[1 + i : 1 + i + rows, 1 + j : 1 + j + cols]
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if (i, j) != (0, 0)
        ]
    )
