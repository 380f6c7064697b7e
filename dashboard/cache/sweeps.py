"""Rows of sweeps, and the originals of their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import core
from core import (
    sweep,
)
from dashboard.cache.held import results, shared
from dashboard.sweeping import Made
from dashboard.sweeps import SweepTable

THUMBNAIL = 256
"""Longest side in pixels of a thumbnail that is shown; sweeps write smaller ones."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a picture of a sweep looks like.

    Attributes
    ----------
    view
        The thumbnail; ``None`` where it is no picture.
    maps
        The maps that are compared, each (rows, columns), by their number; without those that are
        no maps.
    """

    view: Image.Image | None
    maps: Mapping[int, NDArray[np.float32]]


def made_sweeps() -> Made:
    """The sweeps that the application makes itself."""
    return shared().sweeps


def sweep_table(folder: Path) -> SweepTable:
    """Questions to the rows of a sweep, brought up to the parts that are there.

    Raises
    ------
    SweepError
        There is none, or it has no rows yet.
    """
    found = sweep.open_sweep(folder)
    return shared().sweep_table(found, found.collect())


def answered(table: SweepTable, question: str, *given: Any) -> Any:
    """What a method of `SweepTable` answers; kept as long as the rows stay as they are.

    Shared by all sessions, so not to be changed.
    """
    key = (question, table.sweep.folder, table.changed, table.compared, given)
    return shared().answer(key, lambda: getattr(table, question)(*given))


def pictured(table: SweepTable, indices: tuple[int, ...]) -> list[Look]:
    """Looks of some pictures of a sweep.

    Returns
    -------
    list of Look

    Raises
    ------
    SweepError
        A part cannot be read.
    BusyError
        Too many pictures of strangers wait to be decoded.
    """
    asked = ("pictured", table.sweep.folder, table.changed, table.shown_maps, indices)
    return results().get(asked, lambda: _pictured(table, indices))


def _pictured(table: SweepTable, indices: tuple[int, ...]) -> list[Look]:
    files = [
        row["thumbnail"] or b"" for row in table.sweep.read("pictures", indices, ["thumbnail"])
    ]
    decoded: Sequence[Image.Image | core.ImageError]
    if made_sweeps().holds(table.sweep.folder):
        decoded = [core.read_image(data) for data in files]
    else:  # who wrote it is not known
        decoded = core.read_untrusted_images([(data, "The thumbnail") for data in files], THUMBNAIL)
    maps: dict[int, dict[int, NDArray[np.float32]]] = {index: {} for index in indices}
    for row in table.sweep.read("maps", indices, ["index", "map", "relevance", "shape"]):
        relevance = _grid(row["relevance"], row["shape"])
        if row["map"] in table.shown_maps and relevance is not None:
            maps[row["index"]][row["map"]] = relevance
    return [
        Look(view if isinstance(view, Image.Image) else None, maps[index])
        for index, view in zip(indices, decoded, strict=True)
    ]


def _grid(values: Any, shape: Any) -> NDArray[np.float32] | None:
    """A map as it was stored; ``None`` if it is none."""
    try:
        height, width = shape
        found = np.asarray(values, np.float32).reshape(height, width)
    except (TypeError, ValueError):
        return None
    return found if found.size and np.isfinite(found).all() else None


def original(folder: Path, index: int, digest: str) -> bytes:
    """The file of a picture of a sweep, as long as it still is what was swept.

    Raises
    ------
    SweepError
        It is gone, or another one.
    ImageError
        It is no picture.
    """
    asked = ("original", folder, index, digest)
    return results().get(asked, lambda: _original(folder, index, digest))


def _original(folder: Path, index: int, digest: str) -> bytes:
    data = sweep.open_sweep(folder).original(index)
    if core.digest(core.read_untrusted_image(data, f"Picture {index}")) != digest:
        raise core.SweepError(
            f"Picture {index} of this sweep has changed since the sweep was made."
        )
    return data
