"""The frame every page shares: picture gallery, upload, camera, the pair of models, the fit."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, cast

import streamlit as st

import core
from core import (
    FITS,
    Fit,
    Framing,
    Model,
    ModelError,
    ModelSpec,
    ParallaxError,
    Sample,
    best_device,
    catalog_problem,
    find_spec,
    samples,
)
from dashboard import cache, controls, settings, state
from dashboard.state import Picture, Scene
from dashboard.text import plain

OWN = "yours"
FIT_OPTIONS = ("crop", "pad", "stretch", "whole")
SIZES = ("own", "224", "336", "448", "518", "672")
_STYLE = """
<style>
[class*="st-key-sample-"] { position: relative; width: 50px; gap: 0; }
[data-testid="stLayoutWrapper"]:has(> [class*="st-key-sample-"]) { width: 50px; flex: 0 0 50px; }
[class*="st-key-sample-"] img { border-radius: .5rem; display: block; width: 50px; height: 50px; }
[class*="st-key-sample-"] .stElementContainer:has(.stButton) { position: absolute; inset: 0; }
[class*="st-key-sample-"] button {
  width: 50px; height: 50px; min-height: 0; padding: 0; background: transparent !important;
  border: 3px solid transparent; border-radius: .5rem; overflow: hidden;
}
[class*="st-key-sample-"] button:hover { border-color: #14b8a688; }
[class*="st-key-sample-"] button:focus-visible { outline: 2px solid #14b8a6; }
[class*="st-key-sample-"] button p { font-size: 0; }
[class*="st-key-sample-"][class*="-chosen"] button { border-color: #14b8a6; }
</style>
"""


def run(page: Any) -> None:
    """Draw the frame, then the page; whatever a person can act on becomes one sentence."""
    st.html(_STYLE)
    try:
        settings.apply()
        state.set_scene(_scene())
        page.run()
    except ParallaxError as error:
        st.error(plain(str(error)), icon=":material/error:")


def _scene() -> Scene:
    specs = core.catalog()
    _warn_of_unknown_models()
    with st.container(border=True, key="frame"):
        left, right = st.columns([5, 6], gap="medium")
        with left:
            picture = _picture()
        with right:
            cnn_column, vit_column = st.columns(2)
            with cnn_column:
                cnn = _opened(_model_picker("CNN", "cnn", specs), "cnn").spec
            with vit_column:
                vit = _opened(_model_picker("ViT", "vit", specs), "vit").spec
            framing = _framing()
            _about(cnn, vit)
    if problem := catalog_problem():
        st.warning(f"Your own models are not offered: {plain(problem)}", icon=":material/warning:")
    return Scene(picture, cnn, vit, framing)


def _warn_of_unknown_models() -> None:
    """Tell of an id in the address that the pickers below are going to ignore."""
    for key in ("cnn", "vit"):
        asked = st.query_params.get(key)
        if asked and key not in st.session_state:
            try:
                if find_spec(asked).family == key:
                    continue
                message = f"The model {asked!r} in the address is no {key.upper()}."
            except ModelError as error:
                message = str(error)
            st.warning(f"{plain(message)} The embedded model is shown.", icon=":material/link_off:")


def _model_picker(label: str, family: str, specs: tuple[ModelSpec, ...]) -> ModelSpec:
    offered = {spec.id: spec for spec in specs if spec.family == family}
    ready = cache.ready()

    def title(model_id: str) -> str:
        missing = " · missing" if offered[model_id].source == "local" else " · download"
        return offered[model_id].title + ("" if ready.get(model_id) else missing)

    chosen = controls.linked_select(
        label,
        list(offered),
        family,
        title,
        "Models marked “download” are fetched once, when you pick them.",
    )
    return offered[chosen]


def _opened(spec: ModelSpec, family: str) -> Model:
    """The model, or the embedded one of its family with a sentence that says why."""
    try:
        return cache.model(spec.id)
    except ModelError as error:
        embedded = next(s for s in core.catalog() if s.family == family)
        if embedded.id == spec.id:
            raise
        st.warning(
            f"{plain(str(error))} Shown instead: {embedded.title}. It is tried again after three "
            "minutes.",
            icon=":material/cloud_off:",
        )
        return cache.model(embedded.id)


def _framing() -> Framing:
    texts = " ".join(f"**{name.capitalize()}**: {FITS[name]}." for name in FIT_OPTIONS)
    fit_column, size_column = st.columns(2)
    with fit_column:
        fit = _fit(texts)
    with size_column:
        size = _size()
    return Framing(cast(Fit, fit), None if size == "own" else int(size))


def _fit(texts: str) -> str:
    return controls.linked_select(
        "Fit", FIT_OPTIONS, "fit", str.capitalize, f"The same for both models. {texts}"
    )


def _size() -> str:
    return controls.linked_select(
        "Size in pixels",
        SIZES,
        "size",
        lambda s: "the ViT's own" if s == "own" else s,
        "Side of what both models see (the short side for “whole”), rounded to whole patches.",
    )


def _about(cnn: ModelSpec, vit: ModelSpec) -> None:
    device = best_device().type.upper()
    if cnn.matches(vit):
        pair = f"Matched pair: both trained on {cnn.pretraining}."
    else:
        pair = (
            f"Unmatched pair — CNN: {cnn.pretraining}. ViT: {vit.pretraining}. "
            "Differences may come from the training data."
        )
    st.caption(f"{pair} Models run on {device}.")


def _choose(sample_id: str) -> Callable[[], None]:
    def callback() -> None:
        st.session_state["image"] = sample_id
        st.session_state["_upload_error"] = None
        state.choose_classes([])

    return callback


def _picture() -> Picture:
    offered = {sample.id: sample for sample in samples()}
    upload = st.session_state.get("_upload")
    options = [*offered, OWN] if upload else list(offered)
    state.from_address("image", options)
    chosen = st.session_state.get("image")
    chosen = chosen if chosen in options else options[0]
    state.to_address("image", "" if chosen == OWN else chosen, options[0])
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        for sample in offered.values():
            picture = cache.thumbnail(sample.path)
            _thumbnail(sample.id, sample.title, sample.credit, picture, chosen == sample.id)
        if upload:
            picture = cache.thumbnail_of(upload.digest, upload.image)
            _thumbnail(OWN, "Your picture", plain(upload.name), picture, chosen == OWN)
        with st.popover("Your own", icon=":material/add_a_photo:"):
            _upload()
    return _show_choice(offered, chosen)


def _thumbnail(picture_id: str, title: str, help: str, jpeg: bytes, is_chosen: bool) -> None:
    with st.container(key=f"sample-{picture_id}" + ("-chosen" if is_chosen else "")):
        encoded = base64.b64encode(jpeg).decode()
        st.html(f'<img src="data:image/jpeg;base64,{encoded}" alt="">')
        st.button(title, key=f"pick-{picture_id}", on_click=_choose(picture_id), help=help)


def _upload() -> None:
    """Upload or camera; what cannot be read is refused with a sentence and changes nothing."""
    file = st.file_uploader(
        "Upload a picture",
        type=["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"],
        key="upload",
        max_upload_size=20,
    )
    use_camera = st.toggle("Use the camera", key="use_camera")
    shot = st.camera_input("Take a picture", key="camera") if use_camera else None
    for source in (shot, file):
        if source is None:
            continue
        data = source.getvalue()
        digest = Picture.digest_of(data)
        if digest == st.session_state.get("_seen_upload"):
            continue
        st.session_state["_seen_upload"] = digest
        try:
            image = core.read_image(data, source.name)
        except ParallaxError as error:
            st.session_state["_upload_error"] = str(error)
            return
        st.session_state["_upload"] = Picture(source.name, image, digest)
        st.session_state["_upload_error"] = None
        st.session_state["image"] = OWN
        state.choose_classes([])
        st.rerun()


def _show_choice(offered: dict[str, Sample], chosen: str) -> Picture:
    upload: Picture | None = st.session_state.get("_upload")
    if error := st.session_state.get("_upload_error"):
        st.warning(plain(error), icon=":material/broken_image:")
    if chosen == OWN and upload is not None:
        st.caption(f"Looking at your picture: {plain(upload.name)}")
        return upload
    st.caption(f"Looking at: {offered[chosen].title}")
    return cache.from_sample(offered[chosen])
