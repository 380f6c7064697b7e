"""How many network passes run at the same time: one answer for the whole process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.errors import BusyError

PLACES = int(os.environ.get("PARALLAX_PASSES", "2"))
"""Passes at once; each holds the activations of one batch."""

PATIENCE = float(os.environ.get("PARALLAX_PATIENCE", "120"))
"""Seconds a request waits for a place before it is told to come back."""

_places = threading.BoundedSemaphore(PLACES)
_inside: ContextVar[bool] = ContextVar("inside", default=False)


@contextmanager
def admitted(patience: float | None = None) -> Iterator[None]:
    """Hold one of the places for the length of a ``with`` block; may be nested.

    Raises
    ------
    BusyError
        No place came free in time.
    """
    if _inside.get():
        yield
        return
    patience = PATIENCE if patience is None else patience
    if not _places.acquire(timeout=patience):
        raise BusyError(
            f"All {PLACES} places for computing were taken for {patience:.0f} s; "
            "try again in a moment."
        )
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)
        _places.release()
