"""Location of a model's weights on this machine, and whether they are stored.

Downloaded files are in the caches of the libraries, so that their downloads are found here and
vice versa.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

from core import files
from core.errors import WeightsError
from core.models.libraries import ensure_imported
from core.paths import WEIGHTS

Source = Literal["embedded", "timm", "torchvision", "hub", "local"]
"""Sources of weights: this repository, a library's cache, the hub, a checkpoint."""

WEIGHTS_FILE = "model.safetensors"
HUB_FILES = (WEIGHTS_FILE, "config.json", "preprocessor_config.json")
OWN_HUB_FILES = ("config.json", "preprocessor_config.json", WEIGHTS_FILE)
"""Optional files of a user's repository: one of timm has no processor."""

HUB = "hf-hub:"
"""Prefix of the weights of a user's model on the hub, followed by owner and name."""


class NoSuchFile(WeightsError):
    """A host does not have a requested file."""


class Arrived(Protocol):
    """A complete downloaded file; see `core.models.downloads.Received`."""

    @property
    def part(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


Fetch = Callable[[str, Path, bool], AbstractContextManager[Arrived]]
"""Downloads a file: address, folder of the temporary file, whether it has weights."""


class Place(Protocol):
    """The files of one model on this machine."""

    def stored(self) -> bool:
        """Whether all files are stored, and complete as far as their headers show."""

    def bring(self, fetch: Fetch) -> None:
        """Download the files to their place."""


@dataclass(frozen=True)
class Files:
    """Files that cannot be downloaded: of this repository or the user's own, also a folder."""

    paths: tuple[Path, ...]

    def stored(self) -> bool:
        return all(path.exists() for path in self.paths)

    def bring(self, fetch: Fetch) -> None:
        raise WeightsError(f"{self.paths[0].name} is not a downloaded file")


@dataclass(frozen=True)
class TorchvisionFile:
    """A checkpoint of torchvision, whose name ends in the first digits of its SHA-256."""

    url: str

    @property
    def path(self) -> Path:
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[-1]

    def stored(self) -> bool:
        return self.path.is_file() and self.path not in _damaged and zipfile.is_zipfile(self.path)

    def promises(self, sha256: str) -> bool:
        """Whether this is the checksum in the name."""
        digits = re.search(r"-([0-9a-f]{8,64})\.", self.path.name)
        return digits is not None and sha256.startswith(digits[1])

    def bring(self, fetch: Fetch) -> None:
        with fetch(self.url, self.path.parent, True) as arrived:
            if not self.promises(arrived.sha256):
                raise WeightsError("the downloaded file does not have the checksum in its name")
            files.put_in_place(arrived.part, self.path)
            _damaged.discard(self.path)


@dataclass(frozen=True)
class Repository:
    """Files of a repository on the Hugging Face hub, in that library's cache.

    Attributes
    ----------
    revision
        A commit or a branch: of a branch, the first downloaded commit is used until its files are
        removed from the cache.
    optional
        Files that may be missing.
    """

    name: str
    files: tuple[str, ...]
    revision: str
    optional: tuple[str, ...] = ()

    def paths(self) -> dict[str, Path]:
        """The stored files."""
        from huggingface_hub import try_to_load_from_cache

        found = {}
        for file in self.files:
            path = try_to_load_from_cache(self.name, file, revision=self.revision)
            if isinstance(path, str):
                found[file] = Path(path)
        return found

    def stored(self) -> bool:
        paths = self.paths()
        weights = paths.get(WEIGHTS_FILE)
        return (
            paths.keys() >= set(self.files) - set(self.optional)
            and weights is not None
            and weights not in _damaged
            and _is_whole(weights)
        )

    @staticmethod
    def promises(path: Path, sha256: str) -> bool:
        """Whether a file has the checksum in its stored name, if there is one."""
        stored = path.resolve().name
        return stored == sha256 or not re.fullmatch("[0-9a-f]{64}", stored)

    def bring(self, fetch: Fetch) -> None:
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            raise WeightsError("this machine is set to offline (HF_HUB_OFFLINE)")
        folder = Path(constants.HF_HUB_CACHE) / f"models--{self.name.replace('/', '--')}"
        wanted = self.revision
        for file in self.files:
            url = f"{constants.ENDPOINT}/{self.name}/resolve/{quote(wanted, safe='')}/{file}"
            try:
                with fetch(url, folder / "blobs", file == WEIGHTS_FILE) as arrived:
                    wanted = self._keep(arrived, file, folder, wanted)
            except NoSuchFile:
                if file not in self.optional:
                    raise
        if not _is_commit(self.revision):
            # Last, so that nothing is found before everything is stored.
            (folder / "refs").mkdir(exist_ok=True)
            (folder / "refs" / self.revision).write_text(wanted, encoding="utf-8")

    def _keep(self, arrived: Arrived, file: str, folder: Path, wanted: str) -> str:
        """Put a file in its place in the cache; returns its commit."""
        commit = arrived.headers.get("x-repo-commit", "")
        promised = arrived.headers.get("x-linked-etag", "").strip('W/"')
        if not _is_commit(commit) or (_is_commit(wanted) and commit != wanted):
            raise WeightsError(f"the downloaded {file} is not of the requested commit")
        if file == WEIGHTS_FILE and promised != arrived.sha256:
            raise WeightsError(f"the downloaded {file} does not have the stated checksum")
        blob = folder / "blobs" / arrived.sha256
        files.put_in_place(arrived.part, blob)
        _link(blob, folder / "snapshots" / commit / file)
        _damaged.discard(folder / "snapshots" / commit / file)
        return commit


def place(
    source: Source, architecture: str, weights: str, revision: str = "main", head: str = ""
) -> Place:
    """The location of a model's files.

    Parameters
    ----------
    source
        Source of the weights.
    architecture
        Name in timm or torchvision, or repository on the Hugging Face hub.
    weights
        File name (embedded), enum member (torchvision) or path (local); not used otherwise.
    revision
        Commit or branch on the hub.
    head
        The second file of a model in two (embedded, local).
    """
    if source == "embedded":
        return Files(tuple(WEIGHTS / name for name in (weights, head) if name))
    if source == "local":
        return Files(tuple(Path(name) for name in (weights, head) if name))
    if source == "torchvision":
        return torchvision_file(architecture, weights)
    if weights.startswith(HUB):
        return Repository(architecture, OWN_HUB_FILES, revision, OWN_HUB_FILES[1:2])
    return repository(source, architecture, revision)


def torchvision_file(architecture: str, weights: str) -> TorchvisionFile:
    """The location of some weights of torchvision."""
    ensure_imported("torchvision")
    import torchvision

    return TorchvisionFile(torchvision.models.get_model_weights(architecture)[weights].url)


def repository(source: Source, architecture: str, revision: str) -> Repository:
    """The location of a model of timm or transformers in the hub's cache."""
    if source == "timm":
        return Repository(f"timm/{architecture}", (WEIGHTS_FILE,), revision)
    return Repository(architecture, HUB_FILES, revision)


def is_stored(
    source: Source, architecture: str, weights: str, revision: str = "main", head: str = ""
) -> bool:
    """Whether no download is needed to open a model; parameters as of `place`.

    Imports only the library of this source, and only when called.
    """
    return place(source, architecture, weights, revision, head).stored()


_damaged: set[Path] = set()


def distrust(path: Path) -> None:
    """Mark a file as damaged, so that it counts as not stored."""
    _damaged.add(path)


def sha256_of(path: Path) -> str:
    """Digest of a file, in one call: a loop would wait for the interpreter in each iteration."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def sha256_of_all(paths: Sequence[Path]) -> tuple[str, ...]:
    """Digests of several files."""
    return tuple(sha256_of(path) for path in paths)


def digest_of(digests: Sequence[str]) -> str:
    """Digest of a model's weights: that of its file, or of its files' digests.

    Parameters
    ----------
    digests
        SHA-256 of each file in hexadecimal digits, in the order of the entry's keys.
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _is_commit(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}", text) is not None


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file has the length stated in its header."""
    status = path.stat()
    return _whole(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=128)
def _whole(path: Path, size: int, changed: int) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _link(blob: Path, link: Path) -> None:
    """Link a name of a snapshot to its file; a copy where the system has no links."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except OSError:
        shutil.copyfile(blob, link)
