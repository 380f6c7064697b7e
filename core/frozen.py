"""Read-only results: they are shared by all callers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import numpy as np

Key = TypeVar("Key")
Value = TypeVar("Value")


class ReadOnly(dict[Key, Value]):
    """A dict that cannot be changed; copies of it by ``dict(…)`` and ``|`` are plain ones.

    Unlike ``types.MappingProxyType`` it can be pickled, copied deeply and written as JSON.
    """

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            "This mapping is part of a result and cannot be changed; change a copy: dict(mapping)."
        )

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


def read_only(value: Any) -> Any:
    """A read-only version of an array, mapping or tuple of them, at any depth; else unchanged.

    An array becomes a view, so that the caller's own array stays writable.
    """
    if isinstance(value, np.ndarray):
        view = value.view()
        view.setflags(write=False)
        return view
    if isinstance(value, Mapping) and not isinstance(value, ReadOnly):
        return ReadOnly({name: read_only(part) for name, part in value.items()})
    if type(value) is tuple:
        sealed = tuple(map(read_only, value))
        return sealed if any(a is not b for a, b in zip(sealed, value, strict=True)) else value
    return value


class Frozen:
    """Base of frozen dataclasses whose arrays and mappings are read-only as well."""

    def __post_init__(self) -> None:
        self._seal()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._seal()  # pickled arrays come back writable

    def _seal(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if (sealed := read_only(value)) is not value:
                object.__setattr__(self, field.name, sealed)
