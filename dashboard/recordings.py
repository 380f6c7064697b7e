"""Recordings that sessions share, within a budget of bytes. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Condition

from cachetools import LRUCache, cached

from core import Model, Recording

BUDGET = 256 * 2**20
"""Bytes of recordings that are held; the longest unused goes first."""


class Recordings:
    """Recordings by key, made once however many ask at the same time.

    A recording holds its model, so those of a model that is dropped have to go with it.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        # One that is larger than the budget is held as the only one.
        self._held: LRUCache[Hashable, Recording] = LRUCache(
            budget, getsizeof=lambda recording: min(recording.nbytes, budget)
        )
        self._changed = Condition()
        self._get = cached(self._held, key=lambda key, make: key, condition=self._changed)(
            lambda key, make: make()
        )

    def get(self, key: Hashable, make: Callable[[], Recording]) -> Recording:
        """The recording of this key, made if it is not held."""
        found: Recording = self._get(key, make)
        return found

    def drop(self, model: Model) -> None:
        """Let go of all recordings of a model."""
        with self._changed:
            for key in [key for key, held in self._held.items() if held.model is model]:
                del self._held[key]

    @property
    def nbytes(self) -> int:
        """Bytes that are held now."""
        return int(self._held.currsize)
