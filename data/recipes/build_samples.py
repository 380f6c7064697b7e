"""Build the sample pictures and the class names from installed Python packages.

Run by hand, never by the application::

    pip install -r data/requirements.txt
    python -m data.recipes.build_samples

The photographs come from scikit-image's wheel, and only those that its documentation declares to be
in the public domain or under CC0. The class names are the metadata of torchvision's ImageNet
weights.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from PIL import Image

from core.paths import DATA

LONG_SIDE = 768
HALF_SIDE = 448
QUALITY = 90
CC0 = "CC0-1.0"
PUBLIC_DOMAIN = "public domain"
UNIQUE_NAMES = {
    134: "crane (bird)",
    264: "Cardigan (dog)",
    474: "cardigan (garment)",
    517: "crane (machine)",
    638: "maillot (tights)",
    639: "maillot (tank suit)",
}


@dataclass(frozen=True)
class Photograph:
    """One photograph of scikit-image.

    Attributes
    ----------
    file : str
        Name inside scikit-image's ``data`` folder.
    author : str
        Who took it, or who published it.
    license : str
        License as scikit-image's documentation states it.
    square : tuple of int
        Left edge, top edge and side of the square that holds the object, in pixels.
    """

    file: str
    author: str
    license: str
    square: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Sample:
    """One picture of the gallery.

    Attributes
    ----------
    file : str
        Name of the JPEG file that is written.
    title : str
        What the picture shows.
    parts : tuple of str
        One photograph as it is, or two whose squares are set side by side.
    objects : tuple of (int, str)
        Class index and the half of the picture ("left", "right" or "whole") that holds it.
    """

    file: str
    title: str
    parts: tuple[str, ...]
    objects: tuple[tuple[int, str], ...]


PHOTOGRAPHS = {
    "chelsea": Photograph("chelsea.png", "Stefan van der Walt", CC0, (40, 0, 300)),
    "coffee": Photograph("coffee.png", "Rachel Michetti, Pikolo Espresso Bar", CC0, (100, 0, 400)),
    "camera": Photograph("camera.png", "Lav Varshney", CC0, (0, 0, 512)),
    "rocket": Photograph("rocket.jpg", "SpaceX", PUBLIC_DOMAIN),
    "astronaut": Photograph("astronaut.png", "NASA", PUBLIC_DOMAIN),
    "hubble": Photograph("hubble_deep_field.jpg", "NASA", PUBLIC_DOMAIN),
    "retina": Photograph("retina.jpg", "Mikael Häggström", CC0),
}

SAMPLES = (
    Sample(
        "chelsea.jpg",
        "Chelsea the cat",
        ("chelsea",),
        ((285, "whole"), (282, "whole"), (281, "whole")),
    ),
    Sample(
        "cat-beside-cup.jpg",
        "A cat beside a cup of espresso",
        ("chelsea", "coffee"),
        ((285, "left"), (967, "right")),
    ),
    Sample("coffee.jpg", "A cup of espresso", ("coffee",), ((967, "whole"), (968, "whole"))),
    Sample("camera.jpg", "A man with a camera on a tripod", ("camera",), ((872, "whole"),)),
    Sample(
        "cup-beside-tripod.jpg",
        "A cup of espresso beside a camera on a tripod",
        ("coffee", "camera"),
        ((967, "left"), (872, "right")),
    ),
    Sample(
        "rocket.jpg",
        "A rocket on its launch pad",
        ("rocket",),
        ((657, "whole"), (744, "whole")),
    ),
    Sample(
        "astronaut.jpg",
        "An astronaut before a model of the space shuttle",
        ("astronaut",),
        ((518, "right"), (812, "right")),
    ),
    Sample("retina.jpg", "The back of an eye: none of the 1,000 classes fits", ("retina",), ()),
    Sample("hubble.jpg", "A deep field of galaxies: none of the classes fits", ("hubble",), ()),
)


def source_folder() -> Path:
    """Return the folder of scikit-image's own pictures."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("scikit-image is not installed")
    return Path(spec.origin).parent / "data"


