"""The labeled photographs for the fit of the transformer's classes: files, families, views.

They are read from a folder outside the project and are never copied into it; `data/README.md` names
the collections and their licenses.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from core.images import fit_image

SIDE = 224
"""Side in pixels of both models' input."""
LABELED = "imagenet-samples"
COLLECTIONS = (LABELED, "caltech101", "clothing", "grocery")
SEED = 21
LEAST_AREA = 0.35
RATIO = 4 / 3
BUNDLE = 10
"""Files of one Caltech category with consecutive numbers that are kept together."""


@dataclass(frozen=True)
class Photograph:
    """One file.

    Attributes
    ----------
    name
        Path below the folder of all collections, with forward slashes.
    collection
        One of `COLLECTIONS`.
    folder
        Its category in the collection: a category, a garment, a product; for the labeled
        samples the file's own stem.
    family
        Name shared by files that may look alike.
    """

    name: str
    collection: str
    folder: str
    family: str


def photograph(name: str) -> Photograph:
    """The facts in a file's path.

    Parameters
    ----------
    name
        Path below the folder of all collections, with forward slashes.
    """
    path = Path(name)
    collection = path.parts[0]
    if collection == LABELED:
        return Photograph(name, collection, path.stem, name)
    folder = path.parent.name
    if collection == "caltech101":
        (number,) = re.findall(r"\d+", path.stem)
        return Photograph(name, collection, folder, f"{folder} {int(number) // BUNDLE}")
    if collection == "grocery":
        # A burst may continue in another part of the data set, so a product is one family.
        return Photograph(name, collection, folder, folder)
    return Photograph(name, collection, folder, name)


def photographs(root: Path) -> list[Photograph]:
    """Every photograph below the folder of all collections, in the order of their names.

    Parameters
    ----------
    root
        Folder with one subfolder for each of `COLLECTIONS`.

    Raises
    ------
    FileNotFoundError
        A collection is missing.
    """
    missing = [name for name in COLLECTIONS if not (root / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"not below {root}: {', '.join(missing)}")
    names = (
        path.relative_to(root).as_posix()
        for collection in COLLECTIONS
        for path in (root / collection).rglob("*.jpg")
    )
    return [photograph(name) for name in sorted(names)]


def view_of(image: Image.Image, name: str, number: int) -> Image.Image:
    """One of a photograph's views, 224 by 224 pixels.

    Parameters
    ----------
    image
        The photograph, RGB.
    name
        Its name, which with the number determines the crop.
    number
        0 is the central square, as the transformer is evaluated. Others are random parts of 35 to
        100 % of the area, every second one mirrored.
    """
    if number == 0:
        return fit_image(image, "native", (SIDE, SIDE), resample=Image.Resampling.BICUBIC)
    digest = hashlib.sha256(f"{SEED} {name} {number}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    area = image.width * image.height * rng.uniform(LEAST_AREA, 1)
    ratio = float(np.exp(rng.uniform(-np.log(RATIO), np.log(RATIO))))
    width = min(float(np.sqrt(area * ratio)), image.width)
    height = min(float(np.sqrt(area / ratio)), image.height)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    box = (left, top, left + width, top + height)
    part = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else part
