"""The screen's place in a session, and what else belongs to one visitor.

The address is where a screen lives: every run reads it from there, every choice writes it there.
So reload, Back, Forward, a copied link and a link to another page are the same act: a screen is
put in.
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

from core import ParallaxError
from dashboard.scene import Scene
from dashboard.screen import OPENING, Screen

_log = logging.getLogger(__name__)

_KEY = "_session"

Kind = TypeVar("Kind")


@dataclass
class Session:
    """What belongs to one visitor.

    Attributes
    ----------
    screen
        Of this run.
    problems
        What could not be shown as the address wanted, one sentence each.
    said
        Sentences for the run that follows, and only for that.
    own
        Ids of the pictures that the visitor brought, the newest last.
    scene
        What this run looks at, once its models are open.
    kept : dict
        What parts of the application keep for a session, by its type; see `kept`.
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
    """What this session keeps of a kind; made without arguments when it is first asked for."""
    held = current().kept
    if kind not in held:
        held[kind] = kind()
    found: Kind = held[kind]
    return found


# -- the screen -----------------------------------------------------------------------------------


def enter(page: str) -> Screen:
    """Read the screen of this run from the address; called once a run, before anything is drawn."""
    given = {key: st.query_params.get_all(key) for key in st.query_params}
    here = current()
    here.screen, problems = Screen.from_address(page, given or {"image": [OPENING]})
    here.problems = list(dict.fromkeys([*problems, *here.said]))
    here.said = []
    return here.screen


def screen() -> Screen:
    """The screen of this run."""
    return current().screen


def scene() -> Scene:
    """What this run looks at."""
    found = current().scene
    assert found is not None, "the frame sets the scene before a page is drawn"
    return found


def change(**fields: Any) -> None:
    """Choose: the screen with these fields changed becomes the address.

    To be called from a widget's callback; the run that follows reads it.
    """
    become(screen().to(**fields))


def become(chosen: Screen) -> None:
    """Choose as `change` does, a whole screen."""
    current().screen = chosen
    st.query_params.from_dict(chosen.address())


def show_instead(chosen: Screen) -> None:
    """In this run, show another screen than the address says, which stays as it is."""
    current().screen = chosen


def problem(sentence: str) -> None:
    """Add to what could not be shown as the address wanted."""
    if sentence not in current().problems:
        current().problems.append(sentence)


def bound(field: str, value: Any, read: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Key and callback that tie a widget to a field.

    Parameters
    ----------
    value
        What the widget is to show in this run.
    read
        Turns what the widget holds into the field's value; as it is by default.
    """
    return tied(field, value, lambda held: change(**{field: read(held) if read else held}))


def held(key: str) -> Any:
    """What a widget of this key holds; for callbacks."""
    return st.session_state[key]


def tied(
    name: str, value: Any, write: Callable[[Any], None], *, seed: bool = True
) -> dict[str, Any]:
    """Key and callback of a widget whose choice ``write`` puts into the screen.

    Parameters
    ----------
    seed
        Whether the widget is told ``value``; files cannot be put into a widget.
    """
    key = f"screen-{name}"
    if seed:
        st.session_state[key] = value
    return {"key": key, "on_change": guarded(lambda: write(st.session_state[key]))}


def guarded(act: Callable[..., None]) -> Callable[..., None]:
    """A callback that ends in a sentence whatever a browser says that a widget holds.

    What a widget holds comes from outside, like an address, and need not have been offered.
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


# -- what is said once ----------------------------------------------------------------------------


def say(sentence: str) -> None:
    """Show a sentence in the run that follows, and only there; for callbacks."""
    current().said.append(sentence)


def again() -> NoReturn:
    """Start the run anew; what was to be said in this one is said in the next."""
    for sentence in current().problems:
        say(sentence)
    st.rerun()


def remember_own(picture_id: str) -> None:
    """Add a picture to those that the visitor brought, as the newest."""
    own = current().own
    if picture_id in own:
        own.remove(picture_id)
    own.append(picture_id)


def let_go(file: Any) -> None:
    """Let the server hold the bytes of an uploaded file no longer, for files that were taken.

    Streamlit does so itself with recordings of `st.chat_input`, and with files when a session ends.
    """
    context = get_script_run_ctx(suppress_warning=True)
    held = context.uploaded_file_mgr if context is not None else None
    if context is not None and isinstance(held, MemoryUploadedFileManager):
        held.remove_file(context.session_id, file.file_id)


def text_color() -> str:
    """The color of text in the reader's theme, for what the theme does not reach."""
    return "#e8e6e1" if st.context.theme.type == "dark" else "#1f2430"
