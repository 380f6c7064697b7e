"""Sources of the held-out pictures, and their split.

They are in packages of Debian and npm, unpacked below one folder, one subfolder per package.
They are used only for fits and measurements, are not part of the project, and need no labels.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 224
LONGEST = 2400
SPLITS = ("train", "validation", "test")
TEST_SHARE, VALIDATION_SHARE = 0.15, 0.1
NATURAL, CUTOUT = "natural", "cutout"
WALLPAPERS = (
    "gnome-backgrounds",
    "plasma-workspace-wallpapers",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "ukui-wallpapers",
)
PHOTO_ARCHIVES = (
    "categorization",
    "erase",
    "explore_farm_animals",
    "explore_monuments",
    "explore_world_animals",
    "explore_world_music",
)
PHOTOGRAPHS: dict[str, tuple[str, str]] = {
    "tuxpaint-data": ("usr/share/tuxpaint/templates/*.jpg", "$^"),
    "palapeli-data": ("usr/share/palapeli/collection/*.jpg", "$^"),
    "kphotoalbum": (
        "usr/share/kphotoalbum/demo/*.jpg",
        r"anne|bar55|donna|jesper|new_wave|qt-logo|spiff|wayne",
    ),
    "psychtoolbox-3-common": (
        "usr/share/psychtoolbox-3/**/*.jpg",
        r"^(?!.*(OldNewRecognition/stims|konijntjes1024x768|TeapotTexture|change/town)).*",
    ),
    "@vendure/create": ("assets/**/*.jpg", "$^"),
    "@pattern-lab/starterkit-handlebars-demo": ("dist/images/*.jpg", "$^"),
    "lightslider": ("demo/img/cS-*.jpg", "$^"),
    "tabler-ui": ("dist/demo/photos/*-1500.jpg", "$^"),
    "create-strapi-app": (
        "templates/example/data/uploads/*.jpg",
        r"@strapi|internet|black-hole|beautiful",
    ),
    "startbootstrap-creative": ("dist/assets/img/**/*.jpg", "thumbnails"),
}
"""Package to the pattern of its photographs, and a pattern of those left out (portraits
of the makers, drawings, smaller copies)."""
PACKAGES = (
    *WALLPAPERS,
    "opencv-doc",
    "gcompris-qt-data",
    "tuxpaint-stamps-default",
    "pysiogame",
    *PHOTOGRAPHS,
)
NOT_PHOTOGRAPHIC = re.compile(r"cartoon|/symbols/|/flags/|mirror", re.IGNORECASE)
SKIPPED_SAMPLES = re.compile(r"cameraman|screen|eclipse|(left|right)\d|gray|mask", re.IGNORECASE)
DUPLICATE_BITS = 6


@dataclass
class Source:
    """One picture file and its family, which is on one side of the split.

    Attributes
    ----------
    name
        Package and path, or archive and position.
    kind
        "natural" for a whole photograph, "cutout" for an object with transparency.
    image
        RGB or RGBA, long side at most 2400 pixels.
    family
        Name shared by near duplicates.
    always_train
        Never held out.
    """

    name: str
    kind: str
    image: Image.Image
    family: str
    always_train: bool = False


def shrink(image: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode, with a long side of at most 2400 pixels."""
    image = image.convert(mode)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return image


def flat_share(image: Image.Image) -> float:
    """The share of a picture covered by its most frequent coarse color."""
    small = np.asarray(image.convert("RGB").resize((64, 64)), dtype=np.int64) // 32
    codes = small[..., 0] * 64 + small[..., 1] * 8 + small[..., 2]
    return float(np.bincount(codes.ravel()).max() / codes.size)


def wallpapers(root: Path) -> Iterator[Source]:
    """The photographs among the desktop backgrounds.

    All sizes and variants of one background are one family; links between them are left out.
    """
    for package in WALLPAPERS:
        for path in sorted((root / package).rglob("*")):
            if path.suffix.lower() not in {".jpg", ".jpeg", ".png", ".webp"}:
                continue
            if path.stem == "screenshot" or path.is_symlink():
                continue
            image = shrink(Image.open(path), "RGB")
            if min(image.size) < SIDE or flat_share(image) > 0.6:
                continue
            stem = path.parts[-4] if "contents" in path.parts else path.stem
            family = re.split(r"[-_]\d|[-_][dl]$|no-logo", stem)[0]
            family = "Ubuntu-Mate" if "Ubuntu-Mate" in stem else family
            yield Source(f"{package}/{path.name}", NATURAL, image, f"{package}/{family}")


def opencv_samples(root: Path) -> Iterator[Source]:
    """The photographs of OpenCV's documentation, one family that is never held out.

    They contain stereo pairs, frames of one scene and results drawn over the same picture.
    """
    package = "opencv-doc"
    for path in sorted((root / package).rglob("*")):
        if path.suffix.lower() not in {".jpg", ".jpeg", ".png"} or path.stat().st_size < 25_000:
            continue
        if "/html/d" in path.as_posix() or SKIPPED_SAMPLES.search(path.name):
            continue
        image = Image.open(path)
        if image.mode not in {"RGB", "RGBA", "L"} or min(image.size) < 180:
            continue
        image = shrink(image, "RGB")
        if flat_share(image) < 0.35:
            yield Source(f"{package}/{path.name}", NATURAL, image, package, always_train=True)


def photographs(root: Path) -> Iterator[Source]:
    """The photographs in packages as plain files, each its own family."""
    for package, (pattern, left_out) in PHOTOGRAPHS.items():
        for path in sorted((root / package).glob(pattern)):
            inside = path.relative_to(root / package).as_posix()
            image = Image.open(path)
            if not re.search(left_out, inside) and min(image.size) >= 180:
                name = f"{package}/{inside}"
                yield Source(name, NATURAL, shrink(image, "RGB"), name)


