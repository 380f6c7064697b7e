"""Text from strangers, made harmless before it is rendered as Markdown."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_\[\]()<>#$~|!:])")


def plain(text: str, limit: int = 400) -> str:
    """Escape what Markdown would act on, on one line of at most ``limit`` characters."""
    line = " ".join(text.split())
    shortened = line if len(line) <= limit else line[: limit - 1] + "…"
    return _SPECIAL.sub(r"\\\1", shortened)
