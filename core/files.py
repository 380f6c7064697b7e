"""Atomic writes: files are written under a temporary name, synced, then renamed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

PART = ".part"
"""Suffix of a file that is being written."""

LEFTOVER = 3600.0
"""Seconds after which an abandoned partial file is removed."""


def put_in_place(part: Path, path: Path) -> None:
    """Rename a complete file to its final path, so that it survives a power loss.

    Its content is on the disk before the name is, and the name before this returns.
    """
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    settle_folder(path.parent)


def settle_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk, where the system can."""
    with suppress(OSError):  # Windows cannot open folders, and some file systems cannot sync them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A private temporary path to write to, renamed to ``path`` at the end.

    Several threads and processes may replace the same file: the last complete one stays.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}{PART}")
    try:
        yield part
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` left in a folder when its process was killed."""
    since = time.time() - LEFTOVER
    for part in folder.glob(f".*{PART}"):
        with suppress(OSError):
            if part.stat().st_mtime < since:
                part.unlink()
