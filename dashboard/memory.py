"""Give freed memory back to the system.

Every rerun is a thread of its own, and the C library keeps for each thread what it freed; on a
small host that is the difference between running and being stopped.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


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
