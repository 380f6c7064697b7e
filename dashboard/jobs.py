"""Work in a thread of its own, which a page only looks at. Knows no Streamlit."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Self

_jobs: weakref.WeakSet[Job] = weakref.WeakSet()


class Job:
    """Something long that was begun, and can be stopped and waited for.

    Parameters
    ----------
    work
        What the thread does. It looks at `stopped` now and then.
    arguments
        Of ``work``. The thread lets go of them when it ends, and with them of the models.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any, name: str) -> None:
        self._stopped = False
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(work, *arguments), name=name, daemon=True
        )

    def start(self) -> Self:
        """Begin; returns itself."""
        _jobs.add(self)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End after the piece of work that is under way; what has been made stays."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped

    @property
    def ended(self) -> bool:
        """Whether nothing is going to change any more."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        self._thread.join(seconds)
        return self.ended

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        finally:
            self._ended.set()


def stop_all() -> None:
    """Stop all jobs of this process."""
    for job in list(_jobs):
        job.stop()
