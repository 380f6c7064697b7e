"""Archives: what goes in comes out; what anybody hands in is a screen or one sentence."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dashboard import archive, export, manifest
from dashboard.archive import ArchiveError
from dashboard.figures import jpeg
from dashboard.manifest import Manifest, PictureOf
from dashboard.store import Draft, File, Note

ARRAYS = {"cam": np.arange(12, dtype=np.float32).reshape(3, 4), "mask": np.eye(3, dtype=bool)}


def picture_file(color: str = "teal") -> File:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(buffer, "PNG")
    return File(f"{color}.png", buffer.getvalue())


def draft(title: str = "Cat or cup", **changes: Any) -> Draft:
    """A screen with everything that belongs to one."""
    file = picture_file()
    about = Manifest(
        parallax=1,
        title=title,
        created=datetime(2026, 1, 2, tzinfo=UTC),
        page="compare",
        address={"vit_map": ("rollout",), "classes": ("espresso",)},
        pictures=(PictureOf(id="own-" + file.digest[:20], name=file.name, sha256=file.digest),),
        labels=("espresso",),
        arrays={name: manifest.describe(values) for name, values in ARRAYS.items()},
        versions={"torch": "2.9"},
    )
    fields = {
        "title": title,
        "author": "Ada",
        "page": "compare",
        "manifest": about.json_text(),
        "pictures": [file],
        "thumbnail": jpeg(Image.new("RGB", (30, 20), "red")),
        "still": jpeg(Image.new("RGB", (60, 40), "blue")),
        "arrays": export.npz(ARRAYS),
        "facts": archive.facts(about),
        "notes": [Note(uuid.uuid4().hex, "Bob", "A note", datetime(2026, 1, 3, tzinfo=UTC))],
        "id": uuid.uuid4().hex,
        "created": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return Draft(**(fields | changes))


def test_what_goes_in_comes_out() -> None:
    first, second = draft(), draft("Another", archived=True)
    found = {d.id: d for d in archive.read(archive.write([first, second]))}
    assert set(found) == {first.id, second.id}
    one = found[first.id]
    assert (one.title, one.author, one.page, one.created) == (
        first.title,
        first.author,
        first.page,
        first.created,
    )
    assert one.arrays == first.arrays
    assert one.facts == first.facts
    assert list(one.notes) == list(first.notes)
    assert [(f.name, f.data) for f in one.pictures] == [(f.name, f.data) for f in first.pictures]
    assert json.loads(one.manifest) == json.loads(first.manifest)
    assert found[second.id].archived
    again = archive.read_npz(one.arrays)
    assert all(np.array_equal(again[name], values) for name, values in ARRAYS.items())


def test_equal_pictures_are_written_once() -> None:
    with zipfile.ZipFile(io.BytesIO(archive.write([draft(), draft()]))) as found:
        assert sum(name.startswith("pictures/") for name in found.namelist()) == 1


# -- hostile --------------------------------------------------------------------------------------


def changed(change: Callable[[dict[str, bytes], str], None]) -> bytes:
    """An archive of one screen, its files changed."""
    made = draft()
    with zipfile.ZipFile(io.BytesIO(archive.write([made]))) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    change(files, f"screens/{made.id}/")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in files.items():
            written.writestr(name, data)
    return buffer.getvalue()


def put(name: str, data: bytes, *, inside: bool = True) -> Callable[[dict[str, bytes], str], None]:
    """Put one file into the folder of the screen, or beside it."""

    def change(files: dict[str, bytes], folder: str) -> None:
        files[folder + name if inside else name] = data

    return change


def without(name: str) -> Callable[[dict[str, bytes], str], None]:
    return lambda files, folder: files.pop(folder + name) and None


def no_picture(files: dict[str, bytes], folder: str) -> None:
    files.pop(next(name for name in files if name.startswith("pictures/")))


def other_picture(files: dict[str, bytes], folder: str) -> None:
    files[next(name for name in files if name.startswith("pictures/"))] = picture_file("red").data


def npz_of(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(name, data)
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, cam=np.array([print, "x"], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def lying_header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"1234"


def saved(**fields: Any) -> bytes:
    about = {"title": "x", "author": "y", "created": "2026-01-01T00:00:00Z", "notes": []}
    return json.dumps(about | fields).encode()


HOSTILE: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "no zip": b"PK\x03\x04 not really",
    "text": b"hello",
    "climbing": lambda: changed(put("../../evil.py", b"x", inside=False)),
    "absolute": lambda: changed(put("/etc/passwd", b"x", inside=False)),
    "windows": lambda: changed(put("C:\\evil.exe", b"x", inside=False)),
    "inner climbing": lambda: changed(put("../../../x", b"x")),
    "unknown file": lambda: changed(put("more.bin", b"x")),
    "no manifest": lambda: changed(without("manifest.json")),
    "no still": lambda: changed(without("still.jpg")),
    "still no picture": lambda: changed(put("still.jpg", b"<svg onload=alert(1)>")),
    "no picture": lambda: changed(no_picture),
    "other picture": lambda: changed(other_picture),
    "manifest no json": lambda: changed(put("manifest.json", b"[")),
    "manifest a list": lambda: changed(put("manifest.json", b"[1, 2]")),
    "manifest deep": lambda: changed(put("manifest.json", b"[" * 100_000)),
    "manifest too new": lambda: changed(put("manifest.json", b'{"parallax": 2}')),
    "title long": lambda: changed(put("saved.json", saved(title="x" * 1000))),
    "note id": lambda: changed(
        put("saved.json", saved(notes=[{"id": "../x", "author": "", "text": "", "created": 0}]))
    ),
    "date": lambda: changed(put("saved.json", saved(created="yesterday"))),
    "pickle": lambda: changed(put("arrays.npz", pickled())),
    "arrays no zip": lambda: changed(put("arrays.npz", b"\x80\x04.")),
    "array huge": lambda: changed(
        put("arrays.npz", npz_of("cam.npy", lying_header("(99999999999,)")))
    ),
    "array overflowing": lambda: changed(
        put("arrays.npz", npz_of("cam.npy", lying_header("(4294967296, 4294967296)")))
    ),
    "array code": lambda: changed(
        put("arrays.npz", npz_of("cam.npy", lying_header("__import__('os').getpid()")))
    ),
    "array other": lambda: changed(put("arrays.npz", export.npz({"cam": ARRAYS["cam"] + 1}))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_one_sentence(name: str) -> None:
    given = HOSTILE[name]
    data = given() if callable(given) else given
    with pytest.raises(ArchiveError) as caught:
        archive.read(data)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 300


def test_unpacking_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 5 * 2**20)
    bomb = changed(put("README.txt", bytes(50 * 2**20), inside=False))
    assert len(bomb) < 2**20
    with pytest.raises(ArchiveError, match="unpacked"):
        archive.read(bomb)
    monkeypatch.setattr(archive, "ARRAYS", 2**20)
    inner = changed(put("arrays.npz", export.npz({"cam": np.zeros(2**19, dtype=np.float64)})))
    with pytest.raises(ArchiveError, match="arrays"):
        archive.read(inner)


def test_entries_and_screens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_SCREENS", 2)
    with pytest.raises(ArchiveError, match="3 screens"):
        archive.read(archive.write([draft(), draft(), draft()]))
    monkeypatch.setattr(archive, "MOST_ENTRIES", 5)
    with pytest.raises(ArchiveError, match="entries"):
        archive.read(archive.write([draft()]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused() -> None:
    made = draft()
    buffer = io.BytesIO(archive.write([made]))
    with zipfile.ZipFile(buffer, "a") as opened:
        opened.writestr(f"screens/{made.id}/saved.json", saved())
    with pytest.raises(ArchiveError, match="does not belong"):
        archive.read(buffer.getvalue())


def test_bytes_that_were_mixed_up_never_raise_anything_else() -> None:
    whole = archive.write([draft()])
    moments = np.random.default_rng(5)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for place in moments.integers(0, len(data), 3):
            data[place] ^= int(moments.integers(1, 256))
        try:
            archive.read(bytes(data))
        except ArchiveError:
            refused += 1
    assert refused > 100
