"""Similarity of a network's features within a picture: cosine, and principal components."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


def cosine_map(features: npt.ArrayLike, place: tuple[int, int]) -> Float:
    """Cosine between the features of one place and those of every place.

    Parameters
    ----------
    features : (channels, rows, cols)
        As from `core.features`.
    place
        Row and column.

    Returns
    -------
    (rows, cols) float32
        In [-1, 1]; 1 at the place itself. A place whose features are all zero has cosine 0 with
        every place, itself included.
    """
    unit = _unit(features)
    cosines = np.tensordot(unit[:, place[0], place[1]], unit, axes=1)
    found: Float = np.clip(cosines, -1.0, 1.0).astype(np.float32)
    return found


def cosine_matrix(features: npt.ArrayLike) -> Float:
    """Cosines between the features of all places.

    Parameters
    ----------
    features : (channels, rows, cols)
        As from `core.features`.

    Returns
    -------
    (rows * cols, rows * cols) float32
        Each row, reshaped to (rows, cols), is the `cosine_map` of one place.
    """
    unit = _unit(features).reshape(np.shape(features)[0], -1)
    found: Float = np.clip(unit.T @ unit, -1.0, 1.0).astype(np.float32)
    return found


def _unit(features: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Features divided by their length at each place, where that is not zero."""
    values = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(values, axis=0)
    unit: npt.NDArray[np.float64] = values / np.where(lengths > 0, lengths, 1.0)
    return unit


def by_contrast(features: Float) -> npt.NDArray[np.intp]:
    """Channels of (channels, rows, cols), that with the most contrast over the places first.

    Contrast is the range between the 10th and the 90th percentile over the places: a channel that
    is large everywhere, or at a few outlier patches only, has little.
    """
    low, high = np.percentile(features, (10, 90), axis=(1, 2))
    return np.argsort(low - high, kind="stable")


def principal_components(features: npt.ArrayLike, count: int = 3) -> tuple[Float, Float]:
    """The first principal components of the features over the places of one picture.

    Parameters
    ----------
    features : (channels, rows, cols)

    Returns
    -------
    components : (count, rows, cols) float32
        Coordinate of each place along each direction, from the mean of all places. Each sign is
        chosen so that the place with the largest absolute value (the first of several) is positive.
        A component that the features do not have is zero.
    shares : (count,) float32
        Share of the whole variance that each accounts for, falling.
    """
    values = np.asarray(features, dtype=np.float64)
    channels, rows, cols = values.shape
    places = values.reshape(channels, rows * cols).T
    centered = places - places.mean(axis=0)
    # The smaller of the two products has the same eigenvalues, and the rest is one more product.
    many = centered.shape[0] > centered.shape[1]
    product = centered.T @ centered if many else centered @ centered.T
    variances, vectors = np.linalg.eigh(product)
    variances = np.maximum(variances[::-1], 0.0)
    vectors = vectors[:, ::-1]
    total = float(np.trace(product))
    components = np.zeros((count, rows * cols))
    shares = np.zeros(count)
    for i in range(min(count, variances.size)):
        if variances[i] <= 1e-10 * total or not total > 0.0:
            break
        along = centered @ vectors[:, i] if many else vectors[:, i] * np.sqrt(variances[i])
        distance = np.abs(along)
        farthest = int(np.argmax(distance >= distance.max() * (1 - 1e-9)))
        components[i] = along * np.sign(along[farthest])
        shares[i] = variances[i] / total
    return (
        components.reshape(count, rows, cols).astype(np.float32),
        shares.astype(np.float32),
    )


def component_colors(components: npt.ArrayLike, percentile: float = 99.0) -> Float:
    """Three principal components as red, green and blue.

    Parameters
    ----------
    components : (3, rows, cols)
        From `principal_components`.
    percentile
        Each component runs from dark at the percentile of the same distance from the other end
        to bright at this one, so that a single place does not use the whole range.

    Returns
    -------
    (rows, cols, 3) float32
        In [0, 1]; a component without any variance is one half.
    """
    values = np.asarray(components, dtype=np.float64)
    low = np.percentile(values, 100.0 - percentile, axis=(1, 2), keepdims=True)
    high = np.percentile(values, percentile, axis=(1, 2), keepdims=True)
    spread = high - low
    scaled = (values - low) / np.where(spread > 0, spread, 1.0)
    colors: Float = np.where(spread > 0, np.clip(scaled, 0.0, 1.0), 0.5)
    return np.moveaxis(colors, 0, -1).astype(np.float32)
