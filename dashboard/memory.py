"""Keep little freed memory, give it back to the system, and look for garbage among what is new.

Every rerun is a thread of its own, and the C library keeps for each thread what it freed; on a
small host that is the difference between running and being stopped.
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
"""Bytes from which a block is asked of the system by itself, and goes back when it is freed."""


@cache
def _library() -> Any:
    """The C library of this process, if it has ``malloc_trim`` (glibc)."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") else None
    except (OSError, TypeError):  # Windows
        return None


def give_back() -> bool:
    """Return what nobody uses; false where the system offers no way to do so."""
    library = _library()
    return library is not None and bool(library.malloc_trim(0))


def set_aside() -> None:
    """Never look again at what lives now: the modules of PyTorch and the embedded pair.

    After each run Streamlit has Python look for garbage in all that there is, which takes a third
    of a second with them and keeps everybody waiting. What the first visitors hold at that moment
    is set aside with the rest, and freed as long as it is in no cycle.
    """
    gc.collect()
    gc.freeze()


def keep_little() -> bool:
    """Have threads share a few heaps, and large blocks go back at once; false where it cannot.

    To be called before there are many threads.
    """
    library = _library()
    if library is None or not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(_ARENA_MAX, ARENAS) and library.mallopt(_MMAP_THRESHOLD, LARGE))
