"""Widgets and layout of Review: search, view, annotate, export and import saved screens."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

import streamlit as st

from core import ParallaxError
from dashboard import archive, cache, manifest, session
from dashboard.text import plain
from pages.review import detail, gallery
from pages.review.options import Options

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


def draw() -> None:
    """The gallery, or one or two saved screens named in the address."""
    _head()
    asked = session.screen().of(Options)
    shown = detail.found(asked.first, asked.second)
    if not shown:
        gallery.gallery(gallery.filters())
        return
    detail.bar(shown)
    for place, saved in zip(st.columns(len(shown), gap="large"), shown, strict=True):
        with place:
            detail.detail(saved, alone=len(shown) == 1)


def _head() -> None:
    """The title, and the menu for opening and importing."""
    st.html(STYLE)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        st.title("Review", anchor=False)
        st.caption(
            "Screens that users of this application have saved. **Save & export** on "
            "the other pages adds a screen."
        )
    with right, st.popover("Open or import", icon=":material/upload_file:", width="stretch"):
        _bring_in()


# -- import ---------------------------------------------------------------------------------------


@dataclass
class Imported:
    """Id of the archive that a session imported last."""

    file: str = ""


def _bring_in() -> None:
    """Open a manifest, or import an archive into the store."""
    st.caption(
        "A **manifest** (JSON) opens one screen and saves nothing. An **archive** (ZIP) is "
        "imported into this store with its pictures and notes: all users of this application see "
        "them. Screens that exist already are not changed, except that missing notes are added."
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
            title = about.title or gallery.page_title(about.page)
            pictures = ", ".join(picture.name for picture in about.pictures)
            st.markdown(f"**{plain(title)}**  \n:small[{plain(pictures)}]")
            detail.open_link(about)
        elif session.kept(Imported).file != file.file_id:
            count = _import(data)
            session.kept(Imported).file = file.file_id
            what = "1 saved screen" if count == 1 else f"{count} saved screens"
            st.toast(f"{what} imported.", icon=":material/bookmark:")
    except ParallaxError as error:
        st.warning(plain(str(error)), icon=":material/warning:")


def _import(data: bytes) -> int:
    """Import an archive into the store; ends at its next step when its session leaves."""
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
