"""How pages come to what all sessions share."""

from __future__ import annotations

import streamlit as st

from dashboard import application
from dashboard.application import Application
from dashboard.shared_cache import SharedCache


@st.cache_resource(show_spinner=False, validate=lambda held: held is application.current())
def shared() -> Application:
    """What all sessions share: models, results, uploads, sweeps, saved screens.

    Streamlit hands it out and does not own it, as any browser may empty Streamlit's caches: the
    next one who asks is given the same object.
    """
    return application.current()


def results() -> SharedCache:
    """What all sessions share and can be made again."""
    return shared().results
