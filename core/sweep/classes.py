"""Classes of a model by labels.

Names are compared without case, hyphens, underscores and repeated spaces. A class
with several names separated by commas (``tiger cat, Felis tigris``) matches each
of them. A name of several classes, or of none, matches no class: the picture counts
as unlabeled. Exceptions are in a TOML file, one ``label = "name of the class"`` per line; an empty
name means that there is no such class.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from core.errors import SweepError

_BETWEEN = re.compile(r"[\s_-]+")


def normalized(name: str) -> str:
    """A name in the form used for comparison."""
    return _BETWEEN.sub(" ", name.casefold()).strip()


@lru_cache(maxsize=8)
def _index(classes: tuple[str, ...]) -> dict[str, int]:
    names = [
        (name, index)
        for index, known in enumerate(classes)
        for name in {normalized(part) for part in (known, *known.split(","))}
    ]
    counts = Counter(name for name, _ in names)
    return {name: index for name, index in names if counts[name] == 1}


def class_of(
    label: str, classes: Sequence[str], exceptions: Mapping[str, str] | None = None
) -> int | None:
    """Index of the class that a label matches; ``None`` if there is none."""
    other = {normalized(name): meant for name, meant in (exceptions or {}).items()}
    wanted = other.get(normalized(label), label)
    return _index(tuple(classes)).get(normalized(wanted)) if wanted else None


def read_exceptions(path: Path) -> tuple[tuple[str, str], ...]:
    """Read the file of exceptions.

    Raises
    ------
    SweepError
        It cannot be read, is not TOML, or contains values that are not texts.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SweepError(
            f"The exceptions {path.name!r} cannot be read ({error}); write one line such as "
            '"grand piano" = "piano" for each label.'
        ) from error
    wrong = [label for label, meant in content.items() if not isinstance(meant, str)]
    if wrong:
        raise SweepError(
            f"The exception {wrong[0]!r} in {path.name} is not a text; write the name of a "
            "class, or "
            '"" for none.'
        )
    return tuple(sorted(content.items()))
