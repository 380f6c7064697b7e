"""Records of saved screens as plain values, independent of database libraries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core import ParallaxError

TITLE, AUTHOR, NOTE = 120, 60, 4000
"""Most characters of typed texts."""

MOST_NOTES = 500
"""Most notes on one screen."""


class StoreError(ParallaxError):
    """Saved data is not available, or data cannot be saved."""


@dataclass(frozen=True, eq=False)
class File:
    """A picture's file.

    Attributes
    ----------
    name
        Name given by the user.
    """

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Note:
    """A user's note on a saved screen."""

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
        New by default; screens of an archive have one, so that nothing is imported twice.
    facts
        Pairs of a kind (``"picture"``, ``"model"``, ``"class"``) and a value, for searches.
    manifest
        Text of a `dashboard.manifest.Manifest`.
    pictures
        Files that it needs, the main picture first.
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
    """A saved screen at the time of reading.

    Attributes
    ----------
    version
        Passed with a change, which is rejected if another user changed the screen first.
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
        """Number of notes."""
        return len(self.notes)


@dataclass(frozen=True, eq=False)
class Card:
    """The data of a saved screen for lists; all of it is small.

    Attributes
    ----------
    answers
        Title of a model, its most probable class, and the probability, 0 to 1; for each model.
    noted
        Number of notes.
    thumbnail
        Empty if the list was requested without thumbnails.
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
