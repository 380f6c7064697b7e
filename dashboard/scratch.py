"""The folder for temporary files of this process. Independent of Streamlit.

Uploaded files are sometimes written to disk. A server that is stopped by a signal runs
no exit handlers, so the folder is removed by the end of the server's lifespan, and the folders of
processes that were killed are removed when the next one starts.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "parallax-"
LOCK = "in-use"
"""A file that the process keeps locked while it lives: the system releases the lock when the
process ends in any way, so that a reused process number causes no error."""

_FOLDER = re.compile(rf"{PREFIX}(\d+)-\w+")
_log = logging.getLogger(__name__)


@contextmanager
def own() -> Iterator[Path]:
    """Put all temporary files of this process into a folder that is removed after the block."""
    before = tempfile.tempdir
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    lock = FileLock(folder / LOCK)
    lock.acquire()
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def remove_left(parent: Path) -> list[Path]:
    """Remove the folders of ended processes; those of other users stay.

    Parameters
    ----------
    parent
        Folder that contains them.

    Returns
    -------
    list of Path
        The removed folders.
    """
    found = []
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        named = _FOLDER.fullmatch(folder.name)
        try:
            if named and _is_left(folder, int(named.group(1))):
                shutil.rmtree(folder)
                found.append(folder)
        except OSError:  # another process is removing it, or it belongs to another user
            _log.debug("a folder that was left behind cannot be removed", exc_info=True)
    return found


def _is_left(folder: Path, process: int) -> bool:
    status = folder.lstat()
    ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if folder.is_symlink() or not folder.is_dir() or not ours:
        return False
    if not (folder / LOCK).exists():  # it is being created, or was partly removed
        return os.name == "posix" and not _lives(process)
    try:
        with FileLock(folder / LOCK, timeout=0):
            return True
    except Timeout:
        return False


def _lives(process: int) -> bool:
    """Whether a process of this number exists; POSIX only, as this call would end it elsewhere."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
