"""Archives: what goes in comes out; what anybody hands in is a screen or one sentence."""

from __future__ import annotations

import io
import json
import threading
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import core
from dashboard import archive, manifest
from dashboard.archive import ArchiveError
from dashboard.figures import jpeg
from dashboard.manifest import Manifest, PictureOf
from dashboard.store import Draft, File, Note, Size
from dashboard.store.store import Store

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
        "arrays": archive.write_npz(ARRAYS),
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
    "array other": lambda: changed(
        put("arrays.npz", archive.write_npz({"cam": ARRAYS["cam"] + 1}))
    ),
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
    inner = changed(
        put("arrays.npz", archive.write_npz({"cam": np.zeros(2**19, dtype=np.float64)}))
    )
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
    with pytest.raises(ArchiveError, match="unexpected file"):
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


# -- bounds over the whole of an archive ----------------------------------------------------------


def many(count: int, change: Callable[[dict[str, bytes], str], None] | None = None) -> bytes:
    """An archive of several screens, the files of each changed."""
    made = [draft() for _ in range(count)]
    with zipfile.ZipFile(io.BytesIO(archive.write(made))) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    for each in made:
        if change is not None:
            change(files, f"screens/{each.id}/")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in files.items():
            written.writestr(name, data)
    return buffer.getvalue()


def told(**fields: Any) -> Callable[[dict[str, bytes], str], None]:
    """Change what the manifest says."""

    def change(files: dict[str, bytes], folder: str) -> None:
        about = json.loads(files[folder + "manifest.json"])
        files[folder + "manifest.json"] = json.dumps(about | fields).encode()

    return change


def nested(files: dict[str, bytes], folder: str) -> None:
    """A map that takes little as it is, and a great deal when it is written with indents."""
    about = json.loads(files[folder + "manifest.json"])
    about["arrays"]["cam"]["map"] = {"x": "@"}
    deep = "[" * 110 + ",".join("1" * 20_000) + "]" * 110
    files[folder + "manifest.json"] = json.dumps(about).replace('"@"', deep).encode()


def test_what_is_kept_of_a_manifest_is_no_more_than_what_is_known_of_it() -> None:
    data = many(3, nested)
    assert len(data) < 20_000
    for found in archive.read(data):
        assert len(found.manifest) < 3000
        assert manifest.read(found.manifest).arrays["cam"].map is None


def test_how_a_map_was_made_is_kept_as_it_was() -> None:
    made_by = {
        "manifest": 1,
        "picture": {"sha256": "a" * 64},
        "model": {"id": "dinov2-small", "weights_sha256": "b" * 64},
        "framing": {"fit": "native", "size": None},
        "method": "rollout",
        "parameters": {"layers": [0, 5], "discard": 0.9, "fusion": "mean", "layer": None},
        "class": {"index": 3, "name": "espresso"},
        "relevance": {"shape": [16, 16], "prefix_mass": 0.25},
        "versions": {"torch": "2.9"},
    }
    assert json.loads(manifest.describe(ARRAYS["cam"], made_by).model_dump_json())["map"] == made_by
    none = made_by | {"class": None}
    about = json.loads(draft().manifest)
    about["arrays"]["cam"]["map"] = none
    read = manifest.read(json.dumps(about))
    assert json.loads(read.json_text())["arrays"]["cam"]["map"] == none


def test_a_manifest_that_is_longer_when_it_is_written_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compact = json.dumps(json.loads(draft().manifest)).encode()
    monkeypatch.setattr(manifest, "LARGEST", len(compact) + 1)
    with pytest.raises(ArchiveError, match="too long"):
        archive.read(changed(told()))


def test_each_picture_is_decoded_once_and_in_no_other_process_than_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr(core, "read_image", fail)
    decoded = []
    strange = core.UntrustedPictures.read

    def counted(self: core.UntrustedPictures, data: bytes, name: str) -> Image.Image:
        decoded.append(name)
        return strange(self, data, name)

    monkeypatch.setattr(core.UntrustedPictures, "read", counted)
    digest = picture_file().digest
    sixteen = [{"id": f"own-{i}", "name": "x", "sha256": digest} for i in range(16)]
    found = archive.read(many(12, told(pictures=sixteen)))
    assert [len(each.pictures) for each in found] == [16] * 12
    assert sorted(decoded) == ["still.jpg", "teal.png", "thumbnail.jpg"]


FAR = ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")


@pytest.mark.parametrize("moment", FAR)
def test_a_moment_that_no_other_clock_has_is_refused(moment: str) -> None:
    note = {"id": "0" * 32, "author": "", "text": "", "created": moment}
    for change in (
        put("saved.json", saved(created=moment)),
        put("saved.json", saved(notes=[note])),
        told(created=moment),
    ):
        with pytest.raises(ArchiveError) as caught:
            archive.read(changed(change))
        assert str(caught.value).endswith(".")


def test_a_moment_to_come_is_now() -> None:
    later = "2150-01-01T00:00:00Z"
    note = {"id": "0" * 32, "author": "", "text": "", "created": later}
    [found] = archive.read(changed(put("saved.json", saved(created=later, notes=[note]))))
    assert found.created is not None
    assert found.created <= datetime.now(UTC)
    assert found.notes[0].created <= datetime.now(UTC)


def large_arrays(files: dict[str, bytes], folder: str) -> None:
    values = {"cam": np.zeros(2**18)}
    arrays = {"cam": json.loads(manifest.describe(values["cam"]).model_dump_json())}
    told(arrays=arrays)(files, folder)
    files[folder + "arrays.npz"] = archive.write_npz(values)


