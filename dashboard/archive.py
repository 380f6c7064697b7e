"""Export and import of saved screens as one ZIP file. Imported files are untrusted.

::

    screens/ID/saved.json      title, author, notes
    screens/ID/manifest.json   the screen; see `dashboard.manifest`
    screens/ID/arrays.npz      raw arrays
    screens/ID/still.jpg       the page as a picture
    screens/ID/thumbnail.jpg
    pictures/SHA256            the original file of a picture

Nothing is ever unpacked to disk; names are only keys.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

import core
from core import ImageError, ParallaxError
from dashboard import manifest
from dashboard.figures import jpeg
from dashboard.manifest import Manifest, ManifestError, Moment
from dashboard.store import Draft, File, Note, Size
from dashboard.store.records import MOST_NOTES

if TYPE_CHECKING:
    from dashboard.store.store import Store

MOST_ENTRIES = 2000
MOST_BYTES = 200 * 2**20
"""Bytes of an archive: unpacked, including its arrays, and of the stored data, together."""

MOST_SCREENS = 300
ARRAYS = 64 * 2**20
"""Bytes of all arrays of a screen, unpacked."""

LONGEST = 90.0
"""Seconds for reading and storing an archive."""

PIECE = 512 * 2**10
"""Bytes read at once: of a file between two checks of the time, and of the list of files
at the end of a ZIP file, which is read in one piece."""

STILL, THUMBNAIL = (2048, 2048), (480, 200)
"""Largest width and height in pixels of the pictures of a saved screen."""

UPLOAD = 20 * 2**20
"""Largest archive that the page accepts, in bytes."""

MOST_EXPORTED = 100
FULL = 18 * 2**20
"""Most screens, and bytes, of one exported archive, so that the page can import it."""

_NAME = re.compile(
    r"screens/([0-9a-f]{32})/(saved\.json|manifest\.json|arrays\.npz|still\.jpg|thumbnail\.jpg)"
    r"|pictures/([0-9a-f]{64})"
    r"|README\.txt|report\.html|arrays\.py"
)
_ABOUT = (
    "Screens of Parallax. Import this file on the Review page of any Parallax; do not unpack it.\n"
)


class ArchiveError(ParallaxError):
    """The file is not an archive of saved screens, or too large."""


Tell = Callable[[float], object]
"""Called now and then with the share done, 0 to 1; an exception ends the reading."""

_one_at_a_time = threading.Lock()


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
                title=draft.title[: manifest.TITLE],
                author=draft.author[: manifest.AUTHOR],
                created=_within(draft.created or datetime.now(UTC)),
                archived=draft.archived,
                notes=[_note(note) for note in draft.notes[-MOST_NOTES:]],
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


def _note(note: Note) -> _Note:
    return _Note(
        id=note.id,
        author=note.author[: manifest.AUTHOR],
        text=note.text[: manifest.NOTE],
        created=_within(note.created),
    )


def _within(moment: datetime) -> datetime:
    """A time that can be read again; earlier versions accepted any year."""
    usual = manifest.FIRST_YEAR <= moment.year <= manifest.LAST_YEAR
    return moment if usual else datetime.now(UTC)


def readable(draft: Draft) -> bool:
    """Whether `read` accepts a screen; if not, it would make a whole archive invalid."""
    try:
        manifest.read(draft.manifest)
    except ManifestError:
        return False
    return True


def fitting(sizes: Sequence[Size]) -> tuple[list[str], list[str], int]:
    """The screens that fit into one archive that the page can import.

    Parameters
    ----------
    sizes
        Sizes of screens, in the requested order.

    Returns
    -------
    taken, too_large : list of str
        Ids of those that fit, and of those among them that are too large even alone.
    seen : int
        Number of ``sizes`` covered. The next archive continues there.
    """
    taken: list[str] = []
    too_large: list[str] = []
    held: set[str] = set()
    packed = unpacked = 0
    for seen, size in enumerate(sizes):
        alone = size.packed + sum(size.pictures.values())
        new = {digest: count for digest, count in size.pictures.items() if digest not in held}
        more = size.packed + sum(new.values())
        # Bytes counted by `read`: the entries, the arrays, and the stored data of the screen.
        spent = 2 * size.packed + sum(new.values()) + size.unpacked
        if alone > FULL or size.unpacked > ARRAYS:
            too_large.append(size.id)
            continue
        if (
            len(taken) == MOST_EXPORTED
            or packed + more > FULL
            or unpacked + spent > MOST_BYTES * 0.9
            or 5 * (len(taken) + 1) + len(held) + len(new) >= MOST_ENTRIES
        ):
            return taken, too_large, seen
        taken.append(size.id)
        held |= set(new)
        packed += more
        unpacked += spent
    return taken, too_large, len(sizes)


# -- to read --------------------------------------------------------------------------------------


@dataclass
class _Bounds:
    """The remaining limits of reading an archive, and its watcher."""

    tell: Tell = lambda share: None
    seconds: float = field(default_factory=lambda: LONGEST)
    bytes_left: int = field(default_factory=lambda: MOST_BYTES)
    share: float = 0.0
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        self._until = monotonic() + self.seconds

    def look(self, share: float | None = None) -> None:
        """Report progress, and stop if the time limit is exceeded."""
        self.share = self.share if share is None else share
        self.tell(self.share)
        if monotonic() > self._until:
            raise ArchiveError(
                f"This archive takes longer than {self.seconds:.0f} s to read; export fewer "
                "screens at a time."
            )

    def spend(self, count: int) -> None:
        """Count bytes against the budget."""
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise ArchiveError(
                f"This archive holds more than {MOST_BYTES // 2**20} MB unpacked; export fewer "
                "screens at a time."
            )


class _Careful(io.BytesIO):
    """The bytes of a ZIP file, with a limit on the list of entries."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = self.getbuffer().nbytes - self.tell()
        if (left if size is None or size < 0 else min(size, left)) > PIECE:
            raise ArchiveError(
                "The file list of this archive is too long; export the archive again."
            )
        return super().read(size)


