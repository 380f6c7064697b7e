"""Measure the mean magnitude spectrum of photographs, for activation maximization.

Run by hand, with a folder of color photographs, of which none is shipped::

    python -m data.recipes.mean_spectrum --photographs photographs/imagenet-samples

The folder of 1,000 photographs, one for each ImageNet class, on which the shipped file was measured
is described in ``data/README.md``. Each photograph's largest centered square is scaled to `SIDE`
pixels; colors are decorrelated by the principal axes of all their pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import core
from core.maximize.spectrum import FILE

SIDE = 256

Array = npt.NDArray[np.float64]


def pixels(path: Path, side: int) -> Array:
    """A photograph's centered square: (3, side, side) in [0, 1]."""
    square = core.fit_image(core.read_image(path), "crop", (side, side))
    return np.asarray(square, dtype=np.float64).transpose(2, 0, 1) / 255


def measure(paths: Sequence[Path], side: int = SIDE) -> dict[str, Array]:
    """Mean color, principal colors and mean magnitudes of photographs.

    Parameters
    ----------
    paths
        Photographs, each read twice: for the colors, and for the spectrum in these.
    side
        Side in pixels.

    Returns
    -------
    dict
        ``magnitude`` (3, side, side // 2 + 1), ``colors`` (3, 3) and ``mean`` (3,), as the
        attributes of `core.maximize.spectrum.Spectrum`.
    """
    total, products = np.zeros(3), np.zeros((3, 3))
    for path in paths:
        flat = pixels(path, side).reshape(3, -1)
        total += flat.mean(axis=1)
        products += flat @ flat.T / flat.shape[1]
    mean = total / len(paths)
    variances, axes = np.linalg.eigh(products / len(paths) - np.outer(mean, mean))
    axes = axes[:, ::-1]  # the largest variance first
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(3)])
    colors = axes * np.sqrt(variances[::-1])
    channels = np.linalg.inv(colors)
    magnitude = np.zeros((3, side, side // 2 + 1))
    for path in paths:
        centered = pixels(path, side) - mean[:, None, None]
        waves = np.einsum("cr,rhw->chw", channels, centered)
        magnitude += np.abs(np.fft.rfft2(waves, norm="ortho"))
    magnitude /= len(paths)
    magnitude[:, 0, 0] = 0
    return {"magnitude": magnitude, "colors": colors, "mean": mean}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs")
    arguments = parser.parse_args()
    paths = [file.path for file in core.picture_files(arguments.photographs)]
    found = measure(paths)
    kinds = {"magnitude": np.float16, "colors": np.float32, "mean": np.float32}
    np.savez_compressed(FILE, **{name: found[name].astype(kind) for name, kind in kinds.items()})
    print(f"{len(paths)} photographs, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
