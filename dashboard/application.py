"""The state shared by all sessions of this process, in one object. Independent of Streamlit.

Any browser can send a message that clears Streamlit's caches. So data that cannot be recreated
(uploads, running downloads) or only slowly (models, results, sweeps) is held here.
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
from dashboard.own_models import OwnModel, OwnModels, is_own, not_held
from dashboard.settings import FILES
from dashboard.shared_cache import SharedCache
from dashboard.uploads import OwnPictures

if TYPE_CHECKING:
    from dashboard.store.store import Store
    from dashboard.sweeping import Made
    from dashboard.sweeps import SweepTable

OPEN_SWEEPS = 4
"""Sweeps whose rows are open at a time."""

ANSWERS = 256
"""Cached results of queries on sweeps, which are small."""

UNLIMITED = 2**62


class Application:
    """The state shared by all sessions; every part is created on first use.

    If a setting is wrong, the part that needs it raises `core.ParameterError`.
    """

    def __init__(self) -> None:
        self._parts = SharedCache(UNLIMITED)
        self._sweep_tables: LRUCache[tuple[Path, int], SweepTable] = LRUCache(OPEN_SWEEPS)
        self._sweep_tables_lock = threading.Lock()
        self._answers: LRUCache[Hashable, Any] = LRUCache(ANSWERS)
        self._answers_lock = threading.Lock()
        self._stores: list[Store] = []

    # -- recreatable ------------------------------------------------------------------------------

    @property
    def results(self) -> SharedCache:
        """Recordings, maps, pictures and models beside the embedded pair, within the budget."""
        return self._parts.get("results", lambda: SharedCache(int((1 - FILES) * _budget())))

    @property
    def embedded(self) -> SharedCache:
        """The embedded pair, which is no part of the budget and always held."""
        return self._parts.get("embedded", lambda: SharedCache(UNLIMITED))

    def model(self, model_id: str) -> Model:
        """The one shared, frozen copy of a model; opened if necessary.

        Raises
        ------
        UnknownModel
            The id is unknown.
        WeightsError
            Its weights are not available.
        """
        own = self.own_model(model_id)
        make = own.open if own else lambda: core.open_model(model_id)
        return self.holder(self.spec(model_id)).get(("model", model_id), make)

    def spec(self, model_id: str) -> ModelSpec:
        """The entry of a model of the catalog, or of one that was opened from a page.

        Raises
        ------
        UnknownModel
            No such id, or one that is not held here.
        """
        if own := self.own_model(model_id):
            return own.spec
        if is_own(model_id) and all(spec.id != model_id for spec in core.catalog()):
            raise core.UnknownModel(
                f"{not_held(model_id)}; open it again there, or write it into models.toml by "
                "python -m core.models add and choose it by that id."
            )
        return core.find_spec(model_id)

    def own_model(self, model_id: str) -> OwnModel | None:
        """A model that was opened from a page, if it is held."""
        return self.own_models.get(model_id) if is_own(model_id) else None

    def holder(self, spec: ModelSpec) -> SharedCache:
        """What holds a model, once it is open."""
        return self.embedded if spec.source == "embedded" else self.results

    # -- availability -----------------------------------------------------------------------------

    @property
    def refusals(self) -> Refusals:
        """Models that were unavailable recently."""
        return self._parts.get("refusals", Refusals)

    @property
    def ready(self) -> Ready:
        """Which weights are on this machine."""
        return self._parts.get("ready", Ready)

    @property
    def wishes(self) -> Wishes:
        """Sessions waiting for downloads."""
        return self._parts.get("wishes", Wishes)

    # -- data of users ----------------------------------------------------------------------------

    @property
    def uploads(self) -> OwnPictures:
        """The uploaded files of all sessions."""
        return self._parts.get("uploads", lambda: OwnPictures(int(FILES * _budget())))

    @property
    def own_models(self) -> OwnModels:
        """The models that were opened from a page, and the files that were brought for it."""
        return self._parts.get("own models", lambda: OwnModels(settings.most_of_model()))

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
        """The sweeps made by the application."""
        from dashboard import presence
        from dashboard.sweeping import Made

        return self._parts.get("sweeps", lambda: Made(presence.present))

    def sweep_table(self, of: sweep.Sweep, changed: int) -> SweepTable:
        """Queries on the rows of a sweep, opened once while their file does not change.

        Parameters
        ----------
        changed
            Time of the last write to the rows, in nanoseconds.
        """
        from dashboard.sweeps import SweepTable

        with self._sweep_tables_lock:
            key = (of.folder, changed)
            if key not in self._sweep_tables:
                self._sweep_tables[key] = SweepTable(of)
            return self._sweep_tables[key]

    def answer(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The result of a query on a sweep, cached while among the last `ANSWERS`."""
        with self._answers_lock:
            if key in self._answers:
                return self._answers[key]
        found = make()
        with self._answers_lock:
            self._answers[key] = found
        return found

    # -- the end ----------------------------------------------------------------------------------

    def close(self, patience: float = 0.0) -> None:
        """Stop all jobs, remove users' files from the disk, close connections.

        Parameters
        ----------
        patience
            Seconds to wait for running sweeps.
        """
        jobs.stop_all()
        if "own models" in self._parts:
            self.own_models.close()
        if "sweeps" in self._parts:
            self.sweeps.close(patience)
        for store in self._stores:
            store.close()


def _budget() -> int:
    """Bytes for everything held beside the embedded pair."""
    return settings.current().budget * 2**20


_lock = threading.Lock()
_current: Application | None = None


def current() -> Application:
    """The application of this process, created on first use."""
    global _current
    with _lock:
        if _current is None:
            _current = Application()
        return _current


def end(patience: float = 0.0) -> None:
    """Close the application, if there is one; the next `current` creates a new one."""
    global _current
    with _lock:
        ended, _current = _current, None
    if ended is not None:
        ended.close(patience)
