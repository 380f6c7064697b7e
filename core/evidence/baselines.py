"""Maps that do not depend on the model, for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from core.errors import ParameterError

Map = npt.NDArray[np.float32]


def baseline_maps(image: Image.Image, grid: tuple[int, int], seed: int = 0) -> dict[str, Map]:
    """Baselines for maps of a model.

    Parameters
    ----------
    image
        What the model sees.
    grid
        Rows and columns of the maps, at most one for each pixel.
    seed
        Seed of the random map; use several for a mean and a standard deviation.

    Returns
    -------
    dict of str to (rows, cols) float32
        ``"random"``: independent and uniform in [0, 1). ``"center"``: minus the distance of a
        cell's middle to the picture's, as share of the short side. ``"edges"``: mean over the cell
        of the magnitude of the Sobel gradient of the luminance, in [0, 255] a pixel.

    Raises
    ------
    ParameterError
        The grid has no cells, or cells smaller than a pixel.
    """
    rows, cols = grid
    if not (1 <= rows <= image.height and 1 <= cols <= image.width):
        raise ParameterError(
            f"A grid of {rows} × {cols} cells was requested for {image.width} × {image.height} "
            "pixels; choose at least 1 × 1, and no cell smaller than a pixel."
        )
    down = ((np.arange(rows) + 0.5) / rows - 0.5) * image.height
    across = ((np.arange(cols) + 0.5) / cols - 0.5) * image.width
    distance = np.hypot(down[:, None], across) / min(image.size)
    edges = Image.fromarray(_sobel(np.asarray(image.convert("L"), dtype=np.float32)))
    return {
        "random": np.random.default_rng(seed).random(grid, dtype=np.float32),
        "center": (-distance).astype(np.float32),
        "edges": np.asarray(edges.resize((cols, rows), Image.Resampling.BOX), dtype=np.float32),
    }


def _sobel(luminance: Map) -> npt.NDArray[Any]:
    """Magnitude of the gradient a pixel, of the picture repeated beyond its borders."""
    down, across = (ndimage.sobel(luminance, axis, mode="nearest") for axis in (0, 1))
    magnitude: npt.NDArray[Any] = np.hypot(down, across)
    return magnitude / 8  # a ramp that rises by 1 per pixel has gradient 1
