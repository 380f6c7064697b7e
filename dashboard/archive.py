"""Saved screens as one ZIP file, and back. What is read may come from anyone.

::

    screens/ID/saved.json      title, author, notes
    screens/ID/manifest.json   the screen; see `dashboard.manifest`
    screens/ID/arrays.npz      raw arrays
    screens/ID/still.jpg       the page as a picture
    screens/ID/thumbnail.jpg
    pictures/SHA256            the file of a picture, as it was brought

Nothing is ever unpacked to a disk; names serve as keys only.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

import core
from core import ImageError, ParallaxError
from dashboard import manifest
from dashboard.figures import jpeg
from dashboard.manifest import Manifest, ManifestError, Moment
from dashboard.store import Draft, File, Note

MOST_ENTRIES = 2000
MOST_BYTES = 200 * 2**20
"""Of an archive, unpacked."""

MOST_SCREENS = 300
MOST_NOTES = 500
ARRAYS = 64 * 2**20
"""Bytes of all arrays of a screen, unpacked."""

_NAME = re.compile(
    r"screens/([0-9a-f]{32})/(saved\.json|manifest\.json|arrays\.npz|still\.jpg|thumbnail\.jpg)"
    r"|pictures/([0-9a-f]{64})"
    r"|README\.txt|report\.html|arrays\.py"
)
_ABOUT = (
    "Screens of Parallax. Import this file on the Review page of any Parallax; nothing has to be "
    "unpacked.\n"
)


class ArchiveError(ParallaxError):
    """The file is no archive of saved screens, or too large."""


class _Note(BaseModel):
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    author: Annotated[str, Field(max_length=manifest.AUTHOR)]
    text: Annotated[str, Field(max_length=manifest.NOTE)]
    created: Moment


class _About(BaseModel):
    title: Annotated[str, Field(max_length=manifest.TITLE)]
    author: Annotated[str, Field(max_length=manifest.AUTHOR)]
    created: Moment
    archived: bool = False
    notes: Annotated[list[_Note], Field(max_length=MOST_NOTES)] = []
    names: Annotated[dict[str, Annotated[str, Field(max_length=200)]], Field(max_length=16)] = {}


# -- to write -------------------------------------------------------------------------------------


def write(drafts: Iterable[Draft], extra: Mapping[str, bytes] | None = None) -> bytes:
    """Screens as one ZIP file.

    Parameters
    ----------
    extra
        Further files by name: ``report.html``, ``arrays.py``.
    """
    buffer = io.BytesIO()
    held: set[str] = set()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _ABOUT)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
        for draft in drafts:
            folder = f"screens/{draft.id}"
            about = _About(
                title=draft.title,
                author=draft.author,
                created=draft.created,
                archived=draft.archived,
                notes=[_Note(**vars(note)) for note in draft.notes],
                names={file.digest: file.name[:200] for file in draft.pictures},
            )
            archive.writestr(f"{folder}/saved.json", about.model_dump_json(indent=1))
            archive.writestr(f"{folder}/manifest.json", draft.manifest)
            for name, data in (
                ("arrays.npz", draft.arrays),
                ("still.jpg", draft.still),
                ("thumbnail.jpg", draft.thumbnail),
            ):
                archive.writestr(f"{folder}/{name}", data, zipfile.ZIP_STORED)
            for file in draft.pictures:
                if file.digest not in held:
                    held.add(file.digest)
                    archive.writestr(f"pictures/{file.digest}", file.data, zipfile.ZIP_STORED)
    return buffer.getvalue()


# -- to read --------------------------------------------------------------------------------------


def read(data: bytes) -> list[Draft]:
    """Screens of an archive, each checked in all its parts before any is given back.

    Raises
    ------
    ArchiveError
        No ZIP file, a name that does not belong there, too much of anything, or a part that is
        not what it must be.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = _unpacked(archive)
    except ArchiveError:
        raise
    except Exception as error:  # zipfile and zlib raise BadZipFile, RuntimeError, OSError, …
        raise ArchiveError(
            "This file is no ZIP archive that can be read; choose one that was exported here."
        ) from error
    ids = sorted({match[1] for name in files if (match := _NAME.fullmatch(name)) and match[1]})
    if not ids:
        raise ArchiveError("This archive holds no saved screen; choose one exported here.")
    if len(ids) > MOST_SCREENS:
        raise ArchiveError(
            f"This archive holds {len(ids)} screens; at most {MOST_SCREENS} are read."
        )
    return [_draft(screen_id, files) for screen_id in ids]


