"""Build the sample pictures and the class names from packages of PyPI and Debian.

Run by hand, never by the application::

    pip install -r data/requirements.txt
    python -m data.recipes.build_samples --packages packages

The pictures come from the installed scikit-image and from packages of Debian, and only those of
which it is stated that they are in the public domain, under CC0 or under CC BY
(``EVIDENCE`` of ``build_demo_pictures.py``). The class names are the metadata of torchvision's
ImageNet weights.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from PIL import Image, ImageOps

from core.paths import DATA
from data.recipes.package_files import VERSIONS, fetch, read_picture
from data.recipes.picture_sources import PACKAGES

LONG_SIDE = 768
HALF_SIDE = 448
TWO_SIDE = 704
MARGIN = 34
QUALITY = 90
SCIKIT_IMAGE = "scikit-image"
GCOMPRIS = "gcompris-qt-data"
PLASMA = "plasma-workspace-data"
OPENCLIPART = "openclipart-png"
AVATARS = "usr/share/plasma/avatars/photos"
ARCHIVES = "usr/share/gcompris-qt/rcc"
DRAWINGS = "usr/share/openclipart/png/animals/mammals"
CC0 = "CC0-1.0"
CC_BY_2 = "CC-BY-2.0"
CC_BY_3 = "CC-BY-3.0"
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
    """One photograph or drawing of a package.

    Attributes
    ----------
    file
        Name inside scikit-image's ``data`` folder, or path for
        `package_files.read_picture`.
    author
        Photographer or publisher.
    license
        License as the package states it.
    square
        Left edge, top edge and side of the square that holds the object, in pixels.
    package
        Package that contains it.
    origin
        Address of the source named in the package; may be empty.
    """

    file: str
    author: str
    license: str
    square: tuple[int, int, int] = (0, 0, 0)
    package: str = SCIKIT_IMAGE
    origin: str = ""


@dataclass(frozen=True)
class Sample:
    """One picture of the gallery.

    Attributes
    ----------
    file
        Name of the JPEG file that is written.
    title
        Content of the picture.
    parts
        One photograph, or two whose squares are set side by side.
    objects
        Class index and the half of the picture ("left", "right" or "whole") that holds it.
    note
        Purpose of the picture; states if none of the classes fits.
    strips
        Left edge, top edge and width of an upright strip of each part, twice as high as wide: the
        picture is then a square of the two strips, so that a model's center crop contains both.
    filled
        Whether the first part is a silhouette that the second's square fills.
    padded
        Whether the part is set on a white square.
    """

    file: str
    title: str
    parts: tuple[str, ...]
    objects: tuple[tuple[int, str], ...]
    note: str = ""
    strips: tuple[tuple[int, int, int], ...] = ()
    filled: bool = False
    padded: bool = False


PHOTOGRAPHS = {
    "chelsea": Photograph("chelsea.png", "Stefan van der Walt", CC0, (40, 0, 300)),
    "coffee": Photograph("coffee.png", "Rachel Michetti, Pikolo Espresso Bar", CC0, (100, 0, 400)),
    "camera": Photograph("camera.png", "Lav Varshney", CC0, (0, 0, 512)),
    "rocket": Photograph("rocket.jpg", "SpaceX", PUBLIC_DOMAIN),
    "astronaut": Photograph("astronaut.png", "NASA", PUBLIC_DOMAIN),
    "hubble": Photograph("hubble_deep_field.jpg", "NASA", PUBLIC_DOMAIN),
    "retina": Photograph("retina.jpg", "Mikael Häggström", CC0),
    "cat face": Photograph("chelsea.png", "Stefan van der Walt", CC0, (95, 0, 300)),
    "retriever": Photograph(
        f"{AVATARS}/Dog.png",
        "Snapwire",
        CC0,
        package=PLASMA,
        origin="https://www.pexels.com/photo/6877/",
    ),
    "balloon": Photograph(
        f"{AVATARS}/Air Balloon.png",
        "Skitterphoto",
        CC0,
        package=PLASMA,
        origin="https://www.pexels.com/photo/68806/",
    ),
    "lorikeet": Photograph(
        f"{AVATARS}/Parrot.png",
        "Skitterphoto",
        CC0,
        package=PLASMA,
        origin="https://www.pexels.com/photo/1331819/",
    ),
    "panda": Photograph(
        f"{ARCHIVES}/explore_world_animals.rcc!animals/panda.webp",
        "Jeff Kubina",
        PUBLIC_DOMAIN,
        package=GCOMPRIS,
        origin="https://commons.wikimedia.org/wiki/File:Giant_Panda_2004-03-2.jpg",
    ),
    "polar bear": Photograph(
        f"{ARCHIVES}/explore_world_animals.rcc!animals/polar_bear.webp",
        "an anonymous photographer",
        PUBLIC_DOMAIN,
        package=GCOMPRIS,
        origin="https://commons.wikimedia.org/wiki/"
        "File:Churchill_Wildlife_Management_Area_polar_bear30.JPG",
    ),
    "chameleon": Photograph(
        f"{ARCHIVES}/erase.rcc!chamaeleon.webp",
        "Benny Trapp",
        CC_BY_3,
        package=GCOMPRIS,
        origin="https://commons.wikimedia.org/wiki/"
        "File:BennyTrapp_Chamaeleo_chamaeleon_Samos_Griechenland.jpg",
    ),
    "bee": Photograph(
        f"{ARCHIVES}/erase.rcc!bee.webp",
        "aussiegall",
        CC_BY_2,
        package=GCOMPRIS,
        origin="https://commons.wikimedia.org/wiki/File:Pollinationn.jpg",
    ),
    "raccoon": Photograph(
        "usr/lib/python3/dist-packages/scipy/misc/face.dat",
        "public-domain-image.com",
        PUBLIC_DOMAIN,
        package="python3-scipy",
    ),
    "elephant": Photograph(
        f"{DRAWINGS}/contour_elephant.png",
        "Open Clip Art Library",
        PUBLIC_DOMAIN,
        package=OPENCLIPART,
    ),
    "tiger in color": Photograph(
        f"{DRAWINGS}/big_cats/color_tiger_susan_park_01.png",
        "Susan Park, Open Clip Art Library",
        PUBLIC_DOMAIN,
        package=OPENCLIPART,
    ),
    "tiger in lines": Photograph(
        f"{DRAWINGS}/big_cats/b_w_tiger_susan_park_01.png",
        "Susan Park, Open Clip Art Library",
        PUBLIC_DOMAIN,
        package=OPENCLIPART,
    ),
}

FITTED = " The embedded ViT's classes may have been fitted to crops of a photograph in it."
"""Note on pictures from packages whose pictures are used in the fit."""

SAMPLES = (
    Sample(
        "panda-and-polar-bear.jpg",
        "A giant panda and a polar bear in one square",
        ("panda", "polar bear"),
        ((388, "left"), (296, "right")),
        "Two objects that both models know. Choose the other class, and both maps should change "
        "sides.",
        strips=((225, 68, 272), (540, 77, 307)),
    ),
    Sample(
        "chelsea.jpg",
        "Chelsea the cat",
        ("chelsea",),
        ((285, "whole"), (282, "whole"), (281, "whole")),
        "One object, for which three classes fit about equally well.",
    ),
    Sample(
        "cat-beside-cup.jpg",
        "A cat beside a cup of espresso",
        ("chelsea", "coffee"),
        ((285, "left"), (967, "right")),
        "Two objects side by side: a map of one class should fall on its half.",
    ),
    Sample(
        "coffee.jpg",
        "A cup of espresso",
        ("coffee",),
        ((967, "whole"), (968, "whole")),
        "One object that the convolutional network is sure of.",
    ),
    Sample(
        "camera.jpg",
        "A man with a camera on a tripod",
        ("camera",),
        ((872, "whole"),),
        "A photograph without color; the classes hold the tripod, not the man.",
    ),
    Sample(
        "cup-beside-tripod.jpg",
        "A cup of espresso beside a camera on a tripod",
        ("coffee", "camera"),
        ((967, "left"), (872, "right")),
        "Two objects side by side, one in color and one without.",
    ),
    Sample(
        "rocket.jpg",
        "A rocket on its launch pad",
        ("rocket",),
        ((657, "whole"), (744, "whole")),
        "A thin object in a large scene; the classes only come near it.",
    ),
    Sample(
        "astronaut.jpg",
        "An astronaut before a model of the space shuttle",
        ("astronaut",),
        ((518, "right"), (812, "right")),
        "A person, whom the classes do not name, with two objects that they do.",
    ),
    Sample(
        "retina.jpg",
        "The back of an eye: none of the 1,000 classes fits",
        ("retina",),
        (),
        "Outside the classes: none of them is a medical picture. Whatever a model names here is "
        "what resembles it most.",
    ),
    Sample(
        "hubble.jpg",
        "A deep field of galaxies: none of the classes fits",
        ("hubble",),
        (),
        "Outside the classes: none of them is a star or a galaxy. Many small objects and no large "
        "one.",
    ),
    Sample(
        "golden-retriever.jpg",
        "A golden retriever",
        ("retriever",),
        ((207, "whole"),),
        "One object that fills the picture.",
    ),
    Sample(
        "balloon-and-lorikeet.jpg",
        "A balloon and a lorikeet in one square",
        ("balloon", "lorikeet"),
        ((417, "left"), (90, "right")),
        "Two objects in one square, so that the central square of a model holds both.",
        strips=((154, 0, 256), (104, 0, 256)),
    ),
    Sample(
        "balloon-and-panda.jpg",
        "A balloon and a giant panda in one square",
        ("balloon", "panda"),
        ((417, "left"), (388, "right")),
        "Two objects in one square, so that the central square of a model holds both.",
        strips=((158, 0, 256), (331, 1, 340)),
    ),
    Sample(
        "chameleon.jpg",
        "A chameleon in the colors of its surroundings",
        ("chameleon",),
        ((47, "whole"),),
        "An object in the colors of what surrounds it: do the maps find its outline?",
    ),
    Sample(
        "bee.jpg",
        "A small bee before large blossoms",
        ("bee",),
        ((309, "whole"),),
        "A small object beside larger ones that are more conspicuous.",
    ),
    Sample(
        "elephant-of-cat.jpg",
        "An elephant's shape filled with a cat: texture against shape",
        ("elephant", "cat face"),
        ((385, "whole"), (386, "whole"), (285, "whole")),
        "Shape says elephant, texture says cat: which of them does a model follow?",
        filled=True,
    ),
    Sample(
        "tiger-drawing.jpg",
        "A drawing of a tiger",
        ("tiger in color",),
        ((292, "whole"),),
        "A drawing in color: the models learned from photographs.",
        padded=True,
    ),
    Sample(
        "tiger-lines.jpg",
        "The same drawing of a tiger, lines only",
        ("tiger in lines",),
        ((292, "whole"),),
        "Shape without color and texture.",
        padded=True,
    ),
    Sample(
        "raccoon.jpg",
        "A raccoon: none of the classes fits",
        ("raccoon",),
        (),
        "Outside the classes: badger, foxes and the lesser panda are among them, the raccoon is "
        "not. It should be none of them with certainty.",
    ),
)


def source_folder() -> Path:
    """The folder of scikit-image's own pictures."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("scikit-image is not installed")
    return Path(spec.origin).parent / "data"


