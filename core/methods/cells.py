"""Pictures divided into cells, with parts replaced: shared by methods for all networks.

Cells are as large as a transformer's patches, so that the maps of two models with the same
view are on the same grid and show the effect of the same parts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from core.fills import FILLS, borders, filled
from core.methods.parameters import choice, number
from core.models import Model, VisionTransformer
from core.recording.recording import Recording

OTHER_PATCH = 14
"""Side of a cell in pixels for a network without patches: that of DINOv2, so that 224 pixels make
16 × 16 cells."""


def patch_of(model: Model) -> int:
    """Side of a cell in pixels where none was chosen."""
    return model.patch if isinstance(model, VisionTransformer) else OTHER_PATCH


def patch_parameter() -> Any:
    """Declare the side of a cell in pixels."""
    return number(
        patch_of,
        2,
        64,
        1,
        "Patch",
        "Side of a cell of the map in pixels; use the same for two models that are compared.",
    )


def fill_parameter(
    label: str, help: str, default: str = "blur", options: tuple[str, ...] = tuple(FILLS)
) -> Any:
    """Declare the fill of replaced parts."""
    texts = "; ".join(f"{name}: {text}" for name, text in FILLS.items() if name in options)
    return choice(default, options, label, f"{help} {texts[0].upper()}{texts[1:]}.")


def grid_of(recording: Recording, patch: int) -> tuple[int, int]:
    """Rows and columns of cells of about ``patch`` pixels, exactly so where they fit evenly."""
    height, width = recording.size
    return max(1, round(height / patch)), max(1, round(width / patch))


def filling(recording: Recording, fill: str) -> Tensor:
    """Model input (batch, 3, height, width) that replaces removed parts."""
    fills = [recording.model.normalize(filled(view.image, fill)) for view in recording.views]
    return torch.cat(fills)


def laid_out(pixels: Tensor) -> Tensor:
    """Model input (batch, 3, height, width), in the fastest memory format for convolutions."""
    return pixels.contiguous(memory_format=torch.channels_last)


def sums(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sums of pixels (..., height, width) over each cell: (..., rows, cols)."""
    for axis, parts in zip((-2, -1), grid, strict=True):
        edges = borders(values.shape[axis], parts)
        lengths = [end - start for start, end in pairwise(edges)]
        values = torch.stack([part.sum(axis) for part in torch.split(values, lengths, axis)], axis)
    return values
