"""Architectures whose weights have exactly the names and shapes of a checkpoint.

The table beside this file is made by ``data/recipes/weight_shapes.py``; no network is built for
the lookup.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from core.models.checkpoint import Shape, is_bookkeeping, is_computed, plain_names

TABLE = Path(__file__).with_name("shapes.json.gz")

_POSITIONS = ("pos_embed", "pos_embedding", "position_embeddings", "position_embedding.weight")
"""Suffixes of names of tensors whose rows depend on the training size."""

_LIBRARIES = ("timm", "torchvision", "transformers")
"""Order of preference among architectures with the same names and shapes."""


@dataclass(frozen=True)
class Known:
    """An architecture of a library.

    Attributes
    ----------
    library
        ``"timm"``, ``"torchvision"`` or ``"transformers"``.
    name
        Name in the library; for transformers, name on the hub of a model of this size.
    size
        Its usual input size in pixels.
    config
        For transformers: the values of a configuration.
    """

    library: str
    name: str
    size: int
    config: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def architecture(self) -> str:
        """Name in an entry."""
        return self.name if self.library == "timm" else f"{self.library}/{self.name}"


@dataclass(frozen=True)
class Match:
    """An architecture that matches a checkpoint exactly.

    Attributes
    ----------
    known
        The architecture.
    classes
        Number of classes; 0 for a file without a classifier.
    prefix
        Prefix of the names in the file.
    size
        Side in pixels of its position embedding; ``known.size`` if unknown.
    """

    known: Known
    classes: int
    prefix: str
    size: int


def signature(shapes: Mapping[str, Shape], classifiers: Iterable[str]) -> str:
    """Digest of names and shapes, without classifiers and tensors that depend on the input size.

    Parameters
    ----------
    shapes
        Of every tensor, by its name.
    classifiers
        Paths of the modules that return the logits.
    """
    heads = tuple(f"{path}." for path in classifiers)
    lines = []
    for name, shape in shapes.items():
        if is_computed(name) or is_bookkeeping(name) or (heads and name.startswith(heads)):
            continue
        seen = shape[-1:] if name.endswith(_POSITIONS) else shape
        lines.append(f"{name} {','.join(map(str, seen))}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def table() -> Mapping[tuple[str, ...], Mapping[str, tuple[Known, ...]]]:
    """Architectures, by paths of classifiers and signature."""
    rows = json.loads(gzip.decompress(TABLE.read_bytes()))
    found: dict[tuple[str, ...], dict[str, tuple[Known, ...]]] = {}
    for classifiers, digest, *each in rows:
        group = found.setdefault(tuple(classifiers), {})
        group[digest] = group.get(digest, ()) + tuple(Known(*one) for one in each)
    return found


def known(architecture: str) -> Known | None:
    """The architecture of an entry's name, if it is in the table."""
    return _by_name().get(architecture)


def names() -> tuple[str, ...]:
    """All architectures of the table, named as in entries."""
    return tuple(_by_name())


@lru_cache(maxsize=1)
def _by_name() -> Mapping[str, Known]:
    groups = (each for group in table().values() for each in group.values())
    return {one.architecture: one for each in groups for one in each}


def matches(tensors: Mapping[str, Tensor]) -> tuple[Match, ...]:
    """Architectures that match exactly, the best first.

    Parameters
    ----------
    tensors
        By the names of a file, with any prefix.

    Returns
    -------
    tuple of Match
        Those with the size of the file's position embedding come first, then those with the
        simplest names.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in plain_names(tensors).items()}
    found: dict[str, Match] = {}
    for prefix in _prefixes(shapes):
        inner = {
            name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)
        }
        for classifiers, group in table().items():
            for one in group.get(signature(inner, classifiers), ()):
                classes, size = _classes(inner, classifiers), _size(inner, one)
                found.setdefault(one.architecture, Match(one, classes, prefix, size))
    return tuple(sorted(found.values(), key=_rank))


def _rank(match: Match) -> tuple[Any, ...]:
    one = match.known
    return (
        not match.classes,
        one.size != match.size,
        _LIBRARIES.index(one.library),
        not one.name.startswith(("vit_", "resnet", "convnext", "swin")),
        len(one.name),
        one.name,
    )


def _prefixes(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Prefixes, ending in a dot, that most names share; the empty one first."""
    counts: dict[str, int] = {}
    for name in shapes:
        parts = name.split(".")
        for place in range(1, len(parts)):
            beginning = ".".join(parts[:place]) + "."
            counts[beginning] = counts.get(beginning, 0) + 1
    yield ""
    yield from (prefix for prefix, count in counts.items() if 2 * count > len(shapes))


def _classes(shapes: Mapping[str, Shape], classifiers: Iterable[str]) -> int:
    for path in classifiers:
        if shape := shapes.get(f"{path}.weight"):
            return shape[0]
    return 0


def _size(shapes: Mapping[str, Shape], one: Known) -> int:
    """The side that follows from the rows of the position embedding of a plain transformer."""
    rows = next(
        (
            shape[-2]
            for name, shape in shapes.items()
            if name.endswith(_POSITIONS[:3]) and len(shape) > 1
        ),
        0,
    )
    patch = next(
        (s[-1] for n, s in shapes.items() if len(s) == 4 and s[1] == 3 and s[-1] == s[-2]), 0
    )
    for prefix in (0, 1, 2, 5):
        across: int = round(max(0, rows - prefix) ** 0.5)
        if rows and patch and across and across**2 == rows - prefix:
            return across * patch
    return one.size