def take_in(store: Store, data: bytes, tell: Tell = lambda share: None) -> int:
    """Import the screens of an archive; returns their number.

    One archive at a time per process; later imports wait.

    Parameters
    ----------
    tell
        Called several times a second with the share done, 0 to 1, also while waiting for
        other imports. An exception ends the import: screens stored by then stay.

    Raises
    ------
    ArchiveError
        As `read`, or other imports take too long.
    StoreError
    """
    until = monotonic() + LONGEST
    while not _one_at_a_time.acquire(timeout=0.2):
        tell(0.0)
        if monotonic() > until:
            raise ArchiveError("Other imports are running; try again in a minute.")
    try:
        bounds = _Bounds(tell)
        drafts = _read(data, bounds)
        for number, draft in enumerate(drafts):
            bounds.look(0.9 + 0.1 * number / len(drafts))
            store.save(draft)
        return len(drafts)
    finally:
        _one_at_a_time.release()


def read(data: bytes, tell: Tell = lambda share: None) -> list[Draft]:
    """The screens of an archive, all fully checked before any is returned.

    Limited to `LONGEST` seconds and `MOST_BYTES`; every picture is decoded once, in a
    separate process.

    Raises
    ------
    ArchiveError
        Not a ZIP file, an unexpected name, an exceeded limit, or an invalid
        part.
    """
    return _read(data, _Bounds(tell))


def _read(data: bytes, bounds: _Bounds) -> list[Draft]:
    try:
        with _zip(data) as archive:
            files = _unpacked(archive, bounds)
    except ParallaxError:
        raise
    except Exception as error:  # zipfile and zlib raise BadZipFile, RuntimeError, OSError, …
        raise ArchiveError(
            "This file is not a readable ZIP archive; choose one exported by Parallax."
        ) from error
    ids = sorted({match[1] for name in files if (match := _NAME.fullmatch(name)) and match[1]})
    if not ids:
        raise ArchiveError("This archive holds no saved screen; choose one exported by Parallax.")
    if len(ids) > MOST_SCREENS:
        raise ArchiveError(
            f"This archive holds {len(ids)} screens; at most {MOST_SCREENS} are read."
        )
    drafts = []
    with core.UntrustedPictures(bounds.look) as strange:
        reader = _Reader(files, bounds, strange)
        for number, screen_id in enumerate(ids):
            bounds.look(0.1 + 0.8 * number / len(ids))
            drafts.append(reader.draft(screen_id))
    return drafts


