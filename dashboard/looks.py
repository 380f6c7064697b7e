"""A look: one model, one method and its parameters. Compare shows a column for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import core
from core import Method

MOST = 4
"""Most models shown, and most columns of Compare."""

LONGEST = 400
"""Characters of a look as text."""

Parameters = tuple[tuple[str, str], ...]
"""Chosen parameters of a method, as text, sorted by name."""

_ESCAPES = (("%", "%25"), (":", "%3A"), (",", "%2C"), ("=", "%3D"))


@dataclass(frozen=True)
class Look:
    """A model with a method and its parameters.

    As text, in addresses: ``model``, ``model:method`` or ``model:method:name=value,name=value``;
    ``%``, ``:``, ``,`` and ``=`` within a part are written as in an address, such as ``%3A``.

    Attributes
    ----------
    model
        Id of the model.
    method
        Empty for automatic choice.
    """

    model: str
    method: str = ""
    parameters: Parameters = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """The look of a text; every text is valid."""
        model, _, rest = text.partition(":")
        method, _, pairs = rest.partition(":")
        found = dict(_pair(pair) for pair in pairs.split(",") if pair)
        return cls(_plain(model), _plain(method), tuple(sorted(found.items())))

    @property
    def text(self) -> str:
        """The look as text, without what is empty at its end."""
        pairs = ",".join(f"{_escaped(k)}={_escaped(v)}" for k, v in self.parameters)
        return ":".join([_escaped(self.model), _escaped(self.method), pairs]).rstrip(":")

    def named(self, defaults: Callable[[Method], Mapping[str, str]]) -> Self:
        """This look with the parameters that must be stated; see `Method.earlier`."""
        changed = core.changed_methods()
        if self.method not in changed:
            return self
        found = {**defaults(changed[self.method]), **dict(self.parameters)}
        return replace(self, parameters=tuple(sorted(found.items())))


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return _plain(name), _plain(value)


def _escaped(text: str) -> str:
    for letter, code in _ESCAPES:
        text = text.replace(letter, code)
    return text


def _plain(text: str) -> str:
    for letter, code in reversed(_ESCAPES):
        text = text.replace(code, letter)
    return text


def texts(looks: Iterable[Look]) -> tuple[str, ...]:
    """Looks as texts, as in the screen."""
    return tuple(look.text for look in looks)