def class_names() -> list[str]:
    """The 1,000 ImageNet class names in index order, each one unique."""
    from torchvision.models import ResNet50_Weights

    names = list(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])
    for index, name in UNIQUE_NAMES.items():
        names[index] = name
    if len(names) != 1000 or len({name.casefold() for name in names}) != 1000:
        raise ValueError("the class names are not 1,000 different ones")
    return names


def copy_license(path: Path) -> None:
    """Copy the license text of torchvision's wheel, for the class names.

    Parameters
    ----------
    path
        Where to write it.
    """
    for file in metadata.files("torchvision") or []:
        if file.name == "LICENSE":
            path.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
            return
    raise FileNotFoundError("torchvision's wheel carries no license text")


def opened(photograph: Photograph, folder: Path, packages: Path) -> Image.Image:
    """A photograph as RGB.

    Parameters
    ----------
    photograph
        The photograph.
    folder
        scikit-image's folder of pictures.
    packages
        Folder of the other unpacked packages.
    """
    if photograph.package == SCIKIT_IMAGE:
        return Image.open(folder / photograph.file).convert("RGB")
    return read_picture(fetch(photograph.package, packages), photograph.file)


def filled_shape(silhouette: Image.Image, texture: Image.Image) -> Image.Image:
    """A white square with a texture where a dark silhouette on white is."""
    mask = ImageOps.invert(silhouette.convert("L"))
    width = LONG_SIDE - 2 * MARGIN
    height = round(mask.height * width / mask.width)
    mask = mask.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (LONG_SIDE, LONG_SIDE), "white")
    place = (MARGIN, (LONG_SIDE - height) // 2)
    texture = texture.resize(canvas.size, Image.Resampling.LANCZOS)
    canvas.paste(texture.crop((*place, place[0] + width, place[1] + height)), place, mask)
    return canvas


def compose(sample: Sample, folder: Path, packages: Path) -> Image.Image:
    """Draw one sample picture.

    Parameters
    ----------
    sample
        The sample.
    folder
        scikit-image's folder of pictures.
    packages
        Folder of the other unpacked packages.

    Returns
    -------
    PIL.Image.Image
        A photograph with a long side of 768 pixels, two squares of 448 pixels side by side, two
        strips that make a square of 704 pixels, or a drawing on a square of 768 pixels.
    """
    parts = [PHOTOGRAPHS[part] for part in sample.parts]
    images = [opened(part, folder, packages) for part in parts]
    squares = [
        image.crop((left, top, left + side, top + side))
        for image, (left, top, side) in zip(images, (part.square for part in parts), strict=True)
    ]
    if sample.filled:
        return filled_shape(images[0], squares[1])
    if sample.padded:
        side = LONG_SIDE - 2 * MARGIN
        drawing = ImageOps.contain(images[0], (side, side), Image.Resampling.LANCZOS)
        return ImageOps.pad(drawing, (LONG_SIDE, LONG_SIDE), color="white")
    if sample.strips:
        size = (TWO_SIDE // 2, TWO_SIDE)
        squares = [
            image.resize(size, Image.Resampling.LANCZOS, (left, top, left + width, top + 2 * width))
            for image, (left, top, width) in zip(images, sample.strips, strict=True)
        ]
    elif len(images) == 1:
        scale = LONG_SIDE / max(images[0].size)
        size = (round(images[0].width * scale), round(images[0].height * scale))
        return images[0].resize(size, Image.Resampling.LANCZOS)
    else:
        size = (HALF_SIDE, HALF_SIDE)
        squares = [square.resize(size, Image.Resampling.LANCZOS) for square in squares]
    canvas = Image.new("RGB", (size[0] * len(squares), size[1]))
    for position, square in enumerate(squares):
        canvas.paste(square, (position * size[0], 0))
    return canvas


def source_of(parts: list[Photograph]) -> str:
    """Packages, versions, files and addresses of a sample's parts."""
    texts = []
    for package in dict.fromkeys(part.package for part in parts):
        own = [part for part in parts if part.package == package]
        if package == SCIKIT_IMAGE:
            named = [f"skimage/data/{part.file}" for part in own]
            texts.append("scikit-image 0.26: " + " and ".join(named))
        else:
            named = [f"{part.file}{f', from {part.origin}' * bool(part.origin)}" for part in own]
            texts.append(f"{package} {VERSIONS[package]}: " + " and ".join(named))
    return "; ".join(texts)


def quoted(text: str) -> str:
    """The text as a TOML string; it must hold no quote and no backslash."""
    if '"' in text or "\\" in text:
        raise ValueError(f"{text!r} needs escaping")
    return f'"{text}"'


def describe(sample: Sample, names: list[str]) -> str:
    """The sample's table of ``samples.toml``.

    Parameters
    ----------
    sample
        The picture.
    names
        Class names in index order.
    """
    parts = [PHOTOGRAPHS[part] for part in sample.parts]
    licenses = list(dict.fromkeys(part.license for part in parts))
    lines = [
        "[[sample]]",
        f"file = {quoted(sample.file)}",
        f"title = {quoted(sample.title)}",
        f"source = {quoted(source_of(parts))}",
        f"author = {quoted('; '.join(dict.fromkeys(part.author for part in parts)))}",
        f"license = {quoted(' and '.join(licenses))}",
        f"note = {quoted(sample.note + FITTED * any(p.package in PACKAGES for p in parts))}",
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
    parser.add_argument("--packages", type=Path, required=True, help="the unpacked packages")
    arguments = parser.parse_args()
    out: Path = arguments.out
    for folder in ("labels", "licenses", "samples"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    names = class_names()
    (out / "labels" / "imagenet1k.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    copy_license(out / "licenses" / "torchvision-BSD-3-Clause.txt")
    source = source_folder()
    for sample in SAMPLES:
        compose(sample, source, arguments.packages.resolve()).save(
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
