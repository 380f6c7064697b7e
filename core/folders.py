"""Drawing pictures at random, with a seed, from a folder or from torchvision's Caltech101."""

from __future__ import annotations

import random
from pathlib import Path

from core.errors import ImageError

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def picture_files(root: Path) -> list[Path]:
    """All picture files below a folder, sorted; Caltech101's own files if it lies there.

    Raises
    ------
    ImageError
        Not a folder, or without pictures.
    """
    if not root.is_dir():
        raise ImageError(f"The folder {root.name!r} does not exist; choose another.")
    if (root / "caltech101" / "101_ObjectCategories").is_dir():
        from torchvision.datasets import Caltech101

        data = Caltech101(str(root), download=False)
        names = [data.categories[label] for label in data.y]
        base = root / "caltech101" / "101_ObjectCategories"
        # The dataset numbers the pictures of each category from 1.
        return [
            base / name / f"image_{number:04d}.jpg"
            for name, number in zip(names, data.index, strict=True)
        ]
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not files:
        raise ImageError(f"The folder {root.name!r} holds no pictures; choose another.")
    return files


def draw(root: Path, count: int, seed: int) -> list[Path]:
    """Draw ``count`` different files at random; the same seed gives the same files."""
    files = picture_files(root)
    return random.Random(seed).sample(files, min(count, len(files)))
