"""Data of a screen for lists and searches, so that they need not read large columns.

Also reads unbounded data of earlier versions: the result is short whatever a text contains.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

MOST_MANIFEST = 2 * 2**20
"""Most bytes of a manifest that are read."""

MOST_ANSWERS = 16
WORDS = 200
"""Most characters of a model's or a class's name."""

Answer = tuple[str, str, float]
"""Title of a model, its most probable class, and the probability, 0 to 1."""

_ARRAY = re.compile(r"[<>|=]([biufc])(\d{1,2})")
_HEADER = 256
"""Bytes beside the values of an array in an NPZ file."""


def fold(text: str) -> str:
    """A text normalized for comparison, independent of case and Unicode composition.

    NFKC and full case folding of the Unicode standard (section 3.13), done here and not by the
    database: SQLite's own ``lower`` supports ASCII only, that of PostgreSQL depends on its locale.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def sought(texts: Iterable[str]) -> str:
    """Several texts as one search text."""
    return fold("\n".join(texts)).replace("\0", " ")


def first_answers(manifest: str) -> list[Answer]:
    """The first answer of each model in a manifest, in the order of its models."""
    held = _loaded(manifest)
    models, answers = held.get("models"), held.get("answers")
    if not isinstance(answers, dict):
        return []
    titles: dict[str, str] = {}
    for name, about in models.items() if isinstance(models, dict) else ():
        title = about.get("title") if isinstance(about, dict) else None
        titles[name] = title if isinstance(title, str) else name
    found: list[Answer] = []
    for name in dict.fromkeys([*titles, *answers]):
        match answers.get(name):
            case [[str() as label, int() | float() as share], *_] if 0 <= share <= 1:
                title = titles.get(name) or name
                found.append((title[:WORDS], label[:WORDS], float(share)))
    return found[:MOST_ANSWERS]


def read_answers(stored: str) -> list[Answer]:
    """Answers from their column; empty if they are invalid."""
    try:
        return [(str(a), str(b), float(c)) for a, b, c in json.loads(stored)][:MOST_ANSWERS]
    except (ValueError, TypeError, RecursionError):
        return []


def unpacked_arrays(manifest: str) -> int:
    """Bytes of the arrays listed in a manifest."""
    arrays = _loaded(manifest).get("arrays")
    total = 0
    for about in arrays.values() if isinstance(arrays, dict) else ():
        shape, kind = (
            (about.get("shape"), about.get("dtype")) if isinstance(about, dict) else (0, 0)
        )
        found = _ARRAY.fullmatch(kind) if isinstance(kind, str) else None
        if isinstance(shape, list) and all(isinstance(n, int) and 0 <= n < 2**40 for n in shape):
            total += math.prod(shape[:8]) * (int(found[2]) if found else 8) + _HEADER
    return min(total, 2**62)


def _loaded(manifest: str) -> dict[str, Any]:
    if len(manifest) > MOST_MANIFEST:
        return {}
    try:
        found = json.loads(manifest)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
