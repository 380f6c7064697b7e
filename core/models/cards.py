"""Cards: facts about one model, as data.

A card is a JSON file with these keys, all optional::

    class_origin      origin of its classes, one sentence
    caveats           what a reader must know about its maps, a list of sentences
    measurements      measurements, a list of {what, on, value, error, count}
    doubtful          indices of classes with little training data
    doubtful_reason   why, one sentence shown below the map of such a class
    details           anything else; not read by the application
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from core.errors import CatalogError


@dataclass(frozen=True)
class Measurement:
    """A measured share.

    Attributes
    ----------
    what
        The measured quantity, such as ``"Right first answer"``.
    on
        The measured items, in the plural, such as ``"validation pictures of ImageNet-1k"``.
    value
        In [0, 1].
    error
        Standard error of the value, in the same unit; ``None`` if not known.
    count
        Number of items; ``None`` if not known.
    """

    what: str
    on: str
    value: float
    error: float | None = None
    count: int | None = None

    @property
    def figure(self) -> str:
        """The value in words: ``80% ± 1% of 50,000 validation pictures of ImageNet-1k``."""
        error = "" if self.error is None else f" ± {self.error:.0%}"
        on = f"on {self.on}" if self.count is None else f"of {self.count:,} {self.on}"
        return f"{self.value:.0%}{error} {on}"


@dataclass(frozen=True)
class Card:
    """Facts about a model; empty without arguments.

    Attributes
    ----------
    class_origin
        Origin of its classes, one sentence; empty if none is needed.
    caveats
        What a reader must know about its maps, whole sentences.
    measurements
        Measurements; those with the same ``what`` are adjacent.
    doubtful
        Indices of classes with little training data.
    doubtful_reason
        Why, one sentence shown below the map of such a class.
    """

    class_origin: str = ""
    caveats: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    doubtful: frozenset[int] = frozenset()
    doubtful_reason: str = ""

    @property
    def summary(self) -> str:
        """Statements about the whole model, in sentences; empty without a card."""
        measured = (
            f"{what}: {', '.join(one.figure for one in same)}."
            for what, same in groupby(self.measurements, attrgetter("what"))
        )
        return " ".join(filter(None, (self.class_origin, *self.caveats, *measured)))

    def doubts(self, target: int | None) -> str:
        """Why the model's answers for a class are doubtful; empty if they are not."""
        return self.doubtful_reason if target in self.doubtful else ""


def read_card(path: Path) -> Card:
    """Read a card and check it.

    Raises
    ------
    CatalogError
        The file is missing or not JSON, a key is unknown, a value has the wrong type, or classes
        are marked as doubtful without a reason.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"The card {path.name!r} cannot be read ({error}); it must be a JSON file."
        ) from error
    where = f"The card {path.name!r}"
    if not isinstance(content, dict):
        raise CatalogError(f"{where} holds {shortened(content)}, expected an object with keys.")
    content.pop("details", None)
    _check_keys(content, _CARD, where)
    card = Card(
        class_origin=content.get("class_origin", ""),
        caveats=tuple(content.get("caveats", ())),
        measurements=tuple(
            _measurement(entry, f"{where}, measurement {place}")
            for place, entry in enumerate(content.get("measurements", ()), start=1)
        ),
        doubtful=frozenset(content.get("doubtful", ())),
        doubtful_reason=content.get("doubtful_reason", ""),
    )
    if card.doubtful and not card.doubtful_reason:
        raise CatalogError(f"{where} marks classes as doubtful; state why under 'doubtful_reason'.")
    return card


def _measurement(entry: dict[str, Any], where: str) -> Measurement:
    _check_keys(entry, _MEASUREMENT, where)
    if missing := sorted({"what", "on", "value"} - set(entry)):
        raise CatalogError(f"{where} has no {missing[0]!r}; add it.")
    return Measurement(**entry)


_Kind = tuple[Callable[[Any], bool], str]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _list_of(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(accepts, value))


_TEXT: _Kind = (_is_text, "a text")
_SHARE: _Kind = (_is_share, "a number from 0 to 1")
_CARD: dict[str, _Kind] = {
    "class_origin": _TEXT,
    "caveats": (_list_of(_is_text), "a list of texts"),
    "measurements": (_list_of(lambda entry: isinstance(entry, dict)), "a list of objects"),
    "doubtful": (_list_of(_is_whole), "a list of class indices"),
    "doubtful_reason": _TEXT,
}
_MEASUREMENT: dict[str, _Kind] = {
    "what": _TEXT,
    "on": _TEXT,
    "value": _SHARE,
    "error": _SHARE,
    "count": (_is_whole, "a whole number"),
}


def _check_keys(content: dict[str, Any], kinds: dict[str, _Kind], where: str) -> None:
    for key, value in content.items():
        if key not in kinds:
            raise CatalogError(f"{where} has the unknown key {key!r}; known are {sorted(kinds)}.")
        accepts, expected = kinds[key]
        if not accepts(value):
            raise CatalogError(
                f"{where} has {shortened(value)} as {key!r}, expected {expected}; correct it."
            )
