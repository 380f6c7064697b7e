"""Jobs in separate threads, observed by pages. Independent of Streamlit."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Self

_jobs: weakref.WeakSet[Job] = weakref.WeakSet()


class Job:
    """A long computation that can be stopped and waited for.

    Parameters
    ----------
    work
        Function of the thread. It checks `stopped` regularly.
    arguments
        Arguments of ``work``. The thread releases them, including models, when it ends.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any, name: str) -> None:
        self._stopped = False
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(work, *arguments), name=name, daemon=True
        )

    def start(self) -> Self:
        """Start; returns itself."""
        _jobs.add(self)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the current step; finished results are kept."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self._stopped

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; whether it has ended."""
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
