"""How far a computation is and what it waits for, told to whoever watches, who may stop it."""

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
"""Seconds between two words to whoever watches a request that waits."""

_watcher: ContextVar[OnStep | None] = ContextVar("watcher", default=None)
_waiter: ContextVar[OnWait | None] = ContextVar("waiter", default=None)


@contextmanager
def watching(on_step: OnStep | None, on_wait: OnWait | None = None) -> Iterator[None]:
    """Be told of every step of what runs inside a ``with`` block, in this thread.

    Parameters
    ----------
    on_step
        Called with the steps done and the steps in all, first with none done, last with all;
        returning ``False`` stops. ``None`` watches nothing, whoever watches outside.
    on_wait
        Called every second while something inside waits: with the number of requests
        that come before, those that compute included, and with 0 when the turn has come; or with
        ``None`` while somebody else makes the very same thing. Returning ``False`` ends the
        waiting before anything is computed, and so does an exception. ``None`` leaves it to whoever
        watches outside.

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
    """Each of the items, telling before each, and after the last, how many are done."""
    for done, item in enumerate(items):
        step(done, len(items))
        yield item
    step(len(items), len(items))


def step(done: int, total: int) -> None:
    """Tell one step, for what is no sequence; raises `Stopped` if whoever watches wants that."""
    on_step = _watcher.get()
    if on_step is not None and on_step(done, total) is False and done < total:
        raise Stopped(f"Stopped after {done} of {total} steps, as asked.")


def waiting(before: int | None) -> None:
    """Tell that something waits; see `watching`."""
    on_wait = _waiter.get()
    if on_wait is not None and on_wait(before) is False:
        raise Stopped("Stopped while waiting, as asked.")


class WatchedLock:
    """A reentrant lock; waiting for it is told and can be stopped, as by `watching`."""

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
        """Take the lock if that needs no waiting; whether it was taken."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()
