"""Pictures that a reader uploads are read, held, and known to the session."""

from __future__ import annotations

from typing import Any

from core import ImageError, ImageTimeout
from dashboard import cache, session
from dashboard.scene import Picture


def take(name: str, data: bytes) -> Picture:
    """Read an uploaded file and hold it for this and other pages.

    Raises
    ------
    ImageError
        It cannot be read.
    """
    picture = cache.from_bytes(data, name)
    cache.own_pictures().put(name, data)
    session.remember_own(picture.id)
    return picture


def take_several(given: Any) -> list[str]:
    """Ids of the files of an uploader that can be read; each of the others becomes a sentence."""
    added = []
    for file in session.uploaded(given):
        try:
            added.append(take(file.name, file.getvalue()).id)
        except ImageTimeout as error:  # the others would take as long
            session.say(str(error))
            break
        except ImageError as error:
            session.say(str(error))
    return added
