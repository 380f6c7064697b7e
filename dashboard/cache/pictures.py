"""Samples, pictures of one's own, and the saved ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from PIL import Image

import core
from core import (
    ImageError,
    ParallaxError,
    Sample,
    fit_image,
)
from dashboard import settings
from dashboard.cache.held import FILES, budget, results
from dashboard.figures import jpeg
from dashboard.scene import OWN, Picture, own_id

if TYPE_CHECKING:
    from dashboard.store.store import Store


def sample(path: Path) -> Image.Image:
    """A sample picture."""
    return results().get(("sample", path), lambda: core.read_image(path))


@st.cache_data(max_entries=32, show_spinner=False)
def _sample_digest(path: Path) -> str:
    return Picture.digest_of(path.read_bytes())


@st.cache_data(max_entries=64, show_spinner=False)
def thumbnail(path: Path, side: int = 128) -> bytes:
    """A square JPEG thumbnail of a sample."""
    return jpeg(fit_image(core.read_image(path), "crop", (side, side)))


def thumbnail_of(picture: Picture, side: int = 128) -> bytes:
    """A square JPEG thumbnail of an uploaded picture."""
    return results().get(
        ("thumbnail", picture.digest, side),
        lambda: jpeg(fit_image(picture.image, "crop", (side, side))),
    )


def from_sample(chosen: Sample) -> Picture:
    """A sample as a picture of the session."""
    digest = _sample_digest(chosen.path)
    return Picture(
        chosen.id,
        chosen.title,
        lambda: sample(chosen.path),
        digest,
        chosen.classes,
        outside=not chosen.classes,
    )


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
        picture_id = own_id(Picture.digest_of(data))
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


@st.cache_resource(show_spinner=False)
def own_pictures() -> OwnPictures:
    """The files of all sessions."""
    return OwnPictures(int(FILES * budget()))


_NAME = "\0"
"""Stands for the name in a sentence that is kept for every name."""


def _decoded(digest: str, trusted: bool, data: Callable[[], bytes]) -> Image.Image:
    """A picture, which is held as long as there is room."""
    read = core.read_image if trusted else core.read_strange_image
    return results().get(("decoded", digest, trusted), lambda: read(data(), _NAME))


def _refused(digest: str, trusted: bool, data: bytes) -> str:
    """The sentence that refuses a file, empty for a picture; found out once."""

    def make() -> str:
        try:
            _decoded(digest, trusted, lambda: data)
        except ImageError as error:
            return str(error)
        return ""

    return results().get(("refused", digest, trusted), make)


def _file(picture_id: str, name: str) -> bytes:
    """The bytes of a picture of one's own."""
    found = own_pictures().get(picture_id) or _saved_file(picture_id)
    if found is None:
        raise ImageError(f"The picture {name} is not held here any more; upload it again.")
    return found[1]


def own_picture(picture_id: str) -> Picture | None:
    """A picture of one's own, if its file is still held or was saved."""
    found = own_pictures().get(picture_id) or _saved_file(picture_id)
    return None if found is None else from_bytes(found[1], found[0])


def _saved_file(picture_id: str) -> tuple[str, bytes] | None:
    try:
        file = store().picture(picture_id.removeprefix(OWN))
    except ParallaxError:  # without saved screens a picture is only not held any more
        return None
    if file is None:
        return None
    own_pictures().put(file.name, file.data)
    return file.name, file.data


def from_bytes(data: bytes, name: str, trusted: bool = False) -> Picture:
    """A file as a picture; raises `ImageError` if it is none.

    Parameters
    ----------
    trusted
        It comes from the operator, and needs no process of its own to be read.
    """
    digest = Picture.digest_of(data)
    if sentence := _refused(digest, trusted, data):
        raise ImageError(sentence.replace(_NAME, name, 1))
    picture_id = own_id(digest)
    return Picture(
        picture_id,
        name,
        lambda: _decoded(digest, trusted, lambda: _file(picture_id, name)),
        digest,
    )


@st.cache_resource(show_spinner=False)
def _store(address: str) -> Store:
    from dashboard.store.store import Store

    return Store(address)


def store() -> Store:
    """Saved screens; opened when they are first asked for.

    Raises
    ------
    StoreError
    """
    return _store(settings.store_url())
