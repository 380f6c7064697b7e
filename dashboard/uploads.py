"""Uploaded files, held within a budget of bytes. Independent of Streamlit."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

OWN = "own-"
"""Prefix of an uploaded picture's id in the address, followed by its digest."""


def digest_of(data: bytes) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def own_id(digest: str) -> str:
    """The id of an uploaded picture in the address."""
    return OWN + digest[:20]


class OwnPictures:
    """Uploaded files by id; shared by all sessions.

    At most ``budget`` bytes are held; the least recently used file is removed first.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._files: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def put(self, name: str, data: bytes) -> str:
        """Store a file; returns its id."""
        picture_id = own_id(digest_of(data))
        with self._lock:
            self._files[picture_id] = (name, data)
            self._files.move_to_end(picture_id)
            while sum(len(kept) for _, kept in self._files.values()) > self.budget:
                self._files.popitem(last=False)
        return picture_id

    def drop(self, picture_id: str) -> None:
        """Hold a file no longer."""
        with self._lock:
            self._files.pop(picture_id, None)

    def get(self, picture_id: str) -> tuple[str, bytes] | None:
        """Name and bytes of a file, if it is still held."""
        with self._lock:
            if picture_id in self._files:
                self._files.move_to_end(picture_id)
            return self._files.get(picture_id)
