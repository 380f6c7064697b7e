"""The frame that every page shares: links, title, picture, models, the fit."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

import streamlit as st

import core
from core import (
    FITS,
    BusyError,
    Fit,
    Framing,
    ImageError,
    Model,
    ModelError,
    ModelSpec,
    ParallaxError,
    best_device,
    catalog_problem,
    samples,
)
from dashboard import (
    arriving,
    cache,
    columns,
    controls,
    gather,
    panels,
    scene,
    screen,
    settings,
    sharing,
    style,
    waiting,
)
from dashboard.looks import MOST, Look
from dashboard.scene import Picture, Scene
from dashboard.text import plain, text_color
from dashboard.titles import ICONS
from dashboard.uploads import OWN

FAILED = (
    "This page could not be drawn, and what happened is in the log; choose something else, or load "
    "the page again."
)

_log = logging.getLogger(__name__)

FIT_OPTIONS = ("crop", "pad", "stretch", "whole")
SIZES = ("own", "224", "336", "448", "480", "518", "672")

_OWN_SHOWN = 6


def run(name: str, page: Any, pages: Mapping[str, Any]) -> None:
    """Draw the frame, then the page; whatever a person can act on becomes one sentence.

    Parameters
    ----------
    name
        Of the page, as in the address.
    pages
        All pages by name, for the links.
    """
    st.html(style.STYLE)
    st.html(f"<style>{style.IN_TEXT_COLOR} {{ color: {text_color()} !important; }}</style>")
    screen.enter(name)
    shown = gather.begin(page.title, _address())
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="links"):
        links = {other: st.empty() for other in pages}
        sharing_place = st.container(width="content")
    notices = st.container()
    looked_at: Scene | None = None
    usable = False
    try:
        try:
            settings.apply()
            usable = True
            arriving.settle()
        finally:
            _link(links, pages)
        with waiting.told_to_wait():
            if name != "review":
                with sharing_place:
                    sharing.menu(shown)
                with st.skeleton(height=420), st.sidebar:  # seen while models are opened
                    looked_at = _scene()
                    scene.enter(looked_at)
            page.run()
        shown.complete = True
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
        if usable:  # else there is no budget to keep to
            cache.settle(looked_at)
        cache.forget_late()
        for sentence in screen.problems():
            notices.warning(plain(sentence), icon=":material/link_off:")


def failed(error: Exception) -> bool:
    """Say in a sentence what nobody can act on; what happened goes into the log."""
    _log.error("a page failed", exc_info=error)
    st.error(FAILED, icon=":material/error:")
    return True


def _link(places: Mapping[str, Any], pages: Mapping[str, Any]) -> None:
    """Links to all pages that take along what is chosen."""
    for name, place in places.items():
        place.page_link(pages[name], icon=ICONS[name], query_params=screen.current().address())


def _address() -> str:
    """The address of this screen, to be written below what is exported."""
    query = urlencode(screen.current().without_review().address(), doseq=True, safe=":,=/")
    return "?".join(filter(None, [(st.context.url or "").partition("?")[0], query]))


def _scene() -> Scene:
    picture = _picture()
    opened = _opened(_models())
    arriving.show()
    framing = _framing()
    found = Scene(picture, tuple(model.spec for model in opened), framing)
    _about(found.models)
    if problem := catalog_problem():
        st.warning(f"Your own models are not offered: {plain(problem)}", icon=":material/warning:")
    gather.look_at(found, *opened)
    return found


# -- models -------------------------------------------------------------------------------------


def offered_models() -> dict[str, ModelSpec]:
    """The models that can be chosen by id, one's own first."""
    locked = settings.locked()
    specs = sorted(core.catalog(), key=lambda spec: spec.source != "local")
    return {spec.id: spec for spec in specs if spec.source == "embedded" or not locked}


def model_title(spec: ModelSpec) -> str:
    """What a list of models calls one, with what must be done before it can be shown."""
    missing = " · missing" if spec.source == "local" else " · download"
    return spec.title + ("" if cache.ready().get(spec.id) else missing)


def _models() -> list[ModelSpec]:
    """The list of models: each can be changed or removed, and up to four can be there."""
    offered = offered_models()
    _only(offered)
    chosen = screen.current().m
    st.caption("Models", help=MODELS_HELP)
    for place, model_id in enumerate(chosen):
        free = [one for one in offered if one == model_id or one not in chosen]
        with st.container(horizontal=True, gap="xsmall", key=f"model-{place}"):
            st.selectbox(
                f"Model {place + 1}",
                free,
                format_func=lambda one: model_title(offered[one]),
                filter_mode="contains",
                label_visibility="collapsed",
                **screen.tied(f"m-{place}", model_id, partial(_replace, offered, model_id)),
            )
            if len(chosen) > 1:
                st.button(
                    "",
                    icon=":material/close:",
                    key=f"remove-model-{place}",
                    type="tertiary",
                    width="content",
                    help=f"Remove {plain(offered[model_id].title)}",
                    on_click=screen.guarded(partial(_remove, model_id)),
                )
    if len(chosen) < MOST:
        st.selectbox(
            "Add a model",
            [one for one in offered if one not in chosen],
            index=None,
            format_func=lambda one: model_title(offered[one]),
            filter_mode="contains",
            label_visibility="collapsed",
            placeholder="Add a model",
            **screen.tied("add-model", None, partial(_add, offered)),
        )
    return [offered[model_id] for model_id in chosen]


MODELS_HELP = (
    "One to four models, which all get the same pixels. Models marked “download” are fetched once, "
    "when you pick them; the page goes on with what it shows until they are there."
)