def _zip(data: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(_Careful(data))


def _unpacked(archive: zipfile.ZipFile, bounds: _Bounds) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ArchiveError(
            f"This archive has {len(entries)} entries; at most {MOST_ENTRIES} are read."
        )
    files: dict[str, bytes] = {}
    for number, entry in enumerate(entries):
        if not _NAME.fullmatch(entry.filename) or entry.filename in files:
            raise ArchiveError(
                "This archive contains an unexpected file "
                f"({entry.filename[:60]!r}); choose one exported by Parallax."
            )
        bounds.look(0.1 * number / len(entries))
        files[entry.filename] = _content(archive, entry, bounds)
    return files


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, bounds: _Bounds) -> bytes:
    """A file of an archive, within the limits, whatever size the entry states."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # With other methods Python unpacks a whole piece at once, whatever its size.
        raise ArchiveError("The compression of this archive is not supported; export it again.")
    pieces = []
    with archive.open(entry) as opened:
        while piece := opened.read(PIECE):
            bounds.spend(len(piece))
            bounds.look()
            pieces.append(piece)
    return b"".join(pieces)


class _Reader:
    """Screens from the files of an archive; equal files are read once."""

    def __init__(
        self, files: Mapping[str, bytes], bounds: _Bounds, strange: core.UntrustedPictures
    ) -> None:
        self._files, self._bounds, self._strange = files, bounds, strange
        self._digests: dict[str, str] = {}
        self._decoded: set[str] = set()
        self._made: dict[tuple[str, tuple[int, int]], bytes] = {}

    def draft(self, screen_id: str) -> Draft:
        """One screen; raises `ArchiveError`."""

        def part(name: str) -> bytes:
            return self._file(
                f"screens/{screen_id}/{name}",
                f"A screen of this archive lacks its {name}; export it again.",
            )

        try:
            about = _About.model_validate_json(part("saved.json"))
            described = manifest.read(part("manifest.json"))
            text = described.json_text()
            if len(text) > manifest.LARGEST:
                raise ManifestError("Its manifest is too long; export it again.")
            self._bounds.spend(len(text))
            arrays = checked_arrays(part("arrays.npz"), described, self._bounds)
            self._bounds.spend(len(arrays))
            still, thumbnail = (
                self._remade(f"screens/{screen_id}/{name}", part(name), name, most)
                for name, most in (("still.jpg", STILL), ("thumbnail.jpg", THUMBNAIL))
            )
            pictures = [self._picture(digest.sha256, about) for digest in described.pictures]
        except ValidationError as error:
            where = (
                ".".join(str(part)[:40] for part in error.errors()[0]["loc"][:3]) or "saved.json"
            )
            raise ArchiveError(
                f"The description of a screen in this archive cannot be read ({where}: "
                f"{error.errors()[0]['msg'][:100]}); export it again."
            ) from error
        except (ManifestError, ImageError) as error:
            raise ArchiveError(f"A screen of this archive was rejected. {error}") from error
        # A time in the future would always be the newest.
        now = datetime.now(UTC)
        return Draft(
            title=about.title,
            author=about.author,
            page=described.screen.page,
            manifest=text,
            pictures=pictures,
            thumbnail=thumbnail,
            still=still,
            arrays=arrays,
            facts=facts(described),
            notes=[
                Note(note.id, note.author, note.text, min(note.created, now))
                for note in about.notes
            ],
            id=screen_id,
            created=min(about.created, now),
            archived=about.archived,
        )

    def _file(self, name: str, otherwise: str) -> bytes:
        found = self._files.get(name)
        if found is None:
            raise ArchiveError(otherwise)
        return found

    def _digest(self, name: str, data: bytes) -> str:
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(data).hexdigest()
        return self._digests[name]

    def _remade(self, file: str, data: bytes, name: str, most: tuple[int, int]) -> bytes:
        """A still picture or a thumbnail, decoded and encoded again."""
        key = self._digest(file, data), most
        if key not in self._made:
            image = self._decode(key[0], data, name)
            image.thumbnail(most)
            self._made[key] = jpeg(image, quality=90)
        self._bounds.spend(len(self._made[key]))
        return self._made[key]

    def _picture(self, digest: str, about: _About) -> File:
        name = f"pictures/{digest}"
        data = self._file(name, "A picture is missing in this archive; export it again.")
        file = File(about.names.get(digest) or "picture", data)
        if self._digest(name, data) != digest:
            raise ArchiveError(
                "A picture of this archive does not match its checksum; export it again."
            )
        if digest not in self._decoded:
            self._decode(digest, data, file.name)
            self._decoded.add(digest)
        return file

    def _decode(self, digest: str, data: bytes, name: str) -> Image.Image:
        self._bounds.look()
        return self._strange.read(data, name)


def facts(described: Manifest) -> frozenset[tuple[str, str]]:
    """The facts by which a screen is found."""
    return frozenset(
        {("picture", picture.name) for picture in described.pictures}
        | {("model", model.title) for model in described.models.values()}
        | {("class", label) for label in described.labels}
    )


def checked_arrays(data: bytes, described: Manifest, bounds: _Bounds | None = None) -> bytes:
    """An NPZ file with exactly the arrays of a manifest, written again."""
    arrays = read_npz(data, bounds)
    found = {name: manifest.describe(values).sha256 for name, values in arrays.items()}
    if found != {name: array.sha256 for name, array in described.arrays.items()}:
        raise ArchiveError("The arrays of a screen do not match its manifest; export it again.")
    return write_npz(arrays)


def write_npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays as an NPZ file, equal bytes for equal arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as files:
        for name, values in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(values), allow_pickle=False)
            about = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, independent of the time of writing
            about.compress_type = zipfile.ZIP_DEFLATED
            files.writestr(about, entry.getvalue())
    return buffer.getvalue()


def read_npz(data: bytes, bounds: _Bounds | None = None) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an untrusted NPZ file: numbers only, none larger than its bytes.

    Raises
    ------
    ArchiveError
    """
    bounds = bounds or _Bounds()
    arrays: dict[str, npt.NDArray[Any]] = {}
    left = ARRAYS
    try:
        with _zip(data) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ENTRIES:
                raise ArchiveError(f"A screen of this archive has more than {MOST_ENTRIES} arrays.")
            for entry in entries:
                raw = _content(archive, entry, bounds)
                left -= len(raw)
                if left < 0:
                    raise ArchiveError(f"The arrays take more than {ARRAYS // 2**20} MB.")
                arrays[entry.filename.removesuffix(".npy")] = _array(raw)
    except ParallaxError:
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
        raise ArchiveError("The arrays of a screen contain values that are not numbers.")
    if math.prod(shape) * kind.itemsize != rest:
        raise ArchiveError("An array does not have its stated size; export the screen again.")
    return np.frombuffer(raw, kind, offset=stream.tell()).reshape(shape)
