"""What is held for all sessions, within the operator's budget."""

from __future__ import annotations

import streamlit as st

from dashboard import settings
from dashboard.memo import Memo

FILES = 0.25
"""Share of the budget for uploaded files, which cannot be made again."""


def budget() -> int:
    """Bytes for all that is held beside the embedded pair."""
    return settings.current().budget * 2**20


@st.cache_resource(show_spinner=False)
def results() -> Memo:
    """What all sessions share and can be made again."""
    return Memo(int((1 - FILES) * budget()))
