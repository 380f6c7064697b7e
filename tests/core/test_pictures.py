"""Where pictures come from: samples, folders, data sets on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from core.errors import ImageError
from core.pictures import PictureFile, draw, picture_files, samples


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def test_samples_are_files_with_an_origin() -> None:
    assert len({sample.id for sample in samples()}) == len(samples())
    for sample in samples():
        assert sample.path.is_file()
        assert sample.license in sample.credit


def test_same_seed_draws_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i % 3}/{i}.png" for i in range(30)])
    (tmp_path / "notes.txt").write_text("no picture")
    assert len(picture_files(tmp_path)) == 30
    assert draw(tmp_path, 5, 1) == draw(tmp_path, 5, 1)
    assert draw(tmp_path, 5, 1) != draw(tmp_path, 5, 2)
    assert len(set(draw(tmp_path, 99, 0))) == 30


@pytest.mark.parametrize(
    ("name", "label", "title"),
    [
        ("grand_piano/image_0001.jpg", "grand piano", "grand piano · image_0001"),
        (
            "001.Black_footed_Albatross/a.PNG",
            "Black footed Albatross",
            "Black footed Albatross · a",
        ),
        ("3d-printer/many/deep.jpg", "3d-printer", "3d-printer · deep"),
        ("2024/a.jpg", "2024", "2024 · a"),
        ("alone.jpg", "", "alone"),
    ],
)
def test_a_file_has_its_folder_as_category(
    tmp_path: Path, name: str, label: str, title: str
) -> None:
    fill(tmp_path, [name])
    (found,) = picture_files(tmp_path)
    assert found == PictureFile(tmp_path / name, label)
    assert found.title == title


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, ["cat/a.jpg", "cat/._a.jpg", ".thumbnails/a.jpg"])
    (tmp_path / "cat" / "folder.jpg").mkdir()
    assert [file.title for file in picture_files(tmp_path)] == ["cat · a"]


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("below", ["caltech101/101_ObjectCategories", "101_ObjectCategories", ""])
def test_caltech101_is_read_by_category_without_its_background(
    tmp_path: Path, below: str, background: bool
) -> None:
    categories = tmp_path / below
    fill(categories, [f"{c}/image_{i:04d}.jpg" for c in ("Faces_easy", "crab") for i in (1, 2, 4)])
    if background:
        fill(categories, ["BACKGROUND_Google/image_0001.jpg"])
    if below:
        fill(categories.parent, ["Annotations/crab/annotation_0001.png"])
    files = picture_files(tmp_path)
    assert [file.label for file in files] == ["Faces easy"] * 3 + ["crab"] * 3
    assert all(file.path.is_file() for file in files)


def test_missing_and_empty_folders_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^The folder 'nowhere' does not exist; choose [^.]*\.$"):
        draw(tmp_path / "nowhere", 1, 0)
    (tmp_path / "file.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match="does not exist"):
        draw(tmp_path / "file.jpg", 1, 0)
    for folder in ("empty", "set/caltech101/101_ObjectCategories/BACKGROUND_Google"):
        (tmp_path / folder).mkdir(parents=True)
    fill(tmp_path / "set" / "caltech101" / "101_ObjectCategories", ["BACKGROUND_Google/a.jpg"])
    for name in ("empty", "set"):
        with pytest.raises(ImageError, match=f"^The folder '{name}' contains no picture; choose"):
            draw(tmp_path / name, 1, 0)
