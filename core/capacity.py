"""Limits on concurrent passes: one gate for the whole process, configured by a call.

Requests are admitted in order of arrival, and a long request queues again for each pass, so that a
short request never waits for all passes of a long one.
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
"""Default number of concurrent passes; each holds the activations of one batch."""

PATIENCE = 120.0
"""Default for the seconds that a request waits for a slot."""

MEMORY = 2 * 2**30
"""Default for the bytes that one pass may store."""


class _Gate:
    """Slots for passes, the queue of waiting requests, and the cost limit of a pass."""

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
        """Acquire a slot in order of arrival; false if the patience ended first.

        An exception of `core.progress.waiting` ends the wait, also when a slot is free: a request
        whose user has left does not begin.
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
        """Release a slot."""
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
    """Set the limits on concurrent passes; omitted values stay.

    Call it once, before requests arrive: running passes finish under the old limits.

    Parameters
    ----------
    passes
        Network passes at the same time, at least 1.
    patience
        Seconds that a request waits for a slot before `BusyError`, not negative.
    memory
        Bytes that the results of one pass may take, at least 2²⁰.
    threads
        Threads of PyTorch within one pass, at least 1. Concurrent passes share the cores: more
        threads than cores in total slow them all down.

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
        ``computing`` and ``waiting`` requests, the number of slots (``places``), and since the gate
        was configured how often a slot was acquired (``served``) and how many requests left without
        one (``left``), because they were canceled or their patience ended.
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
    """Gradient graphs of finished passes that may be kept for further requests."""
    return 2 * _gate.passes


def memory_budget() -> int:
    """Bytes that the results of one pass may take."""
    return _gate.memory


@contextmanager
def admitted(patience: float | None = None, *, ahead: bool = False) -> Iterator[None]:
    """Hold a slot within a ``with`` block; may be nested.

    `core.watching` reports a waiting request's place in the queue. Within the block, do not request
    uncomputed results of a shared recording (see `Recording.extend`): the thread that computes on
    it may be waiting for this very slot.

    Parameters
    ----------
    patience
        Seconds to wait, instead of the configured ones.
    ahead
        Go to the head of the queue: for the last step of a request that holds much memory.

    Raises
    ------
    BusyError
        No slot became free in time.
    """
    if _inside.get() is not None:
        yield
        return
    gate = _gate  # the same gate is entered and left, even if `configure` was called meanwhile
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
    """Within `admitted`, let waiting requests go first; for third-party loops, once per pass.

    Raises
    ------
    BusyError
        No slot became free in time.
    """
    gate = _inside.get()
    if gate is None or not gate.line:
        return
    gate.leave()
    try:
        _enter(gate)
    except BaseException:
        with gate.changed:
            gate.inside += 1  # the enclosing block will release one
        raise
