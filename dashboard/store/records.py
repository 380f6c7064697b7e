"""What is saved and read, as plain values: importing them asks for no database library."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core import ParallaxError

TITLE, AUTHOR, NOTE = 120, 60, 4000
"""Characters of what people type."""

MOST_NOTES = 500
"""Notes on one screen."""


class StoreError(ParallaxError):
    """What was saved cannot be had, or what is to be saved not be kept."""


@dataclass(frozen=True, eq=False)
class File:
    """A picture's file.

    Attributes
    ----------
    name
        As whoever brought it calls it.
    """

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Note:
    """What somebody wrote about a saved screen."""

    id: str
    author: str
    text: str
    created: datetime


@dataclass(frozen=True, eq=False)
class Draft:
    """A screen to be saved.

    Attributes
    ----------
    id
        New by default; an archive brings its own, so that nothing is taken in twice.
    facts
        Pairs of a kind (``"picture"``, ``"model"``, ``"class"``) and a value to be found by.
    manifest
        Text of a `dashboard.manifest.Manifest`.
    pictures
        Files that it needs, the first of them first.
    thumbnail, still
        JPEG or PNG files.
    arrays
        An NPZ file.
    """

    title: str
    author: str
    page: str
    manifest: str
    pictures: Sequence[File]
    thumbnail: bytes
    still: bytes
    arrays: bytes
    facts: frozenset[tuple[str, str]] = frozenset()
    notes: Sequence[Note] = ()
    id: str = ""
    created: datetime | None = None
    archived: bool = False


@dataclass(frozen=True, eq=False)
class Saved:
    """A saved screen as it was when it was read.

    Attributes
    ----------
    version
        To be handed back with a change, which is refused if somebody else was faster.
    """

    id: str
    title: str
    author: str
    created: datetime
    page: str
    archived: bool
    version: int
    manifest: str
    thumbnail: bytes
    notes: tuple[Note, ...]

    @property
    def noted(self) -> int:
        """How many notes there are."""
        return len(self.notes)


@dataclass(frozen=True, eq=False)
class Card:
    """What a list shows of a saved screen; none of it is large.

    Attributes
    ----------
    answers
        Title of a model, its most probable class, and the probability, 0 to 1; for each model.
    noted
        How many notes there are.
    thumbnail
        Empty where a list was asked for without.
    """

    id: str
    title: str
    author: str
    created: datetime
    page: str
    archived: bool
    noted: int
    answers: tuple[tuple[str, str, float], ...]
    thumbnail: bytes


@dataclass(frozen=True)
class Size:
    """Bytes that a saved screen adds to an archive.

    Attributes
    ----------
    packed
        Without its pictures, with its notes.
    unpacked
        Of its arrays, unpacked.
    pictures
        Of each picture, by its digest.
    """

    id: str
    packed: int
    unpacked: int
    pictures: Mapping[str, int]
