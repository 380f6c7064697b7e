"""How far a long computation is, told to whoever watches, who may stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from core.errors import Stopped

Item = TypeVar("Item")
OnStep = Callable[[int, int], bool | None]

_watcher: ContextVar[OnStep | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(on_step: OnStep | None) -> Iterator[None]:
    """Be told of every step of what runs inside a ``with`` block, in this thread.

    Parameters
    ----------
    on_step
        Called with the steps done and the steps in all, first with none done, last with all;
        returning ``False`` stops. ``None`` watches nothing, whoever watches outside.

    Raises
    ------
    Stopped
        From within the block, where ``on_step`` returned ``False``.
    """
    token = _watcher.set(on_step)
    try:
        yield
    finally:
        _watcher.reset(token)


def steps(items: Sequence[Item]) -> Iterator[Item]:
    """Each of the items, telling before each, and after the last, how many are done."""
    for done, item in enumerate(items):
        _tell(done, len(items))
        yield item
    _tell(len(items), len(items))


def _tell(done: int, total: int) -> None:
    on_step = _watcher.get()
    if on_step is not None and on_step(done, total) is False and done < total:
        raise Stopped(f"Stopped after {done} of {total} steps, as asked.")