def embedded_webp(data: bytes) -> Iterator[Image.Image]:
    """The uncompressed WebP pictures of a Qt resource file."""
    position = 0
    while (start := data.find(b"RIFF", position)) >= 0:
        length = int.from_bytes(data[start + 4 : start + 8], "little") + 8
        position = start + 4
        if data[start + 8 : start + 12] == b"WEBP":
            yield Image.open(io.BytesIO(data[start : start + length]))
            position = start + length


def archive_photos(root: Path) -> Iterator[Source]:
    """GCompris's photographs of animals, monuments, tools and instruments."""
    package = "gcompris-qt-data"
    for archive in PHOTO_ARCHIVES:
        (path,) = (root / package).rglob(f"{archive}.rcc")
        for index, image in enumerate(embedded_webp(path.read_bytes())):
            if min(image.size) >= SIDE:
                name = f"{package}/{archive}#{index}"
                yield Source(name, NATURAL, shrink(image, "RGB"), name)


def stamps(root: Path) -> Iterator[Source]:
    """Tux Paint's photographic cut-outs; names with one first word are one family."""
    package = "tuxpaint-stamps-default"
    for path in sorted((root / package).rglob("*.png")):
        if NOT_PHOTOGRAPHIC.search(path.as_posix()):
            continue
        image = shrink(Image.open(path), "RGBA")
        box = image.getchannel("A").getbbox()
        if box is None or max(image.size) < 64:
            continue
        word = re.split(r"[-_\d]", path.stem.lower())[0]
        yield Source(f"{package}/{path.name}", CUTOUT, image.crop(box), f"{package}/{word}")


def flashcards(root: Path) -> Iterator[Source]:
    """Flash cards of pySioGame, their white ground made transparent; never held out."""
    package = "pysiogame"
    for path in sorted((root / package).rglob("images/fc/*.jpg")):
        image = shrink(Image.open(path), "RGB")
        filled = image.copy()
        key = (255, 0, 255)
        for corner in ((0, 0), (image.width - 1, 0), (0, image.height - 1)):
            ImageDraw.floodfill(filled, corner, key, thresh=24)
        ground = (np.asarray(filled) == np.array(key)).all(axis=-1)
        alpha = Image.fromarray(np.where(ground, 0, 255).astype(np.uint8))
        box = alpha.getbbox()
        if box is not None:
            image.putalpha(alpha)
            yield Source(f"{package}/{path.name}", CUTOUT, image.crop(box), package, True)


def fingerprint(image: Image.Image) -> int:
    """64 bits: where brightness falls from left to right on an 8 by 8 grid."""
    gray = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int64)
    return int("".join("1" if bit else "0" for bit in (gray[:, 1:] < gray[:, :-1]).ravel()), 2)


def merge_duplicates(sources: list[Source]) -> None:
    """Give one family name to photographs that look almost the same, possibly mirrored.

    Parameters
    ----------
    sources
        Changed in place: ``family`` and, where a member is never held out, ``always_train``.
    """
    natural = [source for source in sources if source.kind == NATURAL]
    prints = [fingerprint(source.image) for source in natural]
    mirrored = [
        fingerprint(source.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for source in natural
    ]
    parent = {source.family: source.family for source in sources}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for i, first in enumerate(natural):
        for j in range(i):
            near = min((prints[i] ^ other).bit_count() for other in (prints[j], mirrored[j]))
            if near <= DUPLICATE_BITS:
                parent[find(first.family)] = find(natural[j].family)
    for source in sources:
        source.family = find(source.family)
    kept = {source.family for source in sources if source.always_train}
    for source in sources:
        source.always_train = source.family in kept


def collect(root: Path) -> list[Source]:
    """Read every source picture below the folder.

    Parameters
    ----------
    root
        Folder with one subfolder for each unpacked package.

    Returns
    -------
    list of Source
        In a fixed order, with near duplicates in one family.
    """
    missing = [package for package in PACKAGES if not (root / package).is_dir()]
    if missing:
        raise FileNotFoundError(f"not unpacked below {root}: {', '.join(missing)}")
    readers = (wallpapers, opencv_samples, archive_photos, photographs, stamps, flashcards)
    sources = [source for reader in readers for source in reader(root)]
    merge_duplicates(sources)
    return sources


def split_of(source: Source) -> str:
    """The side of the split that a source is on.

    It depends only on the name of its family, so that a new package moves no picture to the
    other side unless it resembles a new one.
    """
    if source.always_train:
        return "train"
    digest = hashlib.sha256(source.family.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def split(sources: list[Source]) -> dict[str, dict[str, list[list[int]]]]:
    """Divide the sources, whole families at a time.

    Parameters
    ----------
    sources
        Result of `collect`.

    Returns
    -------
    dict
        Split to kind to families, each a list of positions in ``sources``. Files that are
        never held out count four to a family, so that they stay a small part of the pictures.
    """
    out: dict[str, dict[str, list[list[int]]]] = {name: {} for name in SPLITS}
    for kind in (NATURAL, CUTOUT):
        families: dict[str, dict[str, list[int]]] = {name: {} for name in SPLITS}
        always: list[int] = []
        for index, source in enumerate(sources):
            if source.kind == kind and source.always_train:
                always.append(index)
            elif source.kind == kind:
                families[split_of(source)].setdefault(source.family, []).append(index)
        for name in SPLITS:
            out[name][kind] = list(families[name].values())
        out["train"][kind] += [always[at : at + 4] for at in range(0, len(always), 4)]
    return out