def _only(offered: Mapping[str, ModelSpec]) -> None:
    """Show other models in the place of those that are not to be had, and none twice."""
    now = screen.current()
    if len(set(now.m)) < len(now.m):
        now = now.to(m=tuple(dict.fromkeys(now.m)))
    usual = core.default_models()
    for place, model_id in enumerate(now.m):
        if model_id in offered:
            continue
        order = [*usual[place : place + 1], *usual]
        other = next((one for one in order if one not in now.m), "")
        now = (
            columns.instead(now, model_id, other, True) if other else columns.without(now, model_id)
        )
        shown = other or ", ".join(now.m)
        screen.problem(f"m is {model_id!r}, which is not to be had here; shown instead: {shown}.")
    for text in now.look:
        if Look.read(text).model not in now.m:
            screen.problem(f"look is {text!r}, whose model is not among those shown (m).")
    if now != screen.current():
        screen.show_instead(now)


def _replace(offered: Mapping[str, ModelSpec], model_id: str, other: str) -> None:
    alike = offered[model_id].family == offered[other].family
    screen.become(columns.instead(screen.current(), model_id, other, alike))


def _remove(model_id: str) -> None:
    screen.become(columns.without(screen.current(), model_id))


def _add(offered: Mapping[str, ModelSpec], model_id: str | None) -> None:
    if model_id is not None:
        screen.become(columns.added(screen.current(), Look(offered[model_id].id)))


def _opened(specs: list[ModelSpec]) -> list[Model]:
    """The models; or back to what was shown before, with a sentence that says why."""
    found = []
    for place, spec in enumerate(specs):
        try:
            found.append(cache.model(spec.id))
        except ModelError as error:
            now = screen.current()
            other = arriving.before(now, place, spec)
            if other == spec.id:
                raise
            shown = f" Shown instead: {core.find_spec(other).title}." if other else ""
            screen.say(f"{error}{shown} It is tried again after three minutes.")
            screen.become(arriving.put_back(now, spec, other))
            screen.again()
    arriving.showing(tuple(spec.id for spec in specs))
    return found


def _framing() -> Framing:
    texts = " ".join(f"**{name.capitalize()}**: {FITS[name]}." for name in FIT_OPTIONS)
    left, right = st.columns(2, gap="small")
    with left:
        fit = controls.select(
            "fit",
            "Fit",
            FIT_OPTIONS,
            format_func=str.capitalize,
            help=f"The same for all models. {texts}",
        )
    with right:
        size = controls.select(
            "size",
            "Size",
            SIZES,
            format_func=lambda s: "own" if s == "own" else f"{s} px",
            help="Side of what all models see (the short side for “whole”), rounded to whole "
            "patches. “Own” is that of the first model with patches.",
        )
    return Framing(cast(Fit, fit), None if size == "own" else int(size))


def _about(specs: Sequence[ModelSpec]) -> None:
    device = best_device().type.upper()
    st.caption(f"{plain(panels.matched(specs), 1000)} Models run on {device}.")


# -- pictures -----------------------------------------------------------------------------------


def _picture() -> Picture:
    offered = {sample.id: sample for sample in samples()}
    wanted = screen.current().image
    picture = None
    if wanted in offered:
        picture = cache.from_sample(offered[wanted])
    elif wanted.startswith(OWN):
        picture = cache.own_picture(wanted)
    if picture is None:
        picture = cache.from_sample(next(iter(offered.values())))
        own_one = wanted.startswith(OWN)
        gone = (
            "This picture of somebody's own is not held here any more"
            if own_one
            else f"There is no picture {wanted!r}"
        )
        again = " Upload it again to see it." if own_one else ""
        screen.problem(f"{gone}; shown instead: {picture.name}.{again}")
    st.caption("  \n".join(filter(None, [f"Picture: {plain(picture.name)}", plain(picture.note)])))
    own = [name for name in screen.own_pictures() if cache.own_pictures().get(name)]
    with st.container(horizontal=True, gap="xsmall", key="thumbnails"):
        for sample in offered.values():
            thumbnail = cache.thumbnail(sample.path)
            _thumbnail(sample.id, sample.title, sample.credit, thumbnail, picture)
        for picture_id in own[-_OWN_SHOWN:]:
            mine = cache.own_picture(picture_id)
            if mine is not None:
                thumbnail = cache.thumbnail_of(mine)
                _thumbnail(picture_id, plain(mine.name), plain(mine.name), thumbnail, picture)
    _upload()
    return picture


def _thumbnail(picture_id: str, title: str, help: str, jpeg: bytes, shown: Picture) -> None:
    chosen = "-chosen" if picture_id == shown.id else ""
    with st.container(key=f"picture-{picture_id}{chosen}"):
        encoded = base64.b64encode(jpeg).decode()
        st.html(f'<img src="data:image/jpeg;base64,{encoded}" alt="">')
        st.button(
            title,
            key=f"pick-{picture_id}",
            on_click=lambda: screen.change(image=picture_id, classes=(), animated=None),
            help=help,
        )


def _upload() -> None:
    """Upload or camera; what cannot be read is refused with a sentence and changes nothing."""
    with st.expander("Your own picture", icon=":material/add_a_photo:"):
        st.file_uploader(
            "Upload a picture",
            type=["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"],
            max_upload_size=20,
            label_visibility="collapsed",
            **screen.tied("upload", None, _take, seed=False),
        )
        if st.toggle("Use the camera", key="use_camera"):
            st.camera_input("Take a picture", **screen.tied("camera", None, _take, seed=False))


def _take(file: Any) -> None:
    if file is None:  # removed again: the picture stays until another is chosen
        return
    data = file.getvalue()
    try:
        picture = cache.from_bytes(data, file.name)
    except ImageError as error:
        screen.say(str(error))
        return
    cache.own_pictures().put(file.name, data)
    screen.remember_own(picture.id)
    screen.change(image=picture.id, classes=(), animated=None)
