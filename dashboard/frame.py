"""The frame of every page: links, title, picture, models, the fit."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core import (
    FITS,
    BusyError,
    Framing,
    ImageError,
    ParallaxError,
    catalog_problem,
    samples,
)
from dashboard import (
    bringing,
    cache,
    controls,
    models,
    opening,
    pending_downloads,
    registry,
    session,
    settings,
    sharing,
    show,
    style,
    taking,
    waiting,
)
from dashboard.opening import OPENING
from dashboard.scene import Picture, Scene, framing_of
from dashboard.screen import kind_of, link_of
from dashboard.text import plain
from dashboard.uploads import OWN

FAILED = (
    "This page could not be drawn; the log has the details. Choose something else, or load "
    "the page again."
)

_log = logging.getLogger(__name__)

FIT_OPTIONS = ("crop", "pad", "stretch", "whole")
SIZES = ("own", "224", "336", "448", "480", "518", "672")

_READ = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_OWN_SHOWN = 6

SMALL = 64
"""Pixels of a side below which a picture is mostly made by its enlargement."""


def run(name: str, page: Any, pages: Mapping[str, Any]) -> None:
    """Draw the frame, then the page; errors that a user can act on become one sentence.

    Parameters
    ----------
    name
        Of the page, as in the address.
    pages
        All pages by name, for the links.
    """
    st.html(style.STYLE)
    st.html(style.with_text_color(session.text_color()))
    session.enter(name)
    shown = show.begin(page.title, _address())
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="links"):
        links = {other: st.empty() for other in pages}
        folded = st.empty()
        sharing_place = st.container(width="content")
    notices = st.container()
    looked_at: Scene | None = None
    usable = False
    try:
        try:
            settings.apply()
            usable = True
            pending_downloads.settle()
        finally:
            addresses = {other: session.screen().to(other).address() for other in pages}
            _link(links, pages, addresses)
            with (
                folded.container(),
                st.popover(page.title, icon=":material/menu:", key=f"folded-{name}"),
            ):
                _link(dict.fromkeys(pages, st), pages, addresses)
            _mark_current(pages)
        with waiting.told_to_wait(), waiting.bar(show.cancel), cache.reading_once():
            if name != "review":
                with sharing_place:
                    sharing.menu(shown)
                with opening.ahead(shown.still), st.sidebar:  # visible while models are opened
                    looked_at = _scene()
                    session.current().scene = looked_at
            page.run()
        show.finished(shown)
        with notices:
            sharing.told(shown)
    except BusyError as error:
        st.info(plain(str(error)), icon=":material/hourglass_top:")
        st.button("Try again", key="try-again", icon=":material/refresh:")
    except ParallaxError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except Exception as error:
        failed(error)
    finally:
        if usable:  # otherwise there is no budget
            cache.settle(looked_at)
        for sentence in session.current().problems:
            notices.warning(plain(sentence), icon=":material/link_off:")


def failed(error: Exception) -> bool:
    """Show one sentence for an unexpected error, and log the error."""
    _log.error("a page failed", exc_info=error)
    st.error(FAILED, icon=":material/error:")
    return True


def _link(
    places: Mapping[str, Any], pages: Mapping[str, Any], addresses: Mapping[str, Any]
) -> None:
    """Links to all pages that keep the choices."""
    for name, place in places.items():
        place.page_link(pages[name], icon=registry.pages()[name].icon, query_params=addresses[name])


def _mark_current(pages: Mapping[str, Any]) -> None:
    with st.container(key="current-page"):
        number = list(pages).index(session.screen().page)
        st.html(style.current_page(number), unsafe_allow_javascript=True)


def _address() -> str:
    """The address of this screen, for exports."""
    return link_of((st.context.url or "").partition("?")[0], session.screen())


def _scene() -> Scene:
    if aside := kind_of(session.screen().page).aside:
        st.caption(aside)
    picture = _picture()
    chosen = models.picker()
    bringing.expander()
    opened = models.opened(chosen)
    pending_downloads.show()
    framing = _framing()
    found = Scene(picture, tuple(model.spec for model in opened), framing)
    models.about(opened)
    if problem := catalog_problem():
        st.warning(f"Your own models are not offered: {plain(problem)}", icon=":material/warning:")
    if (shown := show.current()) is not None:
        shown.maker.look_at(session.screen(), found, *opened)
    return found


def _framing() -> Framing:
    texts = " ".join(f"**{name.capitalize()}**: {FITS[name]}." for name in FIT_OPTIONS)
    left, right = st.columns(2, gap="small")
    with left:
        controls.select(
            "fit",
            "Fit",
            FIT_OPTIONS,
            format_func=str.capitalize,
            help=f"The same for all models. {texts}",
        )
    with right:
        controls.select(
            "size",
            "Size",
            SIZES,
            format_func=lambda s: "own" if s == "own" else f"{s} px",
            help="Side of the picture that all models get (short side for “whole”), rounded to "
            "whole patches. “Own” is the size of the first model with patches.",
        )
    return framing_of(session.screen().shared)


# -- pictures -----------------------------------------------------------------------------------


def _picture() -> Picture:
    offered = {sample.id: sample for sample in samples()}
    wanted = session.screen().shared.image
    picture = None
    if wanted in offered:
        picture = cache.from_sample(offered[wanted])
    elif wanted.startswith(OWN):
        picture = cache.own_picture(wanted)
    if picture is None:
        picture = cache.from_sample(next(iter(offered.values())))
        own_one = wanted.startswith(OWN)
        gone = (
            "This uploaded picture is no longer held here"
            if own_one
            else f"There is no picture {wanted!r}"
        )
        again = " Upload it again to see it." if own_one else ""
        session.problem(f"{gone}; shown instead: {picture.name}.{again}")
    st.caption("  \n".join(filter(None, [f"Picture: {plain(picture.name)}", plain(picture.note)])))
    if min(picture.image.size) < SMALL:
        st.warning(
            f"Only {picture.image.width} × {picture.image.height} pixels: it is enlarged for the "
            "models, and its maps show that.",
            icon=":material/photo_size_select_small:",
        )
    own = _own()
    with st.container(horizontal=True, gap="xsmall", key="thumbnails"):
        for sample in offered.values():
            thumbnail = cache.thumbnail(sample.path)
            _thumbnail(sample.id, sample.title, sample.credit, thumbnail, picture)
        for picture_id in list(own)[-_OWN_SHOWN:]:
            mine = cache.own_picture(picture_id)
            if mine is not None:
                thumbnail = cache.thumbnail_of(mine)
                name = plain(own[picture_id])
                _thumbnail(picture_id, name, name, thumbnail, picture)
    if len(own) > _OWN_SHOWN:
        st.caption(f"The newest {_OWN_SHOWN} of your {len(own)} pictures are shown.")
    _upload(own)
    return picture


def _own() -> dict[str, str]:
    """Names of the pictures that this session has uploaded, as far as they are held."""
    ids, held = session.current().own, cache.own_pictures()
    found = {name: file[0] for name in ids if (file := held.get(name)) is not None}
    gone = len(ids) - len(found)
    if gone:
        ids[:] = list(found)
        session.problem(
            f"{gone} of your pictures {'is' if gone == 1 else 'are'} no longer held here; upload "
            "what you still need again."
        )
    return found


def _thumbnail(picture_id: str, title: str, help: str, jpeg: bytes, shown: Picture) -> None:
    chosen = "-chosen" if picture_id == shown.id else ""
    with st.container(key=f"picture-{picture_id}{chosen}"):
        encoded = base64.b64encode(jpeg).decode()
        st.html(f'<img src="data:image/jpeg;base64,{encoded}" alt="">')
        st.button(
            title,
            key=f"pick-{picture_id}",
            on_click=lambda: _look_at(picture_id),
            help=help,
        )


def _look_at(picture_id: str) -> None:
    """Choose another picture; some options belong to the one before."""
    now = session.screen().mapped(lambda one: one.with_other_picture())
    session.become(now.to(image=picture_id))


def _upload(own: Mapping[str, str]) -> None:
    """Upload or camera; an unreadable file is rejected with a sentence and changes nothing."""
    with st.expander("Your own picture", icon=":material/add_a_photo:"):
        st.file_uploader(
            "Upload a picture",
            # HEIC and AVIF are let through to be refused by their names.
            type=[*_READ, "heic", "heif", "avif"],
            accept_multiple_files=True,
            max_upload_size=20,
            label_visibility="collapsed",
            **session.tied("upload", None, _take, seed=False),
        )
        if st.toggle("Use the camera", key="use_camera"):
            st.camera_input("Take a picture", **session.tied("camera", None, _take, seed=False))
        if own:
            st.selectbox(
                "Remove one of yours",
                list(own),
                index=None,
                format_func=own.__getitem__,
                filter_mode="contains",
                placeholder="Choose a picture",
                **session.tied("remove-own", None, _remove),
            )


def _take(given: Any) -> None:
    """Keep each file that can be read, and look at the last of them."""
    # Files removed from the widget stay among the pictures until they are removed there.
    last = None
    for file in session.uploaded(given):
        data = file.getvalue()
        if isinstance(given, list):
            session.let_go(file)
        try:
            last = taking.take(file.name, data).id
        except ImageError as error:
            session.say(str(error))
    if last is not None:
        _look_at(last)


def _remove(picture_id: str | None) -> None:
    """Drop an uploaded picture from this server; saved screens keep theirs."""
    if picture_id not in session.current().own:  # also a forged value, of a picture of others
        return
    cache.own_pictures().drop(picture_id)
    session.current().own.remove(picture_id)
    if session.screen().shared.image == picture_id:
        _look_at(OPENING)
