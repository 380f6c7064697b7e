"""Sources of pictures: the samples, a folder, a data set on disk."""

from __future__ import annotations

import os
import random
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.errors import ImageError
from core.paths import SAMPLES

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
CALTECH101 = ("caltech101/101_ObjectCategories", "101_ObjectCategories")
"""Possible folders of Caltech101's categories below a root, torchvision's first."""

BACKGROUND = "BACKGROUND_Google"
"""Caltech101's folder of background pictures."""


@dataclass(frozen=True)
class Sample:
    """A photograph shipped with the application, with its origin.

    Attributes
    ----------
    id
        File name without its extension.
    title
        Description of its content.
    path
        Path of the file.
    source, author, license
        Source, author and license.
    classes
        Names of the classes shown, the most important first; may be empty.
    halves
        Whether it is two photographs side by side.
    note
        Its purpose, in one or two sentences; begins with "Outside the classes" where
        none of the 1,000 ImageNet classes fits.
    """

    id: str
    title: str
    path: Path
    source: str
    author: str
    license: str
    classes: tuple[str, ...]
    halves: bool
    note: str = ""

    @property
    def credit(self) -> str:
        """One line that names author, source and license."""
        return f"{self.title}. {self.author}; {self.license}; {self.source}."


@lru_cache(maxsize=1)
def samples() -> tuple[Sample, ...]:
    """All samples, in the order of the gallery."""
    tables = tomllib.loads((SAMPLES / "samples.toml").read_text(encoding="utf-8"))["sample"]
    return tuple(
        Sample(
            id=Path(table["file"]).stem,
            title=table["title"],
            path=SAMPLES / table["file"],
            source=table["source"],
            author=table["author"],
            license=table["license"],
            classes=tuple(entry["name"] for entry in table["objects"]),
            halves=any(entry["half"] != "whole" for entry in table["objects"]),
            note=table["note"],
        )
        for table in tables
    )


@dataclass(frozen=True)
class PictureFile:
    """A picture on disk.

    Attributes
    ----------
    path
        The file.
    label
        Its category, readable; empty where the folder has none.
    """

    path: Path
    label: str = ""

    @property
    def title(self) -> str:
        """Category and file name without its extension, such as ``accordion · image_0001``."""
        return f"{self.label} · {self.path.stem}" if self.label else self.path.stem


def picture_files(root: Path) -> tuple[PictureFile, ...]:
    """All picture files below a folder, sorted by path, with their categories.

    As in torchvision's ``ImageFolder``, each folder directly below ``root`` is a category and
    holds its pictures at any depth; pictures in ``root`` itself have none. ``root`` may
    also be torchvision's folder of Caltech101, whose background pictures are left out. Hidden files
    and folders are left out.

    Raises
    ------
    ImageError
        The folder does not exist or contains no picture.
    """
    name = os.path.basename(os.path.abspath(root))
    if not os.path.isdir(root):
        raise ImageError(f"The folder {name!r} does not exist; choose a folder of pictures.")
    base = next((root / place for place in CALTECH101 if os.path.isdir(root / place)), root)
    found = []
    for path in sorted(base.rglob("*")):
        inside = path.relative_to(base).parts
        hidden = inside[0] == BACKGROUND or any(part.startswith(".") for part in inside)
        if path.suffix.lower() in ENDINGS and not hidden and os.path.isfile(path):
            found.append(PictureFile(path, readable_label(inside[0]) if len(inside) > 1 else ""))
    if not found:
        raise ImageError(
            f"The folder {name!r} contains no picture; choose one with files that end in "
            f"{', '.join(sorted(ENDINGS))}."
        )
    return tuple(found)


def readable_label(folder: str) -> str:
    """The label in a folder's name: ``001.grand_piano`` to ``grand piano``."""
    return re.sub(r"^\d+[._ -]+(?=.)", "", folder).replace("_", " ").strip()


def draw(root: Path, count: int, seed: int) -> tuple[PictureFile, ...]:
    """Draw up to ``count`` different files at random; the same seed gives the same files.

    Raises
    ------
    ImageError
        As `picture_files`.
    """
    files = picture_files(root)
    return tuple(random.Random(seed).sample(files, min(count, len(files))))
