"""Files that visitors uploaded, held within a budget of bytes. Knows no Streamlit."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

OWN = "own-"
"""How the address calls a picture of one's own, before its digest."""


def digest_of(data: bytes) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def own_id(digest: str) -> str:
    """What the address calls a picture of one's own."""
    return OWN + digest[:20]


class OwnPictures:
    """Files that were uploaded, by what the address calls them; shared by all sessions.

    ``budget`` bytes are held for all together; the longest unused goes first.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._files: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def put(self, name: str, data: bytes) -> str:
        """Keep a file; returns what the address calls it."""
        picture_id = own_id(digest_of(data))
        with self._lock:
            self._files[picture_id] = (name, data)
            self._files.move_to_end(picture_id)
            while sum(len(kept) for _, kept in self._files.values()) > self.budget:
                self._files.popitem(last=False)
        return picture_id

    def get(self, picture_id: str) -> tuple[str, bytes] | None:
        """Name and bytes of a file, if it is still held."""
        with self._lock:
            if picture_id in self._files:
                self._files.move_to_end(picture_id)
            return self._files.get(picture_id)
