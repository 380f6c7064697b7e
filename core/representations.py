"""Which places of a picture a network represents alike: cosine, and principal components."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


def cosine_map(features: npt.ArrayLike, place: tuple[int, int]) -> Float:
    """Cosine between the features of one place and those of every place.

    Parameters
    ----------
    features : (channels, rows, cols)
        As `core.features` gives them.
    place
        Row and column.

    Returns
    -------
    (rows, cols) float32
        In [-1, 1]; 1 at the place itself. A place whose features are all zero has cosine 0 with
        every place, itself included.
    """
    values = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(values, axis=0)
    unit = values / np.where(lengths > 0, lengths, 1.0)
    cosines = np.tensordot(unit[:, place[0], place[1]], unit, axes=1)
    found: Float = np.clip(cosines, -1.0, 1.0).astype(np.float32)
    return found


def by_activity(features: Float) -> npt.NDArray[np.intp]:
    """Channels of (channels, rows, cols), the largest mean of absolute values first."""
    return np.argsort(-np.abs(features).mean(axis=(1, 2)), kind="stable")


SMALL = 128
"""Side of a matrix up to which all its eigenvectors are computed at once."""

_BLOCK, _ROUNDS, _EXACT = 16, 400, 1e-11


def leading_eigenvectors(
    product: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The largest eigenvalues of a symmetric matrix without negative ones, and their vectors.

    Of a large matrix only these are computed, by orthogonal iteration (Golub & Van Loan 2013,
    section 8.2.4) from a start that is always the same, until ``‖M v − λ v‖`` is below 1e-11 of the
    largest eigenvalue; where that takes too long, by `numpy.linalg.eigh`. So the result depends
    neither on chance nor on a seed.

    Parameters
    ----------
    product : (n, n) float64
    count
        At most n.

    Returns
    -------
    values : (count,) float64
        Falling.
    vectors : (n, count) float64
        Columns of length 1, of either sign.
    """
    side = len(product)
    if side > max(SMALL, 2 * (count + _BLOCK)):
        start = np.random.default_rng(0).standard_normal((side, count + _BLOCK))
        basis = np.linalg.qr(start)[0]
        for turn in range(_ROUNDS):
            moved = product @ basis
            if turn % 4 == 3:  # the small problem inside the block, and how far it is from done
                small, inner = np.linalg.eigh(basis.T @ moved)
                values = small[::-1][:count]
                turned = inner[:, ::-1][:, :count]
                residuals = np.linalg.norm(moved @ turned - (basis @ turned) * values, axis=0)
                if (residuals <= _EXACT * max(float(values[0]), 0.0)).all():
                    return values, basis @ turned
            basis = np.linalg.qr(moved)[0]
    found, vectors = np.linalg.eigh(product)
    return found[::-1][:count], vectors[:, ::-1][:, :count]


def principal_components(features: npt.ArrayLike, count: int = 3) -> tuple[Float, Float]:
    """The first principal components of the features over the places of one picture.

    Parameters
    ----------
    features : (channels, rows, cols)

    Returns
    -------
    components : (count, rows, cols) float32
        How far each place lies along each direction, from the mean of all places. Each sign is
        chosen so that the place that lies farthest out is positive, the first of several. A
        component that the features do not have is zero.
    shares : (count,) float32
        Share of the whole variance that each accounts for, falling.
    """
    values = np.asarray(features, dtype=np.float64)
    channels, rows, cols = values.shape
    places = values.reshape(channels, rows * cols).T
    centered = places - places.mean(axis=0)
    # The smaller of the two products has the same eigenvalues, and the rest is one product more.
    many = centered.shape[0] > centered.shape[1]
    product = centered.T @ centered if many else centered @ centered.T
    variances, vectors = leading_eigenvectors(product, min(count, len(product)))
    variances = np.maximum(variances, 0.0)
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
        to bright at this one, so that a single place cannot take all the range.

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
