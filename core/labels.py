"""Class names and their search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from core.errors import CatalogError
from core.paths import LABELS


@lru_cache(maxsize=16)
def read_labels(source: str) -> tuple[str, ...]:
    """Read class names, one per line, in index order.

    Parameters
    ----------
    source
        Name of a list in ``data/labels`` (``"imagenet1k"``), or path of a text file.

    Raises
    ------
    CatalogError
        The file is missing, not UTF-8 text, or empty.
    """
    path = LABELS / f"{source}.txt"
    path = path if path.is_file() else Path(source)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"Labels file {source!r} cannot be read; it must be UTF-8 text with one class per line."
        ) from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise CatalogError(f"Labels file {source!r} is empty; write one class name per line.")
    return labels


def search_labels(labels: Sequence[str], text: str, limit: int = 20) -> list[int]:
    """Indices of the classes whose name contains ``text``, best match first.

    Whole-name matches come before word beginnings, those before any other place; case is
    ignored and a number finds the class of that index.
    """
    wanted = text.strip().casefold()
    if not wanted:
        return []
    ranked = []
    for index, label in enumerate(labels):
        name = label.casefold()
        if name == wanted or wanted == str(index):
            rank = 0
        elif any(word.startswith(wanted) for word in name.split()) or name.startswith(wanted):
            rank = 1
        elif wanted in name:
            rank = 2
        else:
            continue
        ranked.append((rank, len(name), index))
    return [index for _, _, index in sorted(ranked)[:limit]]


def named(labels: Sequence[str], name: str) -> list[int]:
    """Indices of the classes with a name.

    Exact matches; without any, those that differ only in case; without any, those with the name
    among several names separated by commas (``tabby, tabby cat``).
    """
    wanted = name.strip().casefold()
    exact = [index for index, label in enumerate(labels) if label == name]
    alike = [index for index, label in enumerate(labels) if label.casefold() == wanted]
    return (
        exact
        or alike
        or [
            index
            for index, label in enumerate(labels)
            if wanted in (part.strip().casefold() for part in label.split(","))
        ]
    )
