"""Removal of parts of a picture, and the resulting answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.errors import ParameterError
from core.explain import predict
from core.fills import filled, on_pixels
from core.images import Framing
from core.methods.cells import OTHER_PATCH
from core.models import Model, VisionTransformer
from core.recording.recording import Prediction

Mask = npt.NDArray[np.bool_]


def cells(size: tuple[int, int], side: int = OTHER_PATCH) -> tuple[int, int]:
    """Rows and columns of cells of about ``side`` pixels, for (height, width) pixels."""
    return max(1, round(size[0] / side)), max(1, round(size[1] / side))


def removal_grid(
    model: Model, size: tuple[int, int], grid: tuple[int, int] | None = None
) -> tuple[int, int]:
    """The grid on which parts of a view are removed.

    Parameters
    ----------
    size
        Height and width in pixels of the view.
    grid
        Requested rows and columns; by default a transformer's patches, and cells of
        `OTHER_PATCH` pixels for other networks, as in occlusion.

    Raises
    ------
    ParameterError
        A cell would be smaller than a pixel, or cut through a transformer's patches.
    """
    own = model.grid(size) if isinstance(model, VisionTransformer) else None
    if grid is None:
        return own or cells(size)
    if len(grid) != 2 or not all(1 <= n <= side for n, side in zip(grid, size, strict=True)):
        raise ParameterError(
            f"The grid is {grid!r}, expected rows and columns for a picture of {size[1]} × "
            f"{size[0]} pixels."
        )
    # Coarser or finer than the patches, as long as the borders of one meet those of the other.
    if own and any(max(n, patches) % min(n, patches) for n, patches in zip(grid, own, strict=True)):
        raise ParameterError(
            f"A grid of {grid[0]} × {grid[1]} cells cuts through the {own[0]} × {own[1]} patches "
            f"of {model.spec.title}; choose that grid, or one that divides it."
        )
    return int(grid[0]), int(grid[1])


def without(
    view: Image.Image, removed: npt.ArrayLike, fill: str = "blur", seed: int = 0
) -> Image.Image:
    """A view with some cells replaced by a fill, as the models get it.

    Parameters
    ----------
    view
        What the model sees.
    removed : (rows, cols) bool
        The cells to replace, on any grid.
    fill
        One of `core.FILLS`.
    seed
        Of the fill ``"noise"``.

    Raises
    ------
    ParameterError
        The mask is not a two-dimensional array of bool, or the fill is unknown.
    """
    mask = on_pixels(torch.from_numpy(_checked(removed)), (view.height, view.width)).numpy()
    view = view.convert("RGB")
    return Image.composite(filled(view, fill, seed), view, Image.fromarray(mask))


def what_if(
    model: Model,
    image: Image.Image,
    removed: npt.ArrayLike,
    *,
    framing: Framing | None = None,
    fill: str = "blur",
    seed: int = 0,
    k: int = 5,
) -> Prediction:
    """Prediction of a model for a picture without some parts.

    Parameters
    ----------
    removed : (rows, cols) bool
        The removed cells, on a grid that covers the view; see
        `removal_grid`.
    framing
        How the picture is fitted; by default as the model was evaluated.
    fill, seed
        Fill of the removed cells; see `core.fills`.
    k
        Number of classes listed.

    Raises
    ------
    ParameterError, UnsupportedMethod, ImageError, BusyError
    """
    view = model.view(image, framing)
    removal_grid(model, (view.height, view.width), _checked(removed).shape)
    found: Prediction = predict(model, without(view, removed, fill, seed), k, Framing("given"))
    return found


def _checked(removed: npt.ArrayLike) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.asarray(removed)
    if mask.ndim != 2 or mask.dtype != np.bool_ or not mask.size:
        raise ParameterError(
            f"removed is an array {mask.shape} of {mask.dtype}, expected (rows, columns) of bool: "
            "which cells are removed."
        )
    return mask.copy()


@dataclass(frozen=True, eq=False)
class Removals:
    """Variants of a view, each without some cells.

    Attributes
    ----------
    view : PIL.Image.Image
    masks : (variants, rows, cols) bool
        The removed cells.
    fill, seed
        Their fill.
    """

    view: Image.Image
    masks: Mask
    fill: str
    seed: int

    def __len__(self) -> int:
        return len(self.masks)

    def inputs(self, model: Model, part: slice) -> Tensor:
        """Model input of some variants, (variants, 3, height, width)."""
        removed = torch.from_numpy(self.masks[part]).to(model.device).unsqueeze(1)
        where = on_pixels(removed, (self.view.height, self.view.width))
        fill = model.normalize(filled(self.view, self.fill, self.seed))
        return torch.where(where, fill, model.normalize(self.view))
