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
"""Longest side in pixels of a displayed thumbnail; sweeps write smaller ones."""


@dataclass(frozen=True, eq=False)
class Look:
    """The thumbnail and maps of a picture of a sweep.

    Attributes
    ----------
    view
        The thumbnail; ``None`` if it is damaged.
    maps
        The compared maps, each (rows, columns), by number; without
        invalid ones.
    """

    view: Image.Image | None
    maps: Mapping[int, NDArray[np.float32]]


def made_sweeps() -> Made:
    """The sweeps made by the application."""
    return shared().sweeps


def sweep_table(folder: Path) -> SweepTable:
    """Queries on the rows of a sweep, updated to the written parts.

    Raises
    ------
    SweepError
        The sweep does not exist or has no rows yet.
    """
    found = sweep.open_sweep(folder)
    return shared().sweep_table(found, found.collect())


def answered(table: SweepTable, question: str, *given: Any) -> Any:
    """The result of a method of `SweepTable`, cached while the rows do not change.

    Shared by all sessions, so do not modify it.
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
        Too many untrusted pictures wait to be decoded.
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
    else:  # untrusted
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
    """A stored map; ``None`` if it is invalid."""
    try:
        height, width = shape
        found = np.asarray(values, np.float32).reshape(height, width)
    except (TypeError, ValueError):
        return None
    return found if found.size and np.isfinite(found).all() else None


def original(folder: Path, index: int, digest: str) -> bytes:
    """The file of a picture of a sweep, if it has not changed since.

    Raises
    ------
    SweepError
        It is no longer available, or has changed.
    ImageError
        It is not a picture.
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
