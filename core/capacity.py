"""How much runs at once: one gate for the whole process, configured by a call.

Who asks first is let in first, and what takes long asks anew for each pass, so that a short request
never waits for the whole of a long one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core import progress
from core.errors import BusyError, ParameterError

PASSES = 2
"""Network passes at once by default; each holds the activations of one batch."""

PATIENCE = 120.0
"""Seconds that a request waits for a place by default."""

MEMORY = 2 * 2**30
"""Bytes that one pass may leave behind by default."""


class _Gate:
    """Places for passes, the line of those who wait for one, and what a pass may cost."""

    def __init__(self, passes: int, patience: float, memory: int) -> None:
        self.passes = passes
        self.patience = patience
        self.memory = memory
        self.changed = threading.Condition()
        self.line: deque[object] = deque()
        self.inside = 0
        self.served = 0
        self.left = 0

    def enter(self, patience: float, ahead: bool = False) -> bool:
        """Take a place when it is one's turn; false if that was not in time.

        What `core.progress.waiting` raises ends the waiting, also when the turn has come: who has
        gone meanwhile does not begin.
        """
        with self.changed:
            if not self.line and self.inside < self.passes:
                self.inside += 1
                self.served += 1
                return True
            ticket = object()
            (self.line.appendleft if ahead else self.line.append)(ticket)
        taken, admitted, deadline = False, False, time.monotonic() + patience
        try:
            while True:
                with self.changed:
                    taken = self.changed.wait_for(
                        lambda: self._turn(ticket),
                        max(0.0, min(progress.POLL, deadline - time.monotonic())),
                    )
                    if taken:
                        self.line.remove(ticket)
                        self.inside += 1
                        self.changed.notify_all()
                    before = 0 if taken else self.line.index(ticket) + self.inside
                if not taken and time.monotonic() >= deadline:
                    return False
                progress.waiting(before)  # outside of the lock: a listener may be slow, or raise
                if taken:
                    admitted = True
                    return True
        finally:
            with self.changed:
                if taken:
                    self.inside -= not admitted
                else:
                    self.line.remove(ticket)
                self.served += admitted
                self.left += not admitted
                self.changed.notify_all()

    def _turn(self, ticket: object) -> bool:
        return self.line[0] is ticket and self.inside < self.passes

    def leave(self) -> None:
        """Give a place back."""
        with self.changed:
            self.inside -= 1
            self.changed.notify_all()


_gate = _Gate(PASSES, PATIENCE, MEMORY)
_inside: ContextVar[_Gate | None] = ContextVar("inside", default=None)


def configure(
    passes: int | None = None,
    patience: float | None = None,
    memory: int | None = None,
    threads: int | None = None,
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
    threads
        Of PyTorch within one pass, at least 1. Passes at once share the cores: with more threads
        than cores in all they hinder each other.

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
    if threads is not None and threads < 1:
        raise ParameterError(f"threads is {threads!r}, expected at least 1.")
    if (passes, patience, memory) != (_gate.passes, _gate.patience, _gate.memory):
        _gate = _Gate(passes, patience, memory)
    if threads is not None:
        import torch

        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)


def load() -> dict[str, int]:
    """How busy the process is.

    Returns
    -------
    dict of str to int
        ``computing`` and ``waiting`` requests, ``places`` for computing, and since the gate was
        configured how often a place was taken (``served``) and how many went away without one
        (``left``), because they were given up or their patience ended.
    """
    gate = _gate
    with gate.changed:
        return {
            "computing": gate.inside,
            "waiting": len(gate.line),
            "places": gate.passes,
            "served": gate.served,
            "left": gate.left,
        }


def graphs() -> int:
    """Gradient graphs of finished passes that may stay for what is asked next."""
    return 2 * _gate.passes


def memory_budget() -> int:
    """Bytes that what one pass leaves behind may take."""
    return _gate.memory


@contextmanager
def admitted(patience: float | None = None, *, ahead: bool = False) -> Iterator[None]:
    """Hold one of the places for the length of a ``with`` block; may be nested.

    Who waits is told their place in the line by `core.watching`. Ask a shared recording inside for
    nothing that it has yet to compute (see `Recording.extend`): who computes on it may wait for
    this very place.

    Parameters
    ----------
    patience
        Seconds to wait, instead of those that were configured.
    ahead
        Go to the head of the line: for what ends a request that holds much memory meanwhile.

    Raises
    ------
    BusyError
        No place came free in time.
    """
    if _inside.get() is not None:
        yield
        return
    gate = _gate  # the one that is entered is the one that is left, also if configured meanwhile
    _enter(gate, patience, ahead)
    token = _inside.set(gate)
    try:
        yield
    finally:
        _inside.reset(token)
        gate.leave()


def _enter(gate: _Gate, patience: float | None = None, ahead: bool = False) -> None:
    patience = gate.patience if patience is None else patience
    if not gate.enter(patience, ahead):
        raise BusyError(
            f"All {gate.passes} slots for network passes were in use for {patience:.0f} s; "
            "try again in a moment."
        )


def next_turn() -> None:
    """Within `admitted`, let those go first who wait; for loops of others, called pass by pass.

    Raises
    ------
    BusyError
        No place came free in time.
    """
    gate = _inside.get()
    if gate is None or not gate.line:
        return
    gate.leave()
    try:
        _enter(gate)
    except BaseException:
        with gate.changed:
            gate.inside += 1  # the block outside is going to give one back
        raise