def class_names() -> list[str]:
    """Return the 1,000 ImageNet class names in index order, each one unique."""
    from torchvision.models import ResNet50_Weights

    names = list(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])
    for index, name in UNIQUE_NAMES.items():
        names[index] = name
    if len(names) != 1000 or len({name.casefold() for name in names}) != 1000:
        raise ValueError("the class names are not 1,000 different ones")
    return names


def copy_license(path: Path) -> None:
    """Copy the license text that torchvision's wheel carries, for the class names.

    Parameters
    ----------
    path : pathlib.Path
        Where to write it.
    """
    for file in metadata.files("torchvision") or []:
        if file.name == "LICENSE":
            path.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
            return
    raise FileNotFoundError("torchvision's wheel carries no license text")


def compose(sample: Sample, folder: Path) -> Image.Image:
    """Draw one sample picture.

    Parameters
    ----------
    sample : Sample
        What to draw.
    folder : pathlib.Path
        Where the photographs lie.

    Returns
    -------
    PIL.Image.Image
        A photograph with a long side of 768 pixels, or two squares of 448 pixels side by side.
    """
    if len(sample.parts) == 1:
        image = Image.open(folder / PHOTOGRAPHS[sample.parts[0]].file).convert("RGB")
        scale = LONG_SIDE / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        return image.resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (HALF_SIDE * len(sample.parts), HALF_SIDE))
    for position, part in enumerate(sample.parts):
        photograph = PHOTOGRAPHS[part]
        left, top, side = photograph.square
        square = Image.open(folder / photograph.file).convert("RGB")
        square = square.crop((left, top, left + side, top + side))
        square = square.resize((HALF_SIDE, HALF_SIDE), Image.Resampling.LANCZOS)
        canvas.paste(square, (position * HALF_SIDE, 0))
    return canvas


def quoted(text: str) -> str:
    """Return the text as a TOML string; it must hold no quote and no backslash."""
    if '"' in text or "\\" in text:
        raise ValueError(f"{text!r} needs escaping")
    return f'"{text}"'


def describe(sample: Sample, names: list[str]) -> str:
    """Return the sample's table of ``samples.toml``.

    Parameters
    ----------
    sample : Sample
        The picture.
    names : list of str
        Class names in index order.
    """
    parts = [PHOTOGRAPHS[part] for part in sample.parts]
    licenses = list(dict.fromkeys(part.license for part in parts))
    source = "scikit-image 0.26: " + " and ".join(f"skimage/data/{part.file}" for part in parts)
    lines = [
        "[[sample]]",
        f"file = {quoted(sample.file)}",
        f"title = {quoted(sample.title)}",
        f"source = {quoted(source)}",
        f"author = {quoted('; '.join(part.author for part in parts))}",
        f"license = {quoted(' and '.join(licenses))}",
    ]
    if not sample.objects:
        lines.append("objects = []")
    else:
        lines.append("objects = [")
        for index, half in sample.objects:
            name = quoted(names[index])
            lines.append(f"  {{ name = {name}, index = {index}, half = {quoted(half)} }},")
        lines.append("]")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the class names, the pictures and their table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=DATA, help="the data folder")
    out: Path = parser.parse_args().out
    for folder in ("labels", "licenses", "samples"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    names = class_names()
    (out / "labels" / "imagenet1k.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    copy_license(out / "licenses" / "torchvision-BSD-3-Clause.txt")
    source = source_folder()
    for sample in SAMPLES:
        compose(sample, source).save(
            out / "samples" / sample.file, quality=QUALITY, optimize=True, subsampling=0
        )
    header = (
        "# Written by data/recipes/build_samples.py. "
        "`half` says which half of the picture holds it.\n\n"
    )
    table = header + "\n".join(describe(sample, names) for sample in SAMPLES)
    (out / "samples" / "samples.toml").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
