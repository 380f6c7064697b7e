"""Pieces of the Review page: the gallery, one saved screen, bringing screens in and out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import streamlit as st

from core import ParallaxError
from dashboard import archive, cache, manifest, review_detail, session
from dashboard.store import Card
from dashboard.text import plain

_log = logging.getLogger(__name__)

MOST_KNOWN = 300
"""Values of a kind that a filter offers."""

LEAF = 12
"""Saved screens that are shown at a time."""

_FROM_THE_FIRST: dict[str, Any] = {"saved_leaf": 0, "export_from": 0}
"""What goes along with every change of what is looked for."""

FILTERS = {
    "of_page": ("Page", "page"),
    "of_picture": ("Picture", "picture"),
    "of_model": ("Model", "model"),
    "of_class": ("Class", "class"),
}
"""By field, the label of its list and the kind of fact in the store."""

STYLE = """
<style>
[data-testid="stSidebar"], [data-testid="stExpandSidebarButton"] { display: none; }
.st-key-gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr));
  gap: 1rem; }
.st-key-gallery > * { width: auto !important; min-width: 0; }
.st-key-gallery > * > * { height: 100%; }
[class*="st-key-card-"] img { border-radius: .4rem; width: 100%; height: 110px; object-fit: cover;
  object-position: left; }
