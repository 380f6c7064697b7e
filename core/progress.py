"""Progress and waiting of a computation, reported to a watcher that can stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from core.errors import Stopped

Item = TypeVar("Item")
OnStep = Callable[[int, int], bool | None]
OnWait = Callable[[int | None], bool | None]

POLL = 1.0
"""Seconds between two reports of a waiting request."""

_watcher: ContextVar[OnStep | None] = ContextVar("watcher", default=None)
_waiter: ContextVar[OnWait | None] = ContextVar("waiter", default=None)


@contextmanager
def watching(on_step: OnStep | None, on_wait: OnWait | None = None) -> Iterator[None]:
    """Watch every step of the computation inside a ``with`` block, in this thread.

    Parameters
    ----------
    on_step
        Called with the number of steps done and the total, first with none done, last with all;
        returning ``False`` stops. ``None`` also disables an outer watcher.
    on_wait
        Called every second while something inside waits: with the number of requests ahead,
        including those being computed, with 0 when the wait ends, or with ``None`` while another
        request computes the same result. Returning ``False``, or an exception, ends the wait before
        anything is computed. ``None`` leaves waiting to an outer watcher.

    Raises
    ------
    Stopped
        From within the block, where ``on_step`` or ``on_wait`` returned ``False``.
    """
    token = _watcher.set(on_step)
    waiter = _waiter.set(on_wait or _waiter.get())
    try:
        yield
    finally:
        _waiter.reset(waiter)
        _watcher.reset(token)


def steps(items: Sequence[Item]) -> Iterator[Item]:
    """Iterate over the items and report, before each and after the last, how many are done."""
    for done, item in enumerate(items):
        step(done, len(items))
        yield item
    step(len(items), len(items))


def step(done: int, total: int) -> None:
    """Report one step, for code without a sequence; raises `Stopped` if the watcher stops."""
    on_step = _watcher.get()
    if on_step is not None and on_step(done, total) is False and done < total:
        raise Stopped(f"Stopped after {done} of {total} steps, as asked.")


def waiting(before: int | None) -> None:
    """Report that a request waits; see `watching`."""
    on_wait = _waiter.get()
    if on_wait is not None and on_wait(before) is False:
        raise Stopped("Stopped while waiting, as asked.")


class WatchedLock:
    """A reentrant lock; waits for it are reported and can be stopped, see `watching`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        told = False
        while not self._lock.acquire(timeout=POLL):
            waiting(None)
            told = True
        if told:
            try:
                waiting(0)
            except BaseException:
                self._lock.release()
                raise

    def take_if_free(self) -> bool:
        """Acquire the lock if it is free; whether it was acquired."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()
