"""Which reader a run of a page is for, and whether a reader still has the application open."""

from __future__ import annotations

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx


def reader() -> str:
    """What tells the reader of this run from others, for `present`."""
    context = get_script_run_ctx(suppress_warning=True)
    return "" if context is None else context.session_id


def present(reader: str) -> bool:
    """Whether the browser of a reader is connected; may be asked by any thread."""
    return not runtime.exists() or runtime.get_instance().is_active_session(reader)
