"""Shared parts of tabs: attention, the query, mosaics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import core
from core import Attention, Readout, VisionTransformer
from dashboard import figures, rows
from dashboard.display import Display
from dashboard.scales import ends_text, shared_limits
from dashboard.text import ordinal
from dashboard.view import Figure, Maker
from pages.attention.options import Options
from pages.attention.words import Patch, readout_text, sentence

Float = npt.NDArray[np.float32]
Grid = tuple[int, int]

THREE_QUARTERS = "(100cqi - 2rem) * 0.75"
"""Width of the wider of two columns of 1 to 3, with a medium gap, in the page."""


def attention_of(make: Maker, model: VisionTransformer) -> Attention:
    """Attention of a model over the picture."""
    recorded = make.recording(model.spec.id)
    return core.attention(recorded.model, recorded)


def fitted(
    make: Maker,
    key: str,
    figure: Any,
    alt: str,
    view: Image.Image,
    count: int,
    width: str = "100cqi",
) -> Figure:
    """Store a figure of `figures.linked` with ``count`` panels, with a matching height."""
    return make.show(Figure(key, figure, alt, rows.height_of(figure, view, count, width), width))


# -- the query ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Query:
    """The query of attention or similarity.

    Attributes
    ----------
    grid
        Rows and columns of patches.
    readout
        The default query, in words; empty if it must be a patch.
    figure
        The picture, in which a patch can be clicked; ``None`` if it is not drawn.
    """

    grid: Grid
    patch: Patch
    readout: str
    figure: Figure | None

    @property
    def middle(self) -> tuple[int, int]:
        """The default patch."""
        return self.grid[0] // 2, self.grid[1] // 2


def chosen_patch(make: Maker, grid: Grid) -> Patch:
    """The query of the screen, if the grid has it; else a problem and none."""
    patch = make.screen.shared.patch
    if patch is None:
        return None
    rows, cols = grid
    if patch[0] < rows and patch[1] < cols:
        return patch
    make.problem(
        f"query is row {patch[0]}, column {patch[1]}, but this picture has {rows} × {cols} "
        "patches counted from 0; no patch is chosen."
    )
    return None


def query(
    make: Maker,
    view: Image.Image,
    grid: Grid,
    readout: Readout | None,
    *,
    by_click: bool = True,
) -> Query:
    """The chosen query, outlined in the picture.

    Parameters
    ----------
    readout
        The default query; ``None`` if it must be a patch, which
        gives the central one.
    by_click
        Whether the clickable picture is drawn.
    """
    rows, cols = grid
    patch = chosen_patch(make, grid)
    if patch is None and readout is None:
        patch = rows // 2, cols // 2
    figure = None
    if by_click:
        plot = figures.clickable(figures.picture(view), view, grid)
        if patch is not None:
            figures.mark_patch(plot, view, grid, patch)
        plot.update_layout(margin={"b": 4})
        marked = f"; row {patch[0]}, column {patch[1]} is outlined" if patch else ""
        figure = make.show(
            Figure(
                f"query-{make.screen.of(Options).tab}",
                plot,
                f"The picture in {rows} × {cols} patches{marked}",
                f"calc((100cqi - 2rem) * {0.25 * view.height / view.width:.4f} + 8px)",
            )
        )
    return Query(grid, patch, readout_text(readout) if readout is not None else "", figure)


# -- mosaics --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mosaic(Figure):
    """Many small maps in one figure; a click returns the number of a map.

    Attributes
    ----------
    ends
        A sentence on the ends of the colors.
    """

    ends: str = ""


def mosaic(
    make: Maker,
    key: str,
    maps: Float,
    names: Sequence[str],
    display: Display,
    alt: str,
    *,
    marked: int | None = None,
    columns: int = 7,
    under: Image.Image | None = None,
    opacity: float = 1.0,
    shade: bool = False,
    signed: bool = False,
    unit: str = "",
    width: str = THREE_QUARTERS,
) -> Mosaic:
    """Maps with a title each, in rows, that can be clicked.

    Parameters
    ----------
    maps : (count, rows, cols)
    marked
        Number of the outlined map.
    under
        A picture to draw beneath each.
    shade
        The maps are masks: darken where they are 0.
    signed
        Zero is the middle of the colors.
    unit
        Title of the colors; by default that of `Display`.
    width
        Of the column, as a length of CSS.
    """
    count, rows, cols = maps.shape
    columns = min(columns, count)
    lines = -(-count // columns)
    padded = np.full((lines * columns, rows, cols), np.nan, dtype=np.float32)
    padded[:count] = maps
    colors, limits = display.colors, None
    if shade:
        limits = (0.0, 1.0)
    elif signed:  # zero must be the middle of the scale in each map
        colors = "RdBu_r"
        ends = np.percentile(np.abs(maps), display.percentile, axis=(1, 2))
        ends = np.maximum(ends.max() if display.shared else ends, 1e-12)
        padded[:count] = (maps / np.reshape(np.broadcast_to(ends, count), (-1, 1, 1)) + 1) / 2
        limits = (0.0, 1.0)
        whose = "all maps together" if display.shared else "each map"
        unit = (
            f"zero is in the middle; the ends are the {ordinal(display.percentile)} percentile of "
            f"the absolute values of {whose}"
        )
    else:
        limits = shared_limits(maps, display)
    shape = (lines, columns, rows, cols)
    figure = figures.mosaic(
        padded.reshape(shape),
        [""] * lines,
        [""] * columns,
        colors=colors,
        names=[*names, *[""] * (lines * columns - count)],
        percentile=display.percentile,
        limits=limits,
        under=[under] * count,
        opacity=opacity,
        shade=shade,
    )
    texts = [f"{name}: click to enlarge it" for name in names]
    figures.openable(figure, shape, texts, named=True, size=100, marked=marked)
    height = f"calc({figures.mosaic_height(shape, width, named=True)})"
    said = sentence(unit or ends_text(limits, display))
    return make.show(Mosaic(key, figure, alt, height, ends=said))
