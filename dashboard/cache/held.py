"""Access of pages to the shared state."""

from __future__ import annotations

import streamlit as st

from dashboard import application
from dashboard.application import Application
from dashboard.shared_cache import SharedCache


@st.cache_resource(show_spinner=False, validate=lambda held: held is application.current())
def shared() -> Application:
    """The state shared by all sessions: models, results, uploads, sweeps, saved screens.

    Streamlit returns it but does not own it, as any browser can clear Streamlit's caches: the
    next call returns the same object.
    """
    return application.current()


def results() -> SharedCache:
    """What all sessions share and can be made again."""
    return shared().results