def test_arrays_count_over_the_whole_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    data = many(10, large_arrays)
    assert len(data) < 2**20
    assert len(archive.read(data)) == 10
    monkeypatch.setattr(archive, "MOST_BYTES", 16 * 2**20)
    with pytest.raises(ArchiveError, match="unpacked"):
        archive.read(data)


def test_what_is_kept_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is packed well is larger when it is written anew, in every screen."""
    buffer = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).save(buffer, "JPEG", quality=3)
    data = many(8, put("still.jpg", buffer.getvalue()))
    [one, *_] = archive.read(data)
    assert len(one.still) > 3 * len(buffer.getvalue())
    monkeypatch.setattr(archive, "MOST_BYTES", 6 * len(one.still))
    with pytest.raises(ArchiveError, match="unpacked"):
        archive.read(data)


def test_an_archive_has_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LONGEST", 0.0)
    with pytest.raises(ArchiveError, match="takes longer"):
        archive.read(archive.write([draft()]))


def test_unpacking_tells_how_far_it_is_and_ends_when_told() -> None:
    shares: list[float] = []
    archive.read(archive.write([draft(), draft()]), shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1

    class Left(Exception):
        pass

    def leave(share: float) -> None:
        if share >= 0.5:
            raise Left

    with pytest.raises(Left):
        archive.read(archive.write([draft(), draft()]), leave)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_unpack_without_a_bound_are_refused(kind: int) -> None:
    buffer = io.BytesIO(archive.write([draft()]))
    with zipfile.ZipFile(buffer, "a", kind) as opened:
        opened.writestr("report.html", bytes(2**20))
    with pytest.raises(ArchiveError, match="compression of this archive"):
        archive.read(buffer.getvalue())


def test_a_long_list_of_files_is_not_read() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for number in range(12_000):
            opened.writestr(f"{number:05d}", b"")
    with pytest.raises(ArchiveError, match="too long"):
        archive.read(buffer.getvalue())


def test_one_archive_at_a_time(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'x.sqlite'}")
    running, ending = threading.Event(), threading.Event()

    def slow(share: float) -> None:
        running.set()
        ending.wait(20)

    first = threading.Thread(
        target=archive.take_in, args=(store, archive.write([draft("First")]), slow)
    )
    first.start()
    assert running.wait(20)
    waited: list[float] = []

    class Left(Exception):
        pass

    def leave(share: float) -> None:
        waited.append(share)
        if len(waited) == 3:
            raise Left

    with pytest.raises(Left):
        archive.take_in(store, archive.write([draft("Second")]), leave)
    assert waited == [0.0] * 3
    ending.set()
    first.join()
    assert [card.title for card in store.find()[0]] == ["First"]
    assert archive.take_in(store, archive.write([draft("Third")])) == 1
    store.close()


# -- what is written can be read ------------------------------------------------------------------


def test_one_file_takes_what_can_be_imported(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'x.sqlite'}")
    chance = np.random.default_rng(3)

    def noise(size: int) -> bytes:
        pixels = chance.integers(0, 256, (size, size, 3), dtype=np.uint8)
        return jpeg(Image.fromarray(pixels), quality=85)

    for number in range(30):
        made = draft(f"Screen {number}", still=noise(1300 if number == 7 else 900))
        store.save(made)
    huge = draft("Huge", still=bytes(19 * 2**20))
    store.save(huge)
    sizes = store.sizes(most=101)
    assert len(sizes) == 31
    seen, files = 0, []
    left_out: list[str] = []
    while seen < len(sizes):
        taken, too_large, count = archive.fitting(sizes[seen:])
        assert count > 0
        files.append(archive.write(store.draft(screen_id) for screen_id in taken))
        left_out += too_large
        seen += count
    assert left_out == [huge.id]
    assert len(files) > 1
    assert all(len(file) <= archive.UPLOAD for file in files)
    found = [each.id for file in files for each in archive.read(file)]
    assert sorted([*found, huge.id]) == sorted(size.id for size in sizes)
    store.close()


def size(number: int, packed: int, unpacked: int = 0, **pictures: int) -> Size:
    return Size(f"{number:032x}", packed, unpacked, pictures)


def test_what_fits_is_bounded_in_everything() -> None:
    few = [size(i, 100, picture=2 * 2**20) for i in range(500)]
    taken, _, seen = archive.fitting(few)
    assert len(taken) == seen == archive.MOST_EXPORTED, "an equal picture counts once"
    own = [size(i, 100, **{f"p{i}": 2 * 2**20}) for i in range(500)]
    assert len(archive.fitting(own)[0]) == 8
    blown_up = [size(i, 100, 50 * 2**20) for i in range(500)]
    assert len(archive.fitting(blown_up)[0]) == 3
    crowded = [size(i, 100, **{f"p{i}-{n}": 1 for n in range(40)}) for i in range(500)]
    assert len(archive.fitting(crowded)[0]) * 45 < archive.MOST_ENTRIES
    assert archive.fitting([size(1, 10**9), size(2, 5)]) == ([f"{2:032x}"], [f"{1:032x}"], 2)
    assert archive.fitting([]) == ([], [], 0)


def test_what_an_earlier_version_let_grow_can_be_written_and_read() -> None:
    notes = [
        Note(uuid.uuid4().hex, "Bob", f"Note {i}", datetime(2026, 1, 3, tzinfo=UTC))
        for i in range(520)
    ]
    far = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    long = replace(draft(), title="x" * 900, author="y" * 900, notes=notes, created=far)
    [found] = archive.read(archive.write([long]))
    assert len(found.title) == manifest.TITLE
    assert found.notes[-1].text == "Note 519"
