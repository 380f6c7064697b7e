"""Rows of sweeps, and the originals of their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import core
from core import (
    sweep,
)
from dashboard.cache.held import results, shared
from dashboard.sweeping import Made
from dashboard.sweeps import Rows


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
    """Thumbnails and the shown maps of some pictures of a sweep."""
    columns = ["thumbnail"]
    for key in rows.shown_maps:
        columns += [f"map__{key}", f"shape__{key}"]
    asked = ("pictured", rows.sweep.folder, rows.changed, indices)
    return results().get(asked, lambda: rows.sweep.read(indices, columns))


def original(folder: Path, index: int, digest: str) -> bytes:
    """The file of a picture of a sweep, as long as it still is what was swept.

    Raises
    ------
    SweepError
        It is gone, or another one.
    """
    asked = ("original", folder, index, digest)
    return results().get(asked, lambda: _original(folder, index, digest))


def _original(folder: Path, index: int, digest: str) -> bytes:
    data = sweep.open_sweep(folder).original(index)
    if core.digest(core.read_image(data)) != digest:
        raise core.SweepError(f"Picture {index} of this sweep has been changed since it was swept.")
    return data
