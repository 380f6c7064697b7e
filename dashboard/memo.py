"""Results that sessions share, made once and held within a budget of bytes. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Condition
from typing import Any, TypeVar

from cachetools import LRUCache, cached

from core import Model

Value = TypeVar("Value")


class Memo:
    """Values by key, made once however many ask at the same time; the longest unused goes first.

    Parameters
    ----------
    budget
        Bytes of values that are held. One that is larger is held as the only one.
    size_of
        Bytes of a value.
    """

    def __init__(self, budget: int, size_of: Callable[[Any], int]) -> None:
        self._held: LRUCache[Hashable, Any] = LRUCache(
            budget, getsizeof=lambda value: min(size_of(value), budget)
        )
        self._changed = Condition()
        self._get = cached(self._held, key=lambda key, make: key, condition=self._changed)(
            lambda key, make: make()
        )

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of this key, made if it is not held; a failure is not remembered."""
        found: Value = self._get(key, make)
        return found

    def __contains__(self, key: Hashable) -> bool:
        with self._changed:
            return key in self._held

    def values(self) -> list[Any]:
        """All that is held now."""
        with self._changed:
            return list(self._held.values())

    def drop(self, model: Model) -> None:
        """Let go of all values that hold a model, which are those with an attribute ``model``."""
        with self._changed:
            for key in [k for k, v in self._held.items() if getattr(v, "model", None) is model]:
                del self._held[key]

    @property
    def nbytes(self) -> int:
        """Bytes that are held now."""
        return int(self._held.currsize)
