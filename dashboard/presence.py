"""The session of a run, and whether its browser is still connected."""

from __future__ import annotations

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx


def reader() -> str:
    """Id of the session of this run, for `present`."""
    context = get_script_run_ctx(suppress_warning=True)
    return "" if context is None else context.session_id


def present(reader: str) -> bool:
    """Whether the browser of a session is connected; may be called from any thread."""
    return not runtime.exists() or runtime.get_instance().is_active_session(reader)
