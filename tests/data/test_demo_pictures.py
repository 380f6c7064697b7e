"""The pictures of the demonstration: complete, small, labeled, and free to be passed on."""

from __future__ import annotations

import csv
import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.paths import DATA
from core.pictures import picture_files
from data.recipes import build_demo_pictures, package_files, picture_sources
from data.recipes.qt_resources import resource_files

DEMO = DATA / "demo"
LARGEST = 5_000_000
FREE = {"public domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """The lines of pictures.csv."""
    with (DEMO / "pictures.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_no_file_is_missing_or_extra(rows: list[dict[str, str]]) -> None:
    listed = [row["path"] for row in rows]
    assert len(listed) == len(set(listed)) >= 150
    found = {path for path in DEMO.rglob("*") if path.is_file()}
    beside = {"pictures.csv", "LICENSES.txt", "SHA256SUMS"}
    assert {path.relative_to(DEMO).as_posix() for path in found} == {*listed, *beside}
    assert sum(path.stat().st_size for path in found) <= LARGEST


def test_checksums_match(rows: list[dict[str, str]]) -> None:
    lines = (DEMO / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums.keys() == {row["path"] for row in rows}
    for name, digest in sums.items():
        assert hashlib.sha256((DEMO / name).read_bytes()).hexdigest() == digest, name


def test_pictures_decode_and_are_small(rows: list[dict[str, str]]) -> None:
    for row in rows:
        with Image.open(DEMO / row["path"]) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "RGB"), row["path"]
            assert 200 <= max(image.size) <= 256, row["path"]
            assert min(image.size) >= 96, row["path"]
            assert np.asarray(image).std() > 5, row["path"]


def test_labels_are_classes_or_marked_as_outside(rows: list[dict[str, str]]) -> None:
    names = (DATA / "labels" / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()
    folded = {name.casefold() for name in names}
    for row in rows:
        assert row["label"] == row["label"].strip() != ""
        if row["outside"] == "no":
            assert row["label"] in names, row
        else:
            assert row["outside"] == "yes"
            assert row["label"].casefold() not in folded, row
    inside = [row for row in rows if row["outside"] == "no"]
    assert len(inside) >= 60
    assert len({row["label"] for row in inside}) >= 40


def test_the_folders_are_the_labels(rows: list[dict[str, str]]) -> None:
    """So that the folder can be read as any data set of pictures is."""
    found = picture_files(DEMO / "pictures")
    labels = {file.path.relative_to(DEMO).as_posix(): file.label for file in found}
    assert labels == {row["path"]: row["label"] for row in rows}


def test_every_picture_is_free_and_says_whose_it_is(rows: list[dict[str, str]]) -> None:
    text = (DEMO / "LICENSES.txt").read_text(encoding="utf-8")
    for row in rows:
        assert row["license"] in FREE, row
        assert all(row[name].strip() for name in ("title", "author", "source")), row
        package, version = row["source"].split(": ")[0].rsplit(" ", 1)
        assert package_files.VERSIONS[package] == version
        known = [name for name in build_demo_pictures.EVIDENCE if package.startswith(name)]
        assert len(known) == 1, package
        entry = f"{row['path']}\n  {row['title']}. {row['author']}; {row['license']}.\n"
        assert f"\n{entry}  {row['source']}\n" in text
    for name in FREE - {"public domain"}:
        assert f"{name}: https://creativecommons.org/" in text


def test_it_is_said_which_may_have_served_to_fit(rows: list[dict[str, str]]) -> None:
    for row in rows:
        package = row["source"].split(" ")[0]
        assert (row["fitted"] == "yes") == (package in picture_sources.PACKAGES), row["path"]
    assert {row["fitted"] for row in rows} == {"yes", "no"}


def test_tables_are_what_the_recipe_would_write(rows: list[dict[str, str]]) -> None:
    listed, known = build_demo_pictures.demos(), build_demo_pictures.classes()
    assert rows == [build_demo_pictures.row(demo, known) for demo in listed]
    text = build_demo_pictures.license_text(listed)
    assert (DEMO / "LICENSES.txt").read_text(encoding="utf-8") == text


def archive(files: dict[str, bytes]) -> bytes:
    """A resource archive with one folder ``resource`` that holds the files."""
    names, places = bytearray(), []
    for name in ("resource", *files):
        places.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    data, at = bytearray(), []
    for content in files.values():
        at.append(len(data))
        data += struct.pack(">I", len(content)) + content
    tree = struct.pack(">IHII", 0, 2, 1, 1) + bytes(8)
    tree += struct.pack(">IHII", places[0], 2, len(files), 2) + bytes(8)
    for place, start in zip(places[1:], at, strict=True):
        tree += struct.pack(">IHHHI", place, 0, 0, 1, start) + bytes(8)
    head = struct.pack(">4s4I", b"qres", 2, 20, 20 + len(tree), 20 + len(tree) + len(data))
    return head + tree + bytes(data) + bytes(names)


def test_files_of_a_resource_archive_are_found_by_name(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.new("RGBA", (4, 3), (0, 0, 255, 0)).save(held, "PNG")
    content = archive({"a.png": held.getvalue(), "b.txt": b"words"})
    assert dict(resource_files(content)) == {
        "resource/a.png": held.getvalue(),
        "resource/b.txt": b"words",
    }
    (tmp_path / "x.rcc").write_bytes(content)
    image = package_files.read_picture(tmp_path, "x.rcc!a.png")
    assert (image.size, image.mode) == ((4, 3), "RGB")
    assert (np.asarray(image) == 255).all()
    with pytest.raises(ValueError, match="qres"):
        list(resource_files(b"RIFF" + content))


def test_a_thumbnail_keeps_its_shape_and_is_never_enlarged() -> None:
    assert build_demo_pictures.thumbnail(Image.new("RGB", (1024, 512))).size == (256, 128)
    assert build_demo_pictures.thumbnail(Image.new("RGB", (120, 90))).size == (120, 90)
