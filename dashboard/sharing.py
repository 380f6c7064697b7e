"""Save and export of a page: the menu in the frame's head, and comparison on reopening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import streamlit as st

from core import samples
from dashboard import cache, export, manifest, session, show
from dashboard.manifest import Manifest
from dashboard.screen import Screen
from dashboard.show import Shown
from dashboard.text import plain
from dashboard.uploads import OWN
from dashboard.view import Maker, View, answers_of

EXPECTED = 8
"""Most manifests that a session stores for comparison."""


@dataclass
class Sharing:
    """State of a session for saving and reopening.

    Attributes
    ----------
    author
        The last typed name.
    saved
        Title of the screen just saved, until it is shown.
    expected
        Manifests with which screens are compared.
    """

    author: str = ""
    saved: str = ""
    expected: dict[Screen, Manifest] = field(default_factory=dict)


def menu(shown: Shown) -> None:
    """The folded menu; a button uses the content of ``shown`` at the time of the click."""
    here = session.kept(Sharing)
    if title := here.saved:
        here.saved = ""
        st.toast(f"Saved “{plain(title)}”. It is on the Review page.", icon=":material/bookmark:")
    with st.popover("Save & export", icon=":material/bookmark_add:", key="sharing"):
        st.markdown("**Export**")
        _exports(shown)
        st.markdown("**Save for the team**")
        _save(shown)


# -- to save --------------------------------------------------------------------------------------


def _save(shown: Shown) -> None:
    with st.form("save", border=False):
        st.text_input(
            "Title",
            max_chars=manifest.TITLE,
            placeholder=_name_before(shown.maker),
            key="save-title",
        )
        st.text_input("Your name", value=author(), max_chars=manifest.AUTHOR, key="save-author")
        st.text_area("Note", max_chars=manifest.NOTE, height=68, key="save-note")
        st.caption(_who_sees_it())
        st.form_submit_button(
            "Save", icon=":material/save:", type="primary", on_click=session.guarded(_keep)
        )


def _name_before(maker: Maker) -> str:
    """Approximate default title, before the page has set its picture."""
    wanted = maker.screen.shared.image
    names = {sample.id: sample.title for sample in samples()}
    return f"{maker.title} · {names.get(wanted, 'your own picture')}"


def _who_sees_it() -> str:
    wanted = session.screen()
    if any(name.startswith(OWN) for name in wanted.pictures):
        return (
            "This screen shows a picture that you uploaded. Once you save it, all users of this "
            "application can see and download the picture, your name and your note, and only the "
            "operator can delete them. Unless you save it, the picture is dropped."
        )
    return (
        "All users of this application can see, rename and archive saved screens, with the name "
        "that you type. Names are not checked."
    )


def author() -> str:
    """The last name typed in this session."""
    return session.kept(Sharing).author


def remember_author(name: str) -> None:
    """Remember a name for this session."""
    session.kept(Sharing).author = name


def _keep() -> None:
    """Save the view of the previous run; the next run reports it."""
    shown = show.current()
    name = " ".join(session.held("save-author").split())
    remember_author(name)
    if shown is None or not shown.complete:
        session.say("The page was not finished, so nothing was saved; wait for it and try again.")
        return
    view = _with_all_answers(shown.view)
    title = " ".join(session.held("save-title").split()) or export.usual_title(view)
    note = session.held("save-note").strip()
    cache.store().save(export.draft(view, cache.own_pictures(), title, name, note))
    session.kept(Sharing).saved = title


def _with_all_answers(view: View) -> View:
    """Run the models without answers so far, so that a saved screen has all answers."""
    if view.scene is None:
        return view
    found = dict(view.answers)
    for model_id in view.weights.keys() - found.keys():
        recording = cache.recording(model_id, view.scene)
        if recording.logits is not None:
            found[model_id] = answers_of(recording.predictions()[0])
    return replace(view, answers=found)


# -- to export ------------------------------------------------------------------------------------


def _exports(shown: Shown) -> None:
    """One button per file; each file is made when its button is pressed."""
    name = export.file_name(shown.maker.title, shown.maker.screen)
    # Files are made in a thread without a session, so session values are read here.
    who, held = author(), cache.own_pictures()

    def made(ending: str) -> Callable[[], bytes]:
        return lambda: export.FILES[ending].make(shown.view, held, who)

    places = [*st.columns(2, gap="small"), *st.columns(2, gap="small"), *st.columns(2, gap="small")]
    for place, (ending, kind) in zip(places, export.FILES.items(), strict=True):
        place.download_button(
            kind.title,
            data=made(ending),
            file_name=f"{name}.{ending}",
            mime=kind.mime,
            help=kind.help,
            key=f"export-{ending}",
            on_click="ignore",
            width="stretch",
        )


# -- to open again --------------------------------------------------------------------------------


def expect(described: Manifest) -> None:
    """Compare a screen with its manifest when it is shown next in this session."""
    here = session.kept(Sharing)
    latest = {**here.expected, described.screen: described}
    here.expected = dict(list(latest.items())[-EXPECTED:])


def told(shown: Shown) -> None:
    """Report whether the screen equals its manifest, if one is expected."""
    then = session.kept(Sharing).expected.get(shown.view.screen)
    if then is None or not shown.complete:
        return
    said = manifest.differences(then, export.described(shown.view))
    day = f"{then.created:%Y-%m-%d}"
    if said:
        text = f"Some things differ from {day}. {' '.join(said)}"
        st.warning(plain(text, 800), icon=":material/difference:")
    else:
        same = "the same picture, weights and arrays, bit for bit"
        st.caption(f":material/verified: As on {day}: {same}.")
