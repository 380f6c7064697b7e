"""Samples, uploaded pictures, and saved ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import core
from core import (
    BusyError,
    ImageError,
    ImageTimeout,
    ParallaxError,
    Sample,
    fit_image,
)
from dashboard.cache.held import results, shared
from dashboard.figures import jpeg
from dashboard.scene import Picture
from dashboard.uploads import OWN, OwnPictures, digest_of, own_id

if TYPE_CHECKING:
    from dashboard.store.store import Store


def sample(path: Path) -> Image.Image:
    """A sample picture."""
    return results().get(("sample", path), lambda: core.read_image(path))


def _sample_digest(path: Path) -> str:
    return results().get(("digest", path), lambda: digest_of(path.read_bytes()))


def thumbnail(path: Path, side: int = 128) -> bytes:
    """A square JPEG thumbnail of a sample."""
    return results().get(
        ("thumbnail", path, side),
        lambda: jpeg(fit_image(core.read_image(path), "crop", (side, side))),
    )


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
        note=chosen.note,
    )


def own_pictures() -> OwnPictures:
    """The uploaded files of all sessions."""
    return shared().uploads


_late: ContextVar[dict[str, str] | None] = ContextVar("late", default=None)
"""Pictures not read in time in this run: sentences by digest."""

_NAME = "\0"
"""Placeholder of the name in a cached sentence."""


def _decoded(digest: str, trusted: bool, data: Callable[[], bytes]) -> Image.Image:
    """A decoded picture, cached within the budget.

    A timeout is no property of the file, so the picture is tried again, but not in the same run,
    which requests a picture several times.
    """
    late = _late.get()
    if late is not None and digest in late:
        raise ImageTimeout(late[digest])
    read = core.read_image if trusted else core.read_untrusted_image
    try:
        return results().get(("decoded", digest, trusted), lambda: read(data(), _NAME))
    except ImageTimeout as error:
        if late is not None:
            late[digest] = str(error)
        raise


@contextmanager
def reading_once() -> Iterator[None]:
    """Try a picture that is not read in time only once inside a ``with`` block."""
    token = _late.set({})
    try:
        yield
    finally:
        _late.reset(token)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Insert the picture's name into errors within a ``with`` block."""
    try:
        yield
    except (ImageError, BusyError) as error:
        if _NAME not in str(error):
            raise
        raise type(error)(str(error).replace(_NAME, name, 1)) from error


def _loaded(picture_id: str, name: str, digest: str, trusted: bool) -> Image.Image:
    with _named(name):
        return _decoded(digest, trusted, lambda: _file(picture_id, name))


def _refused(digest: str, trusted: bool, data: bytes) -> str:
    """The error sentence for a file, empty for a valid picture; computed once."""

    def make() -> str:
        try:
            _decoded(digest, trusted, lambda: data)
        except ImageTimeout:  # not a property of the file, so not cached
            raise
        except ImageError as error:
            return str(error)
        return ""

    return results().get(("refused", digest, trusted), make)


def _file(picture_id: str, name: str) -> bytes:
    """The bytes of an uploaded picture."""
    found = own_pictures().get(picture_id) or _saved_file(picture_id)
    if found is None:
        raise ImageError(f"The picture {name} is no longer held here; upload it again.")
    return found[1]


def own_picture(picture_id: str) -> Picture | None:
    """An uploaded picture, if its file is still held or was saved."""
    found = own_pictures().get(picture_id) or _saved_file(picture_id)
    return None if found is None else from_bytes(found[1], found[0])


def _saved_file(picture_id: str) -> tuple[str, bytes] | None:
    try:
        file = store().picture(picture_id.removeprefix(OWN))
    except ParallaxError:  # without saved screens the picture is just no longer held
        return None
    if file is None:
        return None
    own_pictures().put(file.name, file.data)
    return file.name, file.data


def from_bytes(data: bytes, name: str, trusted: bool = False) -> Picture:
    """A file as a picture; raises `ImageError` if it is not one.

    Parameters
    ----------
    trusted
        Whether it comes from the operator, so that no separate process is needed.
    """
    digest = digest_of(data)
    with _named(name):
        if sentence := _refused(digest, trusted, data):
            raise ImageError(sentence)
    picture_id = own_id(digest)
    return Picture(picture_id, name, lambda: _loaded(picture_id, name, digest, trusted), digest)


def store() -> Store:
    """Saved screens, opened on first use.

    Raises
    ------
    StoreError
    """
    return shared().store
