"""Principal components are those of an exact decomposition, and few pictures cost little."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.representations import by_contrast, cosine_map, cosine_matrix, principal_components
from core.sweep import projection

Matrix = npt.NDArray[np.float64]


def apart(first: Matrix, second: Matrix) -> float:
    """Sine of the largest angle between the spaces that two sets of columns span."""
    return float(np.linalg.norm(first - second @ (second.T @ first), ord=2))


@pytest.mark.parametrize("shape", [(400, 12, 15), (40, 20, 20), (400, 20, 20)])
def test_principal_components_are_those_of_a_whole_decomposition(
    shape: tuple[int, int, int],
) -> None:
    generator = np.random.default_rng(3)
    mixed = generator.standard_normal((shape[0], 8)) @ (
        0.7 ** np.arange(8)[:, None] * generator.standard_normal((8, shape[1] * shape[2]))
    )
    features = mixed + 0.01 * generator.standard_normal(mixed.shape)
    components, shares = principal_components(features.reshape(shape).astype(np.float32))
    centered = features.T - features.T.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(
        shares, (lengths**2 / (lengths**2).sum())[:3], atol=1e-6, err_msg="shares"
    )
    flat = components.reshape(3, -1).astype(np.float64)
    for one, wanted in zip(flat, (left * lengths).T, strict=False):
        assert abs(one @ wanted) / np.linalg.norm(one) / np.linalg.norm(wanted) > 1 - 1e-8
        assert one[np.abs(one).argmax()] > 0


# -- the projection of a sweep --------------------------------------------------------------------


def pieces_of(rows: Matrix, pieces: int) -> list[Matrix]:
    """Embeddings as a sweep keeps them, in several parts."""
    return [part.astype(np.float16).astype(np.float64) for part in np.array_split(rows, pieces)]


@pytest.mark.parametrize("count", [1, 2, 9, 63, 64, 65, 200])
def test_axes_of_few_and_of_many_pictures(count: int) -> None:
    """Below as many pictures as channels, at it, and beyond."""
    generator = np.random.default_rng(count)
    rows = generator.standard_normal((count, 64)) * 0.8 ** np.arange(64)
    mean, axes = projection.principal_axes(pieces_of(rows, min(3, count)))
    stored = rows.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(mean, stored.mean(axis=0), atol=1e-12)
    _, _, whole = np.linalg.svd(stored - stored.mean(axis=0), full_matrices=False)
    there = min(2, count - 1)
    assert apart(axes[:there].T, whole[:there].T) < 1e-4
    assert not axes[there:].any()
    for axis in axes[:there]:
        assert axis[np.abs(axis).argmax()] > 0


def test_few_pictures_need_no_matrix_of_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = pieces_of(np.random.default_rng(0).standard_normal((9, 1280)), 2)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("all eigenvectors were computed")

    monkeypatch.setattr(np.linalg, "eigh", refuse)
    _, axes = projection.principal_axes(pieces)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-9)


def test_contrast_is_over_most_places() -> None:
    generator = np.random.default_rng(1)
    flat = np.full((12, 12), 90.0)
    outlier = np.zeros((12, 12))
    outlier[3, 4] = 500.0
    halves = np.where(np.arange(12) < 6, -1.0, 1.0) * np.ones((12, 1))
    noise = 0.1 * generator.standard_normal((12, 12))
    order = by_contrast(np.stack([flat, outlier, noise, halves]).astype(np.float32))
    assert order[:2].tolist() == [3, 2]


def test_the_cosine_matrix_has_the_map_of_each_place_in_its_rows() -> None:
    features = np.random.default_rng(2).standard_normal((5, 3, 4)).astype(np.float32)
    features[:, 1, 2] = 0.0
    matrix = cosine_matrix(features)
    assert matrix.shape == (12, 12)
    for place in range(12):
        expected = cosine_map(features, divmod(place, 4))
        np.testing.assert_allclose(matrix[place].reshape(3, 4), expected, atol=1e-6)
    assert not matrix[6].any(), "no direction, no similarity"
