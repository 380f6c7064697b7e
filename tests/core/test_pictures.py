"""Drawing pictures from folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from core.errors import ImageError
from core.folders import draw, picture_files
from core.models.spec import MATCHED_PAIR, find_spec


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def test_same_seed_draws_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i % 3}/{i}.png" for i in range(30)])
    (tmp_path / "notes.txt").write_text("no picture")
    assert len(picture_files(tmp_path)) == 30
    assert draw(tmp_path, 5, 1) == draw(tmp_path, 5, 1)
    assert draw(tmp_path, 5, 1) != draw(tmp_path, 5, 2)
    assert len(set(draw(tmp_path, 99, 0))) == 30


def test_caltech101_on_disk_is_read_through_torchvision(tmp_path: Path) -> None:
    categories = tmp_path / "caltech101" / "101_ObjectCategories"
    fill(categories, [f"{c}/image_{i:04d}.jpg" for c in ("crab", "lotus") for i in (1, 2, 3)])
    fill(categories, ["BACKGROUND_Google/image_0001.jpg"])
    files = picture_files(tmp_path)
    assert len(files) == 6, "torchvision leaves the background category out"
    assert all(path.is_file() for path in files)


def test_missing_and_empty_folders_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        draw(tmp_path / "nowhere", 1, 0)
    with pytest.raises(ImageError, match="holds no pictures"):
        draw(tmp_path, 1, 0)


def test_matched_pair_is_matched() -> None:
    cnn, vit = (find_spec(model_id) for model_id in MATCHED_PAIR)
    assert (cnn.family, vit.family) == ("cnn", "vit")
    assert cnn.matches(vit)
