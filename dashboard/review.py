"""Pieces of the Review page: the gallery, one saved screen, bringing screens in and out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from core import ParallaxError
from dashboard import archive, cache, manifest, review_detail, screen
from dashboard.store import Saved
from dashboard.text import plain

LEAF = 12
"""Saved screens that are shown at a time."""

MOST_EXPORTED = 100
"""Saved screens that one archive takes."""

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

    def find(self, most: int | None = None, skip: int = 0) -> tuple[list[Saved], int]:
        """Saved screens, the newest first, and how many there are."""
        return cache.store().find(
            self.text,
            page=self.page,
            facts=self.facts,
            archived=self.archived,
            most=most,
            skip=skip,
        )


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
    now, store = screen.current(), cache.store()
    search, *places = st.columns([3, 2, 2, 2, 2], vertical_alignment="bottom")
    search.text_input(
        "Search",
        max_chars=100,
        placeholder="Titles, names and notes",
        **screen.tied(
            "search",
            now.search or "",
            lambda held: screen.change(search=held or None, saved_leaf=0),
        ),
    )
    facts = []
    for place, (field, (label, kind)) in zip(places, FILTERS.items(), strict=True):
        known = store.known(kind)
        chosen = getattr(now, field)
        if chosen is not None and chosen not in known:
            screen.problem(f"Nothing that is saved here has the {label.lower()} {chosen!r}.")
            known = [chosen, *known]
        place.selectbox(
            label,
            ["", *known],
            format_func=partial(_offered, kind),
            filter_mode="contains",
            **screen.tied(field, chosen or "", _writer(field)),
        )
        if chosen is not None and kind != "page":
            facts.append((kind, chosen))
    return Wanted(now.search or "", now.of_page, tuple(facts), now.archived, now.saved_leaf)


def _writer(field: str) -> Callable[[str], None]:
    return lambda held: screen.change(**{field: held or None, "saved_leaf": 0})


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
            help="Screens that were put away. Nothing is ever deleted here.",
            **screen.tied(
                "archived",
                wanted.archived,
                lambda held: screen.change(archived=held, saved_leaf=0),
            ),
        )
        if count:
            _export_all(wanted, count)
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
            **screen.tied(
                "saved-leaf", wanted.leaf + 1, lambda held: screen.change(saved_leaf=int(held) - 1)
            ),
        )


def _card(saved: Saved) -> None:
    with st.container(border=True, key=f"card-{saved.id}", gap="small"):
        st.image(saved.thumbnail, alt=f"Thumbnail of {saved.title}")
        st.markdown(f"**{plain(saved.title)}**  \n:small[{review_detail.byline(saved)}]")
        if (about := review_detail.described(saved)) is not None:
            st.caption(review_detail.answers(about))
        st.button(
            "View",
            key=f"view-{saved.id}",
            icon=":material/visibility:",
            on_click=lambda: screen.change(first=saved.id, second=None),
        )


# -- in and out -----------------------------------------------------------------------------------


def _export_all(wanted: Wanted, count: int) -> None:
    store, some = cache.store(), min(count, MOST_EXPORTED)

    def everything() -> bytes:
        found, _ = store.find(
            wanted.text,
            page=wanted.page,
            facts=wanted.facts,
            archived=wanted.archived,
            most=MOST_EXPORTED,
        )
        return archive.write(store.draft(saved.id) for saved in found)

    st.download_button(
        "Export all" if some == count else f"Export the newest {some}",
        data=everything,
        file_name="parallax-review.zip",
        mime="application/zip",
        icon=":material/download:",
        help="All that the filters leave, with pictures, arrays, stills and notes.",
        key="export-all",
        on_click="ignore",
    )


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
        elif screen.kept("imported") != file.file_id:
            drafts = archive.read(data)
            for each in drafts:
                cache.store().save(each)
            screen.keep("imported", file.file_id)
            st.toast(f"{len(drafts)} saved screens imported.", icon=":material/bookmark:")
    except ParallaxError as error:
        st.warning(plain(str(error)), icon=":material/warning:")
