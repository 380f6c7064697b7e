"""Availability of models: failures, running downloads, stored weights. Independent of Streamlit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from cachetools import TTLCache

import core

REFUSED = 180.0
"""Seconds before an unavailable model is tried again."""

MOST_REFUSED = 1024
"""Most failures remembered."""

LOOKED = 60.0
"""Seconds between two checks of the weights on this machine."""

GONE = 20.0
"""Seconds after which a session without requests no longer counts as waiting."""


class Refusals:
    """Models that were unavailable recently, so that not every rerun waits for the network.

    Each is tried again `REFUSED` seconds after its failure, independently of others, and
    at once if a file of a user's own model has changed.

    Parameters
    ----------
    clock
        Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._reasons: TTLCache[str, tuple[str, object]] = TTLCache(MOST_REFUSED, REFUSED, clock)
        self._counted: WeakSet[core.Download] = WeakSet()

    def get(self, model_id: str, state: object = None) -> str:
        """Why a model was unavailable recently; empty if it was not.

        Parameters
        ----------
        state
            State of the model's files; failures in another state are ignored.
        """
        with self._lock:
            reason, before = self._reasons.get(model_id, ("", state))
            return reason if before == state else ""

    def put(self, model_id: str, reason: str, state: object = None) -> None:
        """Remember that a model is unavailable while its files do not change."""
        with self._lock:
            self._reasons[model_id] = reason, state

    def drop(self, model_id: str) -> None:
        """Let a model be tried again at once."""
        with self._lock:
            self._reasons.pop(model_id, None)

    def failed(self, download: core.Download) -> None:
        """Remember why a download failed, once for all sessions.

        A session that returns after a long pause must not make the model unavailable again.
        """
        with self._lock:
            if download not in self._counted:
                self._counted.add(download)
                self._reasons[download.model_id] = download.error, None


class Ready:
    """By model id, whether the weights are on this machine; checked once every `LOOKED` seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, bool] = {}
        self._until = 0.0

    def get(self) -> dict[str, bool]:
        """The last result."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = {spec.id: spec.available for spec in core.catalog()}
                self._until = time.monotonic() + LOOKED
            return dict(self._found)

    def look_again(self) -> None:
        """Check again on next use, as a download has finished."""
        with self._lock:
            self._until = 0.0


class Wishes:
    """Sessions waiting for downloads, so that one that leaves does not cancel it for others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._downloads: dict[str, core.Download] = {}
        self._asked: dict[str, dict[str, float]] = {}

    def begin(self, model_id: str) -> None:
        """Start or join a download."""
        with self._lock:
            self._downloads[model_id] = core.download(model_id)

    def ask(self, model_id: str, session: str) -> core.Download:
        """The last started download; renews the session's request."""
        with self._lock:
            self._asked.setdefault(model_id, {})[session] = time.monotonic()
            return self._downloads[model_id]

    def leave(self, model_id: str, session: str) -> None:
        """Stop waiting; cancels the download if no other session waits."""
        with self._lock:
            asked = self._asked.pop(model_id, {})
            since = time.monotonic() - GONE
            others = {who: at for who, at in asked.items() if who != session and at > since}
            if others:
                self._asked[model_id] = others
            else:
                self._downloads[model_id].cancel()
