"""How much runs at once: one gate for the whole process, configured by a call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.errors import BusyError, ParameterError

PASSES = 2
"""Network passes at once by default; each holds the activations of one batch."""

PATIENCE = 120.0
"""Seconds that a request waits for a place by default."""

MEMORY = 2 * 2**30
"""Bytes that one pass may leave behind by default."""


class _Gate:
    """Places for passes and what one of them may cost."""

    def __init__(self, passes: int, patience: float, memory: int) -> None:
        self.passes = passes
        self.patience = patience
        self.memory = memory
        self.places = threading.BoundedSemaphore(passes)
        self.inside = 0
        self.waiting = 0
        self.counting = threading.Lock()

    def count(self, inside: int, waiting: int) -> None:
        """Note that so many more are computing and waiting."""
        with self.counting:
            self.inside += inside
            self.waiting += waiting


_gate = _Gate(PASSES, PATIENCE, MEMORY)
_inside: ContextVar[bool] = ContextVar("inside", default=False)


def configure(
    passes: int | None = None, patience: float | None = None, memory: int | None = None
) -> None:
    """Set how much may run at once; what is not given stays.

    Call it once, before requests arrive: passes that are under way finish under the old rule.

    Parameters
    ----------
    passes
        Network passes at the same time, at least 1.
    patience
        Seconds that a request waits for a place before `BusyError`, not negative.
    memory
        Bytes that what one pass leaves behind may take, at least 2²⁰.

    Raises
    ------
    ParameterError
        A value out of its range.
    """
    global _gate
    passes = _gate.passes if passes is None else passes
    patience = _gate.patience if patience is None else patience
    memory = _gate.memory if memory is None else memory
    if passes < 1:
        raise ParameterError(f"passes is {passes!r}, expected at least 1.")
    if not patience >= 0:
        raise ParameterError(f"patience is {patience!r}, expected seconds, not negative.")
    if memory < 2**20:
        raise ParameterError(f"memory is {memory!r}, expected bytes, at least 2^20.")
    if (passes, patience, memory) != (_gate.passes, _gate.patience, _gate.memory):
        _gate = _Gate(passes, patience, memory)


def load() -> dict[str, int]:
    """How many requests compute, how many wait, and how many may compute at once."""
    gate = _gate
    return {"computing": gate.inside, "waiting": gate.waiting, "places": gate.passes}


def memory_budget() -> int:
    """Bytes that what one pass leaves behind may take."""
    return _gate.memory


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
    gate = _gate  # the one that is entered is the one that is left, also if configured meanwhile
    patience = gate.patience if patience is None else patience
    gate.count(0, 1)
    try:
        acquired = gate.places.acquire(timeout=patience)
    finally:
        gate.count(0, -1)
    if not acquired:
        raise BusyError(
            f"All {gate.passes} places for computing were taken for {patience:.0f} s; "
            "try again in a moment."
        )
    token = _inside.set(True)
    gate.count(1, 0)
    try:
        yield
    finally:
        gate.count(-1, 0)
        _inside.reset(token)
        gate.places.release()
