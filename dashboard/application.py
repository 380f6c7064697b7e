"""What all sessions of this process share, held by one object. Knows no Streamlit.

Streamlit's caches are emptied by a message that any browser may send. What cannot be made again
(uploads, downloads on their way) or only in a long time (models, results, sweeps) is held here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

import core
from core import Model, ModelSpec, sweep
from dashboard import jobs, settings
from dashboard.availability import Ready, Refusals, Wishes
from dashboard.shared_cache import SharedCache
from dashboard.uploads import OwnPictures

if TYPE_CHECKING:
    from dashboard.store.store import Store
    from dashboard.sweeping import Made
    from dashboard.sweeps import SweepTable

FILES = 0.25
"""Share of the budget for uploaded files, which cannot be made again."""

OPEN_SWEEPS = 4
"""Sweeps whose rows are open at a time."""

ANSWERS = 256
"""Answers of sweeps that are kept: small ones, to whatever questions visitors think of."""

UNLIMITED = 2**62


class Application:
    """What all sessions share; every part is made when it is first asked for.

    Where the settings are wrong, the part that needs them raises `core.ParameterError`.
    """

    def __init__(self) -> None:
        self._parts = SharedCache(UNLIMITED)
        self._sweep_tables: LRUCache[tuple[Path, int], SweepTable] = LRUCache(OPEN_SWEEPS)
        self._sweep_tables_lock = threading.Lock()
        self._answers: LRUCache[Hashable, Any] = LRUCache(ANSWERS)
        self._answers_lock = threading.Lock()
        self._stores: list[Store] = []

    # -- what can be made again -------------------------------------------------------------------

    @property
    def results(self) -> SharedCache:
        """Recordings, maps, pictures and models beside the embedded pair, within the budget."""
        return self._parts.get("results", lambda: SharedCache(int((1 - FILES) * _budget())))

    @property
    def embedded(self) -> SharedCache:
        """The embedded pair, which is no part of the budget and always held."""
        return self._parts.get("embedded", lambda: SharedCache(UNLIMITED))

    def model(self, model_id: str) -> Model:
        """The one shared, frozen copy of a model; opened if it is not held.

        Raises
        ------
        UnknownModel
            No such id.
        WeightsError
            It cannot be had.
        """
        holder = self.holder(core.find_spec(model_id))
        return holder.get(("model", model_id), lambda: core.open_model(model_id))

    def holder(self, spec: ModelSpec) -> SharedCache:
        """What holds a model, once it is open."""
        return self.embedded if spec.source == "embedded" else self.results

    # -- what can be had --------------------------------------------------------------------------

    @property
    def refusals(self) -> Refusals:
        """Models that could not be had lately."""
        return self._parts.get("refusals", Refusals)

    @property
    def ready(self) -> Ready:
        """Which weights are on this machine."""
        return self._parts.get("ready", Ready)

    @property
    def wishes(self) -> Wishes:
        """Who waits for which download."""
        return self._parts.get("wishes", Wishes)

    # -- what visitors brought and made -----------------------------------------------------------

    @property
    def uploads(self) -> OwnPictures:
        """The files of all sessions."""
        return self._parts.get("uploads", lambda: OwnPictures(int(FILES * _budget())))

    @property
    def store(self) -> Store:
        """Saved screens; raises `StoreError` if they cannot be opened."""
        address = settings.store_url()
        return self._parts.get(("store", address), lambda: self._opened(address))

    def _opened(self, address: str) -> Store:
        from dashboard.store.store import Store

        found = Store(address)
        self._stores.append(found)
        return found

    @property
    def sweeps(self) -> Made:
        """The sweeps that the application makes itself."""
        from dashboard import presence
        from dashboard.sweeping import Made

        return self._parts.get("sweeps", lambda: Made(presence.present))

    def sweep_table(self, of: sweep.Sweep, changed: int) -> SweepTable:
        """Questions to the rows of a sweep, opened once as long as their file stays as it is.

        Parameters
        ----------
        changed
            When the file of rows was written last, in nanoseconds.
        """
        from dashboard.sweeps import SweepTable

        with self._sweep_tables_lock:
            key = (of.folder, changed)
            if key not in self._sweep_tables:
                self._sweep_tables[key] = SweepTable(of)
            return self._sweep_tables[key]

    def answer(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What a sweep answers to a question, kept while it is among the last `ANSWERS`."""
        with self._answers_lock:
            if key in self._answers:
                return self._answers[key]
        found = make()
        with self._answers_lock:
            self._answers[key] = found
        return found

    # -- the end ----------------------------------------------------------------------------------

    def close(self, patience: float = 0.0) -> None:
        """Stop all jobs, remove what visitors left on the disk, give back connections.

        Parameters
        ----------
        patience
            Seconds to wait for sweeps that are under way.
        """
        jobs.stop_all()
        if "sweeps" in self._parts:
            self.sweeps.close(patience)
        for store in self._stores:
            store.close()


def _budget() -> int:
    """Bytes for all that is held beside the embedded pair."""
    return settings.current().budget * 2**20


_lock = threading.Lock()
_current: Application | None = None


def current() -> Application:
    """The application of this process, made when it is first asked for."""
    global _current
    with _lock:
        if _current is None:
            _current = Application()
        return _current


def end(patience: float = 0.0) -> None:
    """Close the application, if there is one; who asks afterwards gets a new one."""
    global _current
    with _lock:
        ended, _current = _current, None
    if ended is not None:
        ended.close(patience)
