"""Escaping of untrusted text for Markdown and figures, and numbers in words."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_\[\]()<>#$~|!:])")
_JOINER = "\u2060"
"""A zero-width character. The client turns URLs, mail addresses, ``:smile:`` and ``:material/…:``
into links and pictures after unescaping; this prevents it."""

_FOUND_LATE = re.compile(r":(?=\S)|(?<=[wW])\.|(?=@)")


def plain(text: str, limit: int = 400) -> str:
    """Escape Markdown syntax, on one line of at most ``limit`` characters."""
    line = " ".join(text.split())
    shortened = line if len(line) <= limit else line[: limit - 1] + "…"
    parted = _FOUND_LATE.sub(lambda match: match[0] + _JOINER, shortened)
    return _SPECIAL.sub(r"\\\1", parted)


def in_figure(text: str) -> str:
    """Escape Plotly's markup in titles, labels and hover texts."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return text.replace("$", f"${_JOINER}").replace("%{", f"%{_JOINER}{{")


def duration(seconds: float) -> str:
    """An estimated time as text."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def ordinal(number: float) -> str:
    """An ordinal number: 81st, 99th, 99.5th."""
    last, ending = number % 10, "th"
    if not 11 <= number % 100 <= 13:
        ending = {1: "st", 2: "nd", 3: "rd"}.get(int(last) if last == int(last) else 0, "th")
    return f"{number:g}{ending}"