[class*="st-key-still-"] img { border: 1px solid #88888844; border-radius: .4rem; }
</style>
"""


@dataclass(frozen=True, eq=False)
class Wanted:
    """What the gallery is asked for."""

    text: str
    page: str | None
    facts: tuple[tuple[str, str], ...]
    archived: bool
    leaf: int

    @property
    def filters(self) -> dict[str, Any]:
        """What `Store.find` is asked, beside the text."""
        return {"page": self.page, "facts": self.facts, "archived": self.archived}

    def find(self, most: int | None = None, skip: int = 0) -> tuple[list[Card], int]:
        """Saved screens, the newest first, and how many there are."""
        return cache.store().find(self.text, **self.filters, most=most, skip=skip)


def head() -> None:
    """Title, and the ways in."""
    st.html(STYLE)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        st.title("Review", anchor=False)
        st.caption(
            "What was saved here, by everybody who opens this application. **Save & export** on "
            "the other pages puts a screen here."
        )
    with right, st.popover("Open or import", icon=":material/upload_file:", width="stretch"):
        _bring_in()


# -- to look for ----------------------------------------------------------------------------------


def filters() -> Wanted:
    """Search, filters and the switch between the two shelves."""
    now, store = session.screen(), cache.store()
    search, *places = st.columns([3, 2, 2, 2, 2], vertical_alignment="bottom")
    search.text_input(
        "Search",
        max_chars=100,
        placeholder="Titles, names and notes",
        **session.tied(
            "search",
            now.search or "",
            lambda held: session.change(search=held or None, **_FROM_THE_FIRST),
        ),
    )
    facts = []
    for place, (field, (label, kind)) in zip(places, FILTERS.items(), strict=True):
        known = store.known(kind, MOST_KNOWN)
        chosen = getattr(now, field)
        if chosen is not None and chosen not in known:
            if len(known) < MOST_KNOWN or not store.has(kind, chosen):
                session.problem(f"Nothing that is saved here has the {label.lower()} {chosen!r}.")
            known = [chosen, *known]
        place.selectbox(
            label,
            ["", *known],
            format_func=partial(_offered, kind),
            filter_mode="contains",
            help=f"The {MOST_KNOWN} that most saved screens have."
            if len(known) >= MOST_KNOWN
            else None,
            **session.tied(field, chosen or "", _writer(field)),
        )
        if chosen is not None and kind != "page":
            facts.append((kind, chosen))
    return Wanted(now.search or "", now.of_page, tuple(facts), now.archived, now.saved_leaf)


def _writer(field: str) -> Callable[[str], None]:
    return lambda held: session.change(**{field: held or None}, **_FROM_THE_FIRST)


def _offered(kind: str, name: str) -> str:
    if not name:
        return "any"
    return _page(name) if kind == "page" else name


def _page(name: str) -> str:
    return name.replace("_", " ").capitalize()


def gallery(wanted: Wanted) -> None:
    """Saved screens as cards, a leaf at a time."""
    found, count = wanted.find(LEAF, wanted.leaf * LEAF)
    if not found and wanted.leaf:  # the leaf is beyond the last
        wanted = Wanted(wanted.text, wanted.page, wanted.facts, wanted.archived, 0)
        found, count = wanted.find(LEAF)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(f"**{count} saved screen{'' if count == 1 else 's'}**", width="content")
        st.toggle(
            "Archived",
            help="Screens that were put away. Pages delete nothing; the operator can.",
            **session.tied(
                "archived",
                wanted.archived,
                lambda held: session.change(archived=held, **_FROM_THE_FIRST),
            ),
        )
        if count:
            _export(wanted, count)
    if not found:
        st.info(
            "Nothing is saved here yet."
            if not (wanted.text or wanted.page or wanted.facts or wanted.archived)
            else "No saved screen is like that; take a filter back.",
            icon=":material/collections_bookmark:",
        )
        return
    with st.container(key="gallery"):
        for saved in found:
            _card(saved)
    leaves = -(-count // LEAF)
    if leaves > 1:
        st.pagination(
            leaves,
            **session.tied(
                "saved-leaf", wanted.leaf + 1, lambda held: session.change(saved_leaf=int(held) - 1)
            ),
        )


def _card(saved: Card) -> None:
    """A card; one that cannot be drawn, whatever was stored, costs itself and not the page."""
    with st.container(border=True, key=f"card-{saved.id}", gap="small"):
        try:
            _content(saved)
        except Exception:
            _log.warning("a saved screen could not be shown in the gallery", exc_info=True)
            st.caption("This saved screen cannot be shown; the operator can look at it.")


def _content(saved: Card) -> None:
    if saved.thumbnail:
        st.image(saved.thumbnail, alt=f"Thumbnail of {saved.title}")
    st.markdown(f"**{plain(saved.title)}**  \n:small[{review_detail.byline(saved)}]")
    if saved.answers:
        st.caption(review_detail.answer_lines(saved.answers))
    st.button(
        "View",
        key=f"view-{saved.id}",
        icon=":material/visibility:",
        on_click=lambda: session.change(first=saved.id, second=None),
    )


# -- in and out -----------------------------------------------------------------------------------


def _export(wanted: Wanted, count: int) -> None:
    """All that the filters leave as one file, or as several, each of which can be imported."""
    store, start = cache.store(), session.screen().export_from
    start = start if start < count else 0
    # A few more than fit, as those that are too large do not count.
    sizes = store.sizes(wanted.text, **wanted.filters, most=archive.MOST_EXPORTED + 1, skip=start)
    taken, too_large, seen = archive.fitting(sizes)
    if not start and seen == count and not too_large:
        _export_button(taken, "Export all")
        return
    with st.popover("Export", icon=":material/download:"):
        st.caption(
            f"{_these(start, seen)} of {count}, the newest first, are what one file takes "
            f"({archive.FULL // 2**20} MB, {archive.MOST_EXPORTED} screens), so that it can be "
            "imported again."
        )
        if too_large:
            many = "1 of them is" if len(too_large) == 1 else f"{len(too_large)} of them are"
            st.caption(
                f"{many} too large and left out: view and export it alone; the operator can import "
                "such a file."
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
        help="What the filters leave, with pictures, arrays, stills and notes.",
        key="export-all",
        on_click="ignore",
    )


@dataclass
class Imported:
    """Id of the archive that a session imported last."""

    file: str = ""


def _bring_in() -> None:
    """Open a manifest, or import an archive into the store."""
    st.caption(
        "A **manifest** (JSON) opens one screen and saves nothing. An **archive** (ZIP) is taken "
        "into this store with its pictures and notes: everybody who opens this application sees "
        "them. What is here already is left as it is and gains the notes that it lacks."
    )
    file = st.file_uploader(
        "Manifest or archive", type=["json", "zip"], max_upload_size=20, key="bring-in"
    )
    if file is None:
        return
    data = file.getvalue()
    try:
        if data[:2] != b"PK":
            about = manifest.read(data)
            title = about.title or _page(about.page)
            pictures = ", ".join(picture.name for picture in about.pictures)
            st.markdown(f"**{plain(title)}**  \n:small[{plain(pictures)}]")
            review_detail.open_link(about)
        elif session.kept(Imported).file != file.file_id:
            count = _import(data)
            session.kept(Imported).file = file.file_id
            what = "1 saved screen" if count == 1 else f"{count} saved screens"
            st.toast(f"{what} imported.", icon=":material/bookmark:")
    except ParallaxError as error:
        st.warning(plain(str(error)), icon=":material/warning:")


def _import(data: bytes) -> int:
    """Take an archive into the store; ends at its next step when its reader leaves."""
    bar, told = st.progress(0.0, "Waiting for other archives"), 0.0

    def tell(share: float) -> None:
        nonlocal told
        if (now := monotonic()) > told + 0.2:
            told = now
            bar.progress(share, "Reading the archive" if share else "Waiting for other archives")

    try:
        return archive.take_in(cache.store(), data, tell)
    finally:
        bar.empty()
