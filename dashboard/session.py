"""The state of one user session, and its screen.

The address is the only place of a screen: every run reads it from there, every choice writes it
there. So reload, Back, Forward, a copied link and a link to another page all work the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core import ParallaxError
from dashboard.opening import OPENING
from dashboard.scene import Scene
from dashboard.screen import Screen

_log = logging.getLogger(__name__)

_KEY = "_session"

Kind = TypeVar("Kind")


@dataclass
class Session:
    """The state of one session.

    Attributes
    ----------
    screen
        The screen of this run.
    problems
        Invalid or unavailable values of the address, one sentence each.
    said
        Sentences for the next run only.
    own
        Ids of the uploaded pictures, the newest last.
    scene
        The scene of this run, once its models are open.
    kept : dict
        State of parts of the application for this session, by type; see `kept`.
    """

    id: str
    screen: Screen = field(default_factory=Screen)
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    scene: Scene | None = None
    kept: dict[type, Any] = field(default_factory=dict)


def current() -> Session:
    """The session of this run."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Session(uuid4().hex)
    found: Session = st.session_state[_KEY]
    return found


def kept(kind: type[Kind]) -> Kind:
    """The session's instance of a type; created without arguments on first use."""
    held = current().kept
    if kind not in held:
        held[kind] = kind()
    found: Kind = held[kind]
    return found


# -- the screen -----------------------------------------------------------------------------------


def enter(page: str) -> Screen:
    """Read the screen of this run from the address; called once per run, before drawing."""
    given = {key: st.query_params.get_all(key) for key in st.query_params}
    here = current()
    here.screen, problems = Screen.from_address(page, given, OPENING)
    here.problems = list(dict.fromkeys([*problems, *here.said]))
    here.said = []
    return here.screen


def screen() -> Screen:
    """The screen of this run."""
    return current().screen


def scene() -> Scene:
    """The scene of this run."""
    found = current().scene
    assert found is not None, "the frame sets the scene before a page is drawn"
    return found


def change(**fields: Any) -> None:
    """Change fields of the screen, which becomes the address.

    Call it from a widget's callback; the next run reads it.
    """
    become(screen().to(**fields))


def become(chosen: Screen) -> None:
    """Replace the whole screen; see `change`."""
    current().screen = chosen
    st.query_params.from_dict(chosen.address())


def show_instead(chosen: Screen) -> None:
    """Show another screen in this run only, without changing the address."""
    current().screen = chosen


def problem(sentence: str) -> None:
    """Add a sentence about an unavailable value of the address."""
    if sentence not in current().problems:
        current().problems.append(sentence)


def bound(field: str, value: Any, read: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Key and callback that tie a widget to a field.

    Parameters
    ----------
    value
        Value of the widget in this run.
    read
        Converts the widget's value to the field's value; unchanged by default.
    """
    return tied(field, value, lambda held: change(**{field: read(held) if read else held}))


def held(key: str) -> Any:
    """The value of the widget with this key; for callbacks."""
    return st.session_state[key]


def tied(
    name: str, value: Any, write: Callable[[Any], None], *, seed: bool = True
) -> dict[str, Any]:
    """Key and callback of a widget whose choice ``write`` puts into the screen.

    Parameters
    ----------
    seed
        Whether the widget is set to ``value``; not possible for files.
    """
    key = f"screen-{name}"
    if seed:
        st.session_state[key] = value
    return {"key": key, "on_change": guarded(lambda: write(st.session_state[key]))}


def guarded(act: Callable[..., None]) -> Callable[..., None]:
    """A callback that turns invalid widget values from a browser into a sentence.

    A widget's value is untrusted, like an address, and need not be one of its options.
    """

    def tried(*given: Any) -> None:
        try:
            act(*given)
        except ParallaxError as error:
            say(str(error))
        except Exception:
            _log.warning("a choice could not be used", exc_info=True)
            say("This choice is not available here, so nothing was changed; choose again.")

    return tried


# -- sentences shown once -------------------------------------------------------------------------


def say(sentence: str) -> None:
    """Show a sentence in the next run only; for callbacks."""
    current().said.append(sentence)


def again() -> NoReturn:
    """Rerun; sentences of this run are shown in the next one."""
    for sentence in current().problems:
        say(sentence)
    st.rerun()


def remember_own(picture_id: str) -> None:
    """Add an uploaded picture, as the newest."""
    own = current().own
    if picture_id in own:
        own.remove(picture_id)
    own.append(picture_id)


def uploaded(given: Any) -> list[UploadedFile]:
    """The files of an uploader or camera that are held, without those that were let go before.

    Streamlit lists a file that the browser still names, and the server holds no longer, as deleted.
    """
    files = given if isinstance(given, list) else [given]
    return [file for file in files if isinstance(file, UploadedFile)]


def let_go(file: UploadedFile) -> None:
    """Let the server hold the bytes of an uploaded file no longer, for files that were taken.

    Streamlit does so itself with recordings of `st.chat_input`, and with files when a session ends.
    """
    context = get_script_run_ctx(suppress_warning=True)
    held = context.uploaded_file_mgr if context is not None else None
    if context is not None and isinstance(held, MemoryUploadedFileManager):
        held.remove_file(context.session_id, file.file_id)


def text_color() -> str:
    """The text color of the browser's theme, for elements outside the theme."""
    return "#e8e6e1" if st.context.theme.type == "dark" else "#1f2430"
