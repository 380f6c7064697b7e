"""The saved screens as cards, with search, filters and export."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import streamlit as st
from PIL import Image

import core
from dashboard import archive, cache, figures, session
from dashboard.registry import pages
from dashboard.store import Card, Saved
from dashboard.text import plain
from pages.review import detail, examples
from pages.review.options import Options

_log = logging.getLogger(__name__)

MOST_KNOWN = 300
"""Most values of a kind in a filter."""

AT_A_TIME = 12
"""Saved screens per page."""

MOST_SLIDES, SLIDE = 24, 1600
"""Screens of a presentation, and the longest side of each in pixels."""

NOTES, LINE = 2, 160
"""Notes of a screen in a presentation, and most characters of each."""

_FROM_THE_FIRST: dict[str, Any] = {"saved_leaf": 0, "export_from": 0}
"""Changes that accompany every change of the search."""

FILTERS = {
    "of_page": ("Page", "page"),
    "of_picture": ("Picture", "picture"),
    "of_model": ("Model", "model"),
    "of_class": ("Class", "class"),
}
"""By field, the label of its list and the kind of fact in the store."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """The search of the gallery.

    Attributes
    ----------
    page_number
        Current page, from 0.
    """

    text: str
    page: str | None
    facts: tuple[tuple[str, str], ...]
    archived: bool
    page_number: int

    @property
    def filters(self) -> dict[str, Any]:
        """Arguments of `Store.find`, beside the text."""
        return {"page": self.page, "facts": self.facts, "archived": self.archived}

    def find(self, most: int | None = None, skip: int = 0) -> tuple[list[Card], int]:
        """Saved screens, the newest first, and their total number."""
        return cache.store().find(self.text, **self.filters, most=most, skip=skip)


# -- search ---------------------------------------------------------------------------------------


def filters() -> Wanted:
    """Search, filters and the switch to archived screens."""
    asked, store = session.screen().of(Options), cache.store()
    search, *places = st.columns([3, 2, 2, 2, 2], vertical_alignment="bottom")
    search.text_input(
        "Search",
        max_chars=100,
        placeholder="Titles, names and notes",
        **session.tied(
            "search",
            asked.search or "",
            lambda held: session.change(search=held or None, **_FROM_THE_FIRST),
        ),
    )
    facts = []
    for place, (field, (label, kind)) in zip(places, FILTERS.items(), strict=True):
        known = store.known(kind, MOST_KNOWN)
        chosen = getattr(asked, field)
        if chosen is not None and chosen not in known:
            if len(known) < MOST_KNOWN or not store.has(kind, chosen):
                session.problem(f"No saved screen has the {label.lower()} {chosen!r}.")
            known = [chosen, *known]
        place.selectbox(
            label,
            ["", *known],
            format_func=partial(_offered, kind),
            filter_mode="contains",
            help=f"The {MOST_KNOWN} values that most saved screens have."
            if len(known) >= MOST_KNOWN
            else None,
            **session.tied(field, chosen or "", _writer(field)),
        )
        if chosen is not None and kind != "page":
            facts.append((kind, chosen))
    return Wanted(asked.search or "", asked.of_page, tuple(facts), asked.archived, asked.saved_leaf)


def _writer(field: str) -> Callable[[str], None]:
    return lambda held: session.change(**{field: held or None}, **_FROM_THE_FIRST)


def _offered(kind: str, name: str) -> str:
    if not name:
        return "any"
    return page_title(name) if kind == "page" else name


def page_title(name: str) -> str:
    """Title of a page, also of an unknown one."""
    known = pages().get(name)
    return name.replace("_", " ").capitalize() if known is None else known.title


def gallery(wanted: Wanted) -> None:
    """Saved screens as cards, page by page."""
    found, count = wanted.find(AT_A_TIME, wanted.page_number * AT_A_TIME)
    if not found and wanted.page_number:  # beyond the last
        wanted = replace(wanted, page_number=0)
        found, count = wanted.find(AT_A_TIME)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(f"**{count} saved screen{'' if count == 1 else 's'}**", width="content")
        st.toggle(
            "Archived",
            help="Archived screens. Only the operator can delete screens.",
            **session.tied(
                "archived",
                wanted.archived,
                lambda held: session.change(archived=held, **_FROM_THE_FIRST),
            ),
        )
        if count:
            st.button(
                "Present",
                icon=":material/slideshow:",
                key="present",
                help=f"These screens one by one in full screen, at most the newest {MOST_SLIDES}.",
                on_click=lambda: session.change(presented=True),
            )
            _export(wanted, count)
    if not found:
        if wanted.text or wanted.page or wanted.facts or wanted.archived:
            st.info("No saved screen matches; remove a filter.", icon=":material/filter_alt_off:")
        else:
            examples.draw()
        return
    if session.screen().of(Options).presented:
        _present(wanted)
    with st.container(key="gallery"):
        for saved in found:
            _card(saved)
    parts = -(-count // AT_A_TIME)
    if parts > 1:
        st.pagination(
            parts,
            **session.tied(
                "saved-leaf",
                wanted.page_number + 1,
                lambda held: session.change(saved_leaf=int(held) - 1),
            ),
        )


def _card(saved: Card) -> None:
    """A card; an invalid one shows an error in its place instead of breaking the page."""
    with st.container(border=True, key=f"card-{saved.id}", gap="small"):
        try:
            _content(saved)
        except Exception:
            _log.warning("a saved screen could not be shown in the gallery", exc_info=True)
            st.caption("This saved screen cannot be shown; ask the operator to check it.")


def _content(saved: Card) -> None:
    if saved.thumbnail:
        st.image(saved.thumbnail, alt=f"Thumbnail of {saved.title}")
    st.markdown(f"**{plain(saved.title)}**  \n:small[{detail.byline(saved)}]")
    if saved.answers:
        st.caption(detail.answer_lines(saved.answers))
    st.button(
        "View",
        key=f"view-{saved.id}",
        icon=":material/visibility:",
        on_click=lambda: session.change(first=saved.id, second=None),
    )


# -- presentation ---------------------------------------------------------------------------------


def _present(wanted: Wanted) -> None:
    """The filtered screens one by one in full screen."""
    from dashboard import lightbox  # only where it is needed

    cards, _ = wanted.find(MOST_SLIDES)
    screens = [saved for card in cards if (saved := cache.store().get(card.id)) is not None]
    # Stills come out of archives as well, which may be from anywhere.
    stills = core.read_untrusted_images(
        [(cache.store().still(saved.id), saved.title) for saved in screens], SLIDE
    )
    slides = [
        lightbox.Slide(
            saved.title, _lines(saved), figures.data_uri(still), still.width / still.height
        )
        for saved, still in zip(screens, stills, strict=True)
        if isinstance(still, Image.Image)
    ]
    lightbox.present("presentation", slides, lambda: session.change(presented=False))


def _lines(saved: Saved) -> str:
    """Author, day and first notes of a screen."""
    lines = [" · ".join(filter(None, [saved.author, f"{saved.created:%Y-%m-%d}"]))]
    return "\n".join(
        [*lines, *(" ".join(note.text.split())[:LINE] for note in saved.notes[:NOTES])]
    )


# -- export ---------------------------------------------------------------------------------------


def _export(wanted: Wanted, count: int) -> None:
    """The filtered screens as one file, or as several, each of which can be imported."""
    store, start = cache.store(), session.screen().of(Options).export_from
    start = start if start < count else 0
    # A few more than fit, as screens that are too large are skipped.
    sizes = store.sizes(wanted.text, **wanted.filters, most=archive.MOST_EXPORTED + 1, skip=start)
    taken, too_large, seen = archive.fitting(sizes)
    if not start and seen == count and not too_large:
        _export_button(taken, "Export all")
        return
    with st.popover("Export", icon=":material/download:"):
        st.caption(
            f"{_these(start, seen)} of {count}, the newest first, fit into one file "
            f"({archive.FULL // 2**20} MB, {archive.MOST_EXPORTED} screens) that can be "
            "imported again."
        )
        if too_large:
            many = "1 of them is" if len(too_large) == 1 else f"{len(too_large)} of them are"
            st.caption(
                f"{many} too large and left out: open and export each alone; the operator can "
                "import such files."
            )
        if taken:
            _export_button(taken, f"Export {_these(start, seen).lower()}")
        left, right = st.columns(2)
        left.button(
            "Newer ones",
            disabled=not start,
            key="export-newer",
            on_click=lambda: session.change(export_from=0),
        )
        right.button(
            "Older ones",
            disabled=start + seen >= count,
            key="export-older",
            on_click=lambda: session.change(export_from=start + seen),
        )


def _these(start: int, seen: int) -> str:
    return f"Screens {start + 1} to {start + seen}" if seen > 1 else f"Screen {start + 1}"


def _export_button(ids: list[str], label: str) -> None:
    store = cache.store()
    st.download_button(
        label,
        data=lambda: archive.write(filter(archive.readable, map(store.draft, ids))),
        file_name="parallax-review.zip",
        mime="application/zip",
        icon=":material/download:",
        help="The filtered screens, with pictures, arrays, stills and notes.",
        key="export-all",
        on_click="ignore",
    )
