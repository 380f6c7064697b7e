"""Text from strangers, made harmless before it is rendered as Markdown; the color of text."""

from __future__ import annotations

import re

import streamlit as st

_SPECIAL = re.compile(r"([\\`*_\[\]()<>#$~|!:])")


def plain(text: str, limit: int = 400) -> str:
    """Escape what Markdown would act on, on one line of at most ``limit`` characters."""
    line = " ".join(text.split())
    shortened = line if len(line) <= limit else line[: limit - 1] + "…"
    return _SPECIAL.sub(r"\\\1", shortened)


def text_color() -> str:
    """The color of text in the reader's theme, for what the theme does not reach."""
    return "#e8e6e1" if st.context.theme.type == "dark" else "#1f2430"
