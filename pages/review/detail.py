"""One saved screen in detail, with its actions and notes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard import archive, cache, manifest, session, sharing
from dashboard.manifest import Manifest, ManifestError
from dashboard.registry import pages
from dashboard.store import Card, Saved, summary
from dashboard.text import plain
from dashboard.view import slug

MOST_OFFERED = 200
"""Most saved screens offered for comparison."""


# -- in a few words -------------------------------------------------------------------------------


def byline(saved: Card | Saved) -> str:
    """Author, date and number of notes, as Markdown."""
    notes = f"{saved.noted} note{'' if saved.noted == 1 else 's'}" if saved.noted else ""
    return " · ".join(filter(None, [plain(saved.author), _day(saved.created), notes]))


def _day(moment: datetime) -> str:
    """A date in the time zone of the browser."""
    try:
        local = moment.astimezone(ZoneInfo(st.context.timezone or "UTC"))
    except (KeyError, ValueError, OSError, OverflowError):  # the last one for the year 9999
        local = moment
    return f"{local:%Y-%m-%d %H\\:%M}"


def described(saved: Saved) -> Manifest | None:
    """The manifest of a saved screen, if it can be read."""
    try:
        return manifest.read(saved.manifest)
    except ManifestError:
        return None


def answer_lines(answers: Sequence[tuple[str, str, float]]) -> str:
    """The first answer of each model, one line each, as Markdown."""
    return "  \n".join(
        f"{plain(title)}: {plain(name)} {share:.0%}" for title, name, share in answers
    )


# -- one saved screen -----------------------------------------------------------------------------


def found(*ids: str | None) -> list[Saved]:
    """The saved screens of these ids, as far as they exist."""
    shown = []
    for screen_id in dict.fromkeys(ids):
        saved = None if screen_id is None else cache.store().get(screen_id)
        if saved is not None:
            shown.append(saved)
        elif screen_id is not None:
            session.problem("A saved screen named in the address is not in this store.")
    return shown


def bar(shown: list[Saved]) -> None:
    """The link back, and the choice of another saved screen for comparison."""
    others, _ = cache.store().find(archived=None, most=MOST_OFFERED, thumbnails=False)
    offered: list[Card | Saved] = [*others, *shown[1:]]
    titles = {
        saved.id: " · ".join(filter(None, [saved.title, saved.author, f"{saved.created:%Y-%m-%d}"]))
        for saved in offered
        if saved.id != shown[0].id
    }
    left, right = st.columns([1, 1], vertical_alignment="bottom")
    left.button(
        "All saved screens",
        icon=":material/arrow_back:",
        on_click=lambda: session.change(first=None, second=None),
    )
    right.selectbox(
        "Show beside",
        ["", *titles],
        format_func=lambda screen_id: titles.get(screen_id, "none"),
        filter_mode="contains",
        label_visibility="collapsed" if not titles else "visible",
        disabled=not titles,
        **session.tied(
            "second",
            shown[1].id if len(shown) > 1 else "",
            lambda held: session.change(first=shown[0].id, second=held or None),
        ),
    )


def detail(saved: Saved, *, alone: bool) -> None:
    """A saved screen in detail, with its actions and notes."""
    about = described(saved)
    shelf = " · archived" if saved.archived else ""
    with st.container(gap=None):
        st.subheader(plain(saved.title), anchor=False)
        st.caption(f"{byline(saved)}{shelf}")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if about is not None:
            open_link(about)
        _download(saved)
        _rename(saved)
        st.button(
            "Take back" if saved.archived else "Archive",
            key=f"archive-{saved.id}",
            icon=":material/unarchive:" if saved.archived else ":material/archive:",
            help=None if saved.archived else "Moves the screen to the archive; nothing is deleted.",
            on_click=session.guarded(
                lambda: cache.store().archive(saved.id, not saved.archived, saved.version)
            ),
        )
    left, right = st.columns([3, 2], gap="medium") if alone else (st.container(), st.container())
    with left, st.container(key=f"still-{saved.id}"):
        st.image(cache.store().still(saved.id), width="stretch", alt=_alt(about))
    with right:
        if about is None:
            st.warning("The data of this saved screen can no longer be read.")
        else:
            st.markdown("**First answers**")
            answers = summary.first_answers(saved.manifest)
            st.caption(answer_lines(answers) or "Neither model has classes.")
        _notes(saved)


def open_link(about: Manifest) -> None:
    """A link to the page with all saved choices."""
    target, problems = about.read_screen()
    for sentence in problems:
        session.problem(sentence)
    if target.page not in pages() or target.page == "review":
        st.caption("It was made on a page that does not exist here.")
        return
    sharing.expect(about)
    st.page_link(
        pages()[target.page].file,
        label="Open page",
        icon=":material/open_in_new:",
        query_params=target.address(),
    )


def _alt(about: Manifest | None) -> str:
    if about is None:
        return "The saved page as a picture"
    pictures = ", ".join(picture.name for picture in about.pictures)
    return f"The saved page as a picture: {', '.join(about.labels) or 'maps'} on {pictures}"


def _rename(saved: Saved) -> None:
    def write() -> None:
        title = " ".join(session.held(f"title-{saved.id}").split())
        if title:
            cache.store().rename(saved.id, title, saved.version)

    with (
        st.popover("Rename", icon=":material/edit:"),
        st.form(f"rename-{saved.id}", border=False),
    ):
        st.text_input("Title", value=saved.title, max_chars=manifest.TITLE, key=f"title-{saved.id}")
        st.form_submit_button("Rename", on_click=session.guarded(write))


def _notes(saved: Saved) -> None:
    st.markdown("**Notes**")
    for note in saved.notes:
        who = " · ".join(filter(None, [plain(note.author), _day(note.created)]))
        lines = "  \n".join(plain(line, manifest.NOTE) for line in note.text.splitlines())
        st.markdown(f"{lines}  \n:small[{who}]")

    def write() -> None:
        text = session.held(f"note-{saved.id}").strip()
        name = " ".join(session.held(f"by-{saved.id}").split())
        sharing.remember_author(name)
        if text:
            cache.store().add_note(saved.id, name, text)

    with st.form(f"notes-{saved.id}", border=False, clear_on_submit=True):
        st.text_area("Add a note", max_chars=manifest.NOTE, height=80, key=f"note-{saved.id}")
        st.text_input(
            "Your name",
            value=sharing.author(),
            max_chars=manifest.AUTHOR,
            key=f"by-{saved.id}",
        )
        st.form_submit_button("Add", icon=":material/add_comment:", on_click=session.guarded(write))


def _download(saved: Saved) -> None:
    store = cache.store()
    st.download_button(
        "Export",
        data=lambda: archive.write([store.draft(saved.id)]),
        file_name=f"parallax-{slug(saved.title)}.zip",
        mime="application/zip",
        icon=":material/download:",
        help="Manifest, picture, arrays, still and notes in one ZIP file.",
        key=f"export-{saved.id}",
        on_click="ignore",
    )
