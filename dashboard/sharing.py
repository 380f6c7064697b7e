"""Save and export what a page shows: the menu in the frame's head, and what opening again tells."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from core import ParallaxError, samples
from dashboard import archive, cache, export, gather, manifest, python_lines, screen
from dashboard.cache import OwnPictures
from dashboard.figures import jpeg
from dashboard.gather import Shown
from dashboard.manifest import Manifest
from dashboard.scene import Picture
from dashboard.screen import Screen
from dashboard.store import Draft, File, Note
from dashboard.text import plain
from dashboard.uploads import OWN

LARGEST = 2000
"""Longest side in pixels of the still picture that is saved with a screen."""

EXPECTED = 8
"""Manifests that a session remembers to compare with."""

_AUTHOR, _SAVED, _EXPECTED = "author", "saved", "expected"


def menu(shown: Shown) -> None:
    """Save and export, folded away; what is in ``shown`` when a button is pressed is taken."""
    if (title := screen.kept(_SAVED)) is not None:
        screen.keep(_SAVED, None)
        st.toast(f"Saved “{plain(title)}”. It is on the Review page.", icon=":material/bookmark:")
    with st.popover("Save & export", icon=":material/bookmark_add:", key="sharing"):
        _save(shown)
        st.markdown("**Export**")
        _exports(shown)


# -- to save --------------------------------------------------------------------------------------


def _save(shown: Shown) -> None:
    with st.form("save", border=False):
        st.text_input(
            "Title", max_chars=manifest.TITLE, placeholder=_name_before(shown), key="save-title"
        )
        st.text_input("Your name", value=author(), max_chars=manifest.AUTHOR, key="save-author")
        st.text_area("Note", max_chars=manifest.NOTE, height=68, key="save-note")
        st.caption(_who_sees_it())
        st.form_submit_button(
            "Save", icon=":material/save:", type="primary", on_click=screen.guarded(_keep)
        )


def _usual_title(shown: Shown) -> str:
    pictures = [picture.name for picture in shown.pictures.values()]
    return " · ".join([shown.title, *pictures[:1]])[: manifest.TITLE]


def _name_before(shown: Shown) -> str:
    """About the usual title, before the page has told which picture it shows."""
    wanted = shown.screen.image
    names = {sample.id: sample.title for sample in samples()}
    return f"{shown.title} · {names.get(wanted, 'your own picture')}"


def _who_sees_it() -> str:
    wanted = screen.current()
    if any(name.startswith(OWN) for name in (wanted.image, *wanted.several)):
        return (
            "This screen shows a picture of your own. Once you save it, everybody who opens this "
            "application sees and can download the picture, your name and your note, and only the "
            "operator can delete them; without saving, the picture is dropped."
        )
    return (
        "Everybody who opens this application sees what is saved, with the name you type, and may "
        "rename and archive it. Nobody checks names."
    )


def author() -> str:
    """The name that this session typed last."""
    return screen.kept(_AUTHOR) or ""


def remember_author(name: str) -> None:
    """Offer a name again, for as long as the session lasts."""
    screen.keep(_AUTHOR, name)


def _keep() -> None:
    """Save what the run before has shown; said in the run that follows."""
    shown = gather.current()
    name = " ".join(screen.held("save-author").split())
    remember_author(name)
    if shown is None or not shown.complete:
        screen.say(
            "The page was not finished yet, so nothing was saved; wait for it and try again."
        )
        return
    _ask_both(shown)
    title = " ".join(screen.held("save-title").split()) or _usual_title(shown)
    note = screen.held("save-note").strip()
    cache.store().save(draft(shown, cache.own_pictures(), title, name, note))
    screen.keep(_SAVED, title)


def _ask_both(shown: Shown) -> None:
    """Ask a model that the page did not ask, so that a saved screen has both answers."""
    if shown.scene is not None:
        for model_id in shown.weights.keys() - shown.answers.keys():
            cache.recording(model_id, shown.scene)


def draft(shown: Shown, own: OwnPictures, title: str, name: str = "", note: str = "") -> Draft:
    """What a page shows, ready to be saved or put into an archive.

    Parameters
    ----------
    own
        Holds the files of pictures that were brought.
    """
    described = export.described(shown, title, name)
    still = export.still(shown, title)
    still.thumbnail((LARGEST, LARGEST))
    now = datetime.now(UTC)
    return Draft(
        title=title,
        author=name,
        page=shown.screen.page,
        manifest=described.json_text(),
        pictures=[_file(picture, own) for picture in shown.pictures.values()],
        thumbnail=jpeg(export.thumbnail(shown)),
        still=jpeg(still, quality=90),
        arrays=export.npz(export.arrays_of(shown)),
        facts=archive.facts(described),
        notes=[Note(uuid.uuid4().hex, name, note, now)] if note else [],
        id=uuid.uuid4().hex,
        created=now,
    )


def _file(picture: Picture, own: OwnPictures) -> File:
    """The file that a picture came as."""
    for sample in samples():
        if sample.id == picture.id:
            return File(sample.path.name, sample.path.read_bytes())
    held = own.get(picture.id)
    if held is None:
        raise ParallaxError(
            f"The picture {picture.name} is not held here any more; upload it again, then save."
        )
    return File(*held)


# -- to export ------------------------------------------------------------------------------------


def _exports(shown: Shown) -> None:
    """One button a file; each is made when its button is pressed."""
    name = f"parallax-{gather.slug(f'{shown.title} {shown.screen.image}')}"
    # Files are made in a thread that knows no session, so what is asked of it is asked now.
    who, held = author(), cache.own_pictures()

    files: dict[str, tuple[str, str, str, Callable[[], Any]]] = {
        "PNG": (
            "png",
            "image/png",
            "A picture for slides: maps with class, method, parameters, scale and caveats.",
            lambda: export.png(export.still(shown)),
        ),
        "HTML": (
            "html",
            "text/html",
            "A report of this page in one file that needs no network; its figures stay alive.",
            lambda: export.report(shown, python_lines.script(shown)),
        ),
        "NPZ": (
            "npz",
            "application/octet-stream",
            "The raw arrays, for NumPy.",
            lambda: export.npz(export.arrays_of(shown)),
        ),
        "Python": (
            "py",
            "text/x-python",
            "The lines of core that make the same arrays.",
            lambda: python_lines.script(shown),
        ),
        "JSON": (
            "json",
            "application/json",
            "A manifest: the Review page opens it again and tells what differs.",
            lambda: export.described(shown).json_text(),
        ),
        "ZIP": (
            "zip",
            "application/zip",
            "All of it with the pictures; can be imported on the Review page of any Parallax.",
            lambda: everything(shown, held, who),
        ),
    }
    places = st.columns(3, gap="small") + st.columns(3, gap="small")
    for place, (label, (ending, mime, help, make)) in zip(places, files.items(), strict=True):
        place.download_button(
            label,
            data=make,
            file_name=f"{name}.{ending}",
            mime=mime,
            help=help,
            key=f"export-{ending}",
            on_click="ignore",
            width="stretch",
        )


def everything(shown: Shown, own: OwnPictures, name: str = "") -> bytes:
    """All exports of a page in one ZIP file, pictures included; parameters as in `draft`."""
    lines = python_lines.script(shown)
    extra = {"arrays.py": lines.encode(), "report.html": export.report(shown, lines).encode()}
    return archive.write([draft(shown, own, _usual_title(shown), name)], extra)


# -- to open again --------------------------------------------------------------------------------


def expect(described: Manifest) -> None:
    """Compare a screen with its manifest when it is looked at next in this session."""
    held: dict[Screen, Manifest] = screen.kept(_EXPECTED) or {}
    latest = {**held, described.screen: described}
    screen.keep(_EXPECTED, dict(list(latest.items())[-EXPECTED:]))


def told(shown: Shown) -> None:
    """Say whether the screen is as its manifest has it, if one is expected."""
    held: dict[Screen, Manifest] = screen.kept(_EXPECTED) or {}
    then = held.get(shown.screen)
    if then is None or not shown.complete:
        return
    said = manifest.differences(then, export.described(shown))
    day = f"{then.created:%Y-%m-%d}"
    if said:
        text = f"Not all is as it was on {day}. {' '.join(said)}"
        st.warning(plain(text, 800), icon=":material/difference:")
    else:
        same = "the same picture, weights and arrays, to the last bit"
        st.caption(f":material/verified: As on {day}: {same}.")
