"""Rows of sweeps, and the originals of their pictures."""

from __future__ import annotations

from collections.abc import Sequence
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
from dashboard.sweeps import Rows

THUMBNAIL = 256
"""Longest side in pixels of a thumbnail that is shown; sweeps write smaller ones."""


def made_sweeps() -> Made:
    """The sweeps that the application makes itself."""
    return shared().sweeps


def rows(folder: Path) -> Rows:
    """The rows of a sweep, brought up to the parts that are there.

    Raises
    ------
    SweepError
        There is none, or it has no rows yet.
    """
    found = sweep.open_sweep(folder)
    return shared().rows(found, found.collect().stat().st_mtime_ns)


def answered(rows: Rows, question: str, *given: Any) -> Any:
    """What a method of `Rows` answers; kept as long as the rows stay as they are.

    Shared by all sessions, so not to be changed.
    """
    key = (question, rows.sweep.folder, rows.changed, given)
    return shared().answer(key, lambda: getattr(rows, question)(*given))


def pictured(rows: Rows, indices: tuple[int, ...]) -> list[dict[str, Any]]:
    """Looks of some pictures of a sweep.

    Returns
    -------
    list of dict
        ``view``, the thumbnail as a picture, or ``None`` where it is none, and the maps that are
        shown: ``map__…``, each (rows, columns), or ``None``.

    Raises
    ------
    SweepError
        A part cannot be read.
    BusyError
        Too many pictures of strangers wait to be decoded.
    """
    asked = ("pictured", rows.sweep.folder, rows.changed, indices)
    return results().get(asked, lambda: _pictured(rows, indices))


def _pictured(rows: Rows, indices: tuple[int, ...]) -> list[dict[str, Any]]:
    columns = ["thumbnail"]
    for key in rows.shown_maps:
        columns += [f"map__{key}", f"shape__{key}"]
    read = rows.sweep.read(indices, columns)
    files = [row.get("thumbnail") or b"" for row in read]
    decoded: Sequence[Image.Image | core.ImageError]
    if made_sweeps().holds(rows.sweep.folder):
        decoded = [core.read_image(data) for data in files]
    else:  # who wrote it is not known
        decoded = core.read_untrusted_images([(data, "The thumbnail") for data in files], THUMBNAIL)
    found: list[dict[str, Any]] = []
    for row, view in zip(read, decoded, strict=True):
        found.append({"view": view if isinstance(view, Image.Image) else None})
        for key in rows.shown_maps:
            name = f"map__{key}"
            found[-1][name] = _grid(row.get(name), row.get(f"shape__{key}"))
    return found


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
        raise core.SweepError(f"Picture {index} of this sweep has been changed since it was swept.")
    return data
