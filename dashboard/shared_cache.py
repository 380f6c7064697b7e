"""Shared results, computed once and held within a budget of bytes. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields, is_dataclass
from threading import Condition
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

import core
from core import Model, Recording

Value = TypeVar("Value")


def size_of(value: Any) -> int:
    """Bytes of a value: arrays, pictures, files, models; other objects have a small size."""
    if isinstance(value, np.ndarray | Recording):
        return int(value.nbytes)
    if isinstance(value, Model):
        held = [*value.module.parameters(), *value.module.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, bytes | str):
        return 50 + len(value)
    if isinstance(value, list | tuple):
        return 50 + sum(map(size_of, value))
    if isinstance(value, dict):
        return 50 + sum(map(size_of, value.values()))
    if is_dataclass(value) and not isinstance(value, type):
        return 500 + sum(size_of(getattr(value, field.name)) for field in fields(value))
    return 50


def seal(value: Any) -> None:
    """Make the arrays of a value read-only, as all sessions share them."""
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    elif isinstance(value, list | tuple):
        for part in value:
            seal(part)
    elif isinstance(value, dict):
        for part in value.values():
            seal(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            seal(getattr(value, field.name))


@dataclass(eq=False)
class _Held:
    """A value with its bytes and the time of its last use."""

    value: Any
    nbytes: int
    used: float


class SharedCache:
    """Values by key, made once however many ask at the same time.

    Beyond the budget, the value with the largest product of its bytes and the time since its last
    use is removed first: unused recordings, pictures and models, then small old values. A removed
    value stays valid for its users, and a request for a model that is still in use gets the same
    instance.

    Parameters
    ----------
    budget
        Most bytes of the held values. A single larger value is held alone.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._held: dict[Hashable, _Held] = {}
        self._models: WeakValueDictionary[Hashable, Model] = WeakValueDictionary()
        self._making: set[Hashable] = set()
        self._changed = Condition()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of this key, computed if it is not held; failures are not cached.

        Waiting for another thread that computes it can be stopped; see `core.watching`.
        """
        told = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: key not in self._making, core.POLL)
                free = key not in self._making
                held = self._held.get(key) if free else None
                if held is not None:
                    held.used = monotonic()
                elif free:
                    self._making.add(key)
            if free:
                break
            core.waiting(None)
            told = True
        try:
            if told:
                core.waiting(0)
            if held is not None:
                return held.value  # type: ignore[no-any-return]
            value: Any = self._models.get(key)
            if value is None:
                value = make()
                seal(value)
            size = size_of(value)
            with self._changed:
                self._held[key] = _Held(value, size, monotonic())
                if isinstance(value, Model):
                    self._models[key] = value
            self._shrink(key)
        finally:
            if held is None:
                with self._changed:
                    self._making.discard(key)
                    self._changed.notify_all()
        return value  # type: ignore[no-any-return]

    def peek(self, key: Hashable) -> Any:
        """The value of this key if it is held; this does not count as a use."""
        with self._changed:
            held = self._held.get(key)
            return None if held is None else held.value

    def settle(self) -> None:
        """Measure growing values again, and enforce the budget."""
        with self._changed:
            growing = [held for held in self._held.values() if isinstance(held.value, Recording)]
        for held in growing:
            held.nbytes = size_of(held.value)
        self._shrink()

    def _shrink(self, newest: Hashable = None) -> None:
        """Remove values until the rest fits; the newest stays."""
        dropped: list[Any] = []  # freed outside the lock
        with self._changed:
            excess = self.nbytes - self.budget
            if excess <= 0:
                return
            now = monotonic()
            order = sorted(
                (key for key in self._held if key != newest),
                key=lambda key: (now - self._held[key].used) * self._held[key].nbytes,
            )
            while excess > 0 and order:
                held = self._held.pop(order.pop())
                excess -= held.nbytes
                dropped.append(held.value)
        models = [value for value in dropped if isinstance(value, Model)]
        for model in models:
            self.drop(model)

    def __contains__(self, key: Hashable) -> bool:
        with self._changed:
            return key in self._held

    def values(self) -> list[Any]:
        """All held values."""
        with self._changed:
            return [held.value for held in self._held.values()]

    def drop(self, model: Model) -> None:
        """Remove all values that hold a model, which are those with an attribute ``model``."""
        with self._changed:
            gone = [
                self._held.pop(key)
                for key, held in list(self._held.items())
                if held.value is model or getattr(held.value, "model", None) is model
            ]
        del gone

    @property
    def nbytes(self) -> int:
        """Bytes that are held now."""
        with self._changed:
            return sum(held.nbytes for held in list(self._held.values()))
