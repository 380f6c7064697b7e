"""Memory management: return freed memory to the system, and collect only new garbage.

Every rerun is a new thread, and the C library keeps freed memory per thread; on a
small host this can exceed the memory limit.
"""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import Any

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""Parameters of glibc's ``mallopt``."""

ARENAS = 2
LARGE = 2**20
"""Bytes above which a block is allocated from the system, and returned when freed."""


@cache
def _library() -> Any:
    """The C library of this process, if it has ``malloc_trim`` (glibc)."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") else None
    except (OSError, TypeError):  # Windows
        return None


def give_back() -> bool:
    """Return unused memory to the system; false where this is not possible."""
    library = _library()
    return library is not None and bool(library.malloc_trim(0))


def set_aside() -> None:
    """Exclude all current objects from garbage collection: PyTorch's modules and the embedded pair.

    After each run Streamlit triggers a full garbage collection, which takes a third of a second
    with these objects and blocks all sessions. Objects of sessions at that moment are excluded as
    well, and are freed unless they are part of a cycle.
    """
    gc.collect()
    gc.freeze()


def keep_little() -> bool:
    """Let threads share a few heaps, and return large blocks at once; false if not possible.

    Call it before many threads exist.
    """
    library = _library()
    if library is None or not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(_ARENA_MAX, ARENAS) and library.mallopt(_MMAP_THRESHOLD, LARGE))