def _unpacked(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ArchiveError(
            f"This archive has {len(entries)} entries; at most {MOST_ENTRIES} are read."
        )
    left, files = MOST_BYTES, {}
    for entry in entries:
        if not _NAME.fullmatch(entry.filename) or entry.filename in files:
            raise ArchiveError(
                "This archive holds a file that does not belong there "
                f"({entry.filename[:60]!r}); choose one that was exported here."
            )
        with archive.open(entry) as opened:
            found = opened.read(left + 1)  # never more, whatever the entry says of its size
        left -= len(found)
        if left < 0:
            raise ArchiveError(
                f"This archive holds more than {MOST_BYTES // 2**20} MB unpacked; export fewer "
                "screens at a time."
            )
        files[entry.filename] = found
    return files


def _draft(screen_id: str, files: Mapping[str, bytes]) -> Draft:
    def part(name: str) -> bytes:
        found = files.get(f"screens/{screen_id}/{name}")
        if found is None:
            raise ArchiveError(f"A screen of this archive lacks its {name}; export it again.")
        return found

    try:
        about = _About.model_validate_json(part("saved.json"))
        described = manifest.read(part("manifest.json"))
        arrays = checked_arrays(part("arrays.npz"), described)
        still, thumbnail = (
            jpeg(core.read_image(part(name), name), quality=90)
            for name in ("still.jpg", "thumbnail.jpg")
        )
        pictures = [_picture(digest.sha256, about, files) for digest in described.pictures]
    except ValidationError as error:
        raise ArchiveError(
            "What this archive says of a screen cannot be read; export it again."
        ) from error
    except (ManifestError, ImageError) as error:
        raise ArchiveError(f"A screen of this archive is refused. {error}") from error
    return Draft(
        title=about.title,
        author=about.author,
        page=described.screen.page,
        manifest=described.json_text(),
        pictures=pictures,
        thumbnail=thumbnail,
        still=still,
        arrays=arrays,
        facts=facts(described),
        notes=[Note(**dict(note)) for note in about.notes],
        id=screen_id,
        created=about.created,
        archived=about.archived,
    )


def _picture(digest: str, about: _About, files: Mapping[str, bytes]) -> File:
    data = files.get(f"pictures/{digest}")
    if data is None:
        raise ArchiveError("A picture is missing in this archive; export it again.")
    file = File(about.names.get(digest) or "picture", data)
    if file.digest != digest:
        raise ArchiveError(
            "A picture of this archive is not the one that it says; export it again."
        )
    core.read_image(data, file.name)
    return file


def facts(described: Manifest) -> frozenset[tuple[str, str]]:
    """What a screen is found by."""
    return frozenset(
        {("picture", picture.name) for picture in described.pictures}
        | {("model", model.title) for model in described.models.values()}
        | {("class", label) for label in described.labels}
    )


def checked_arrays(data: bytes, described: Manifest) -> bytes:
    """An NPZ file that holds exactly the arrays of a manifest, written anew."""
    from dashboard.export import npz

    arrays = read_npz(data)
    found = {name: manifest.describe(values).sha256 for name, values in arrays.items()}
    if found != {name: array.sha256 for name, array in described.arrays.items()}:
        raise ArchiveError("The arrays of a screen are not those of its manifest; export it again.")
    return npz(arrays)


def read_npz(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an NPZ file from anyone: numbers only, none larger than its bytes.

    Raises
    ------
    ArchiveError
    """
    arrays, left = {}, ARRAYS
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist()[:MOST_ENTRIES]:
                with archive.open(entry) as opened:
                    raw = opened.read(left + 1)
                left -= len(raw)
                if left < 0:
                    raise ArchiveError(f"The arrays take more than {ARRAYS // 2**20} MB.")
                arrays[entry.filename.removesuffix(".npy")] = _array(raw)
    except ArchiveError:
        raise
    except Exception as error:  # zipfile, zlib, and NumPy's parser of headers
        raise ArchiveError("The arrays of a screen cannot be read; export it again.") from error
    return arrays


def _array(raw: bytes) -> npt.NDArray[Any]:
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, kind = header(stream)
    rest = len(raw) - stream.tell()
    if kind.hasobject or kind.kind not in "fiub" or fortran:
        raise ArchiveError("The arrays of a screen hold something else than numbers.")
    if math.prod(shape) * kind.itemsize != rest:
        raise ArchiveError("An array is not as large as it says; export the screen again.")
    return np.frombuffer(raw, kind, offset=stream.tell()).reshape(shape)
