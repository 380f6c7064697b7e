"""Which models can be had: refusals, downloads on their way, what is here. Knows no Streamlit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from cachetools import TTLCache

import core

REFUSED = 180.0
"""Seconds for which a model that could not be had is not tried again."""

MOST_REFUSED = 1024
"""Refusals that are remembered at a time."""

LOOKED = 60.0
"""Seconds after which is looked again which weights are on this machine."""

GONE = 20.0
"""Seconds after which a session that does not ask any more has lost its interest."""


class Refusals:
    """Models that could not be had lately, so that not every rerun waits for the network.

    Each is tried again `REFUSED` seconds after it was refused, whatever happens to the others, and
    at once where a file of a model of one's own has changed.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._reasons: TTLCache[str, tuple[str, object]] = TTLCache(MOST_REFUSED, REFUSED, clock)
        self._counted: WeakSet[core.Download] = WeakSet()

    def get(self, model_id: str, state: object = None) -> str:
        """Why a model could not be had lately; empty if nothing is known against it.

        Parameters
        ----------
        state
            Of the model's files; what was refused in another state is not known of this one.
        """
        with self._lock:
            reason, before = self._reasons.get(model_id, ("", state))
            return reason if before == state else ""

    def put(self, model_id: str, reason: str, state: object = None) -> None:
        """Remember that a model cannot be had, while its files are as they are."""
        with self._lock:
            self._reasons[model_id] = reason, state

    def failed(self, download: core.Download) -> None:
        """Remember why a download failed: once, however many sessions see it and whenever.

        A session that looks again after a long rest must not take the model from the others anew.
        """
        with self._lock:
            if download not in self._counted:
                self._counted.add(download)
                self._reasons[download.model_id] = download.error, None


class Ready:
    """By model id, whether the weights are on this machine; looked up once in `LOOKED` seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, bool] = {}
        self._until = 0.0

    def get(self) -> dict[str, bool]:
        """What was found lately."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = {spec.id: spec.available for spec in core.catalog()}
                self._until = time.monotonic() + LOOKED
            return dict(self._found)

    def look_again(self) -> None:
        """Something has arrived."""
        with self._lock:
            self._until = 0.0


class Wishes:
    """Who waits for which download, so that one who leaves does not take it from the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._downloads: dict[str, core.Download] = {}
        self._asked: dict[str, dict[str, float]] = {}

    def begin(self, model_id: str) -> None:
        """Begin or join a download."""
        with self._lock:
            self._downloads[model_id] = core.download(model_id)

    def ask(self, model_id: str, session: str) -> core.Download:
        """The download that was begun last; keeps the session's wish alive."""
        with self._lock:
            self._asked.setdefault(model_id, {})[session] = time.monotonic()
            return self._downloads[model_id]

    def leave(self, model_id: str, session: str) -> None:
        """Wait no longer; ends the download if nobody else waits."""
        with self._lock:
            asked = self._asked.pop(model_id, {})
            since = time.monotonic() - GONE
            others = {who: at for who, at in asked.items() if who != session and at > since}
            if others:
                self._asked[model_id] = others
            else:
                self._downloads[model_id].cancel()
