"""The only file with Streamlit caches: wraps core, keys every picture by its digest.

Models and recordings are shared by all sessions (`st.cache_resource`; both are safe to share).
Finished explanations are plain data (`st.cache_data`). Arguments that begin with an underscore
do not take part in the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

import core
from core import (
    Attention,
    Explanation,
    Framing,
    Model,
    Recording,
    Sample,
    WeightsError,
    admitted,
    find_spec,
    fit_image,
)
from dashboard.figures import jpeg
from dashboard.state import Picture, Scene

Mask = npt.NDArray[np.bool_]
Params = tuple[tuple[str, Any], ...]


@st.cache_resource(show_spinner=False)
def _embedded(model_id: str) -> Model:
    return core.open_model(model_id)


@st.cache_resource(max_entries=3, show_spinner=False)
def _other(model_id: str) -> Model:
    return core.open_model(model_id)


@st.cache_resource(ttl=180, show_spinner=False)
def _refusals() -> dict[str, str]:
    """Models that could not be had lately, so that not every rerun waits for the network."""
    return {}


def _model(model_id: str) -> Model:
    embedded = find_spec(model_id).source == "embedded"
    return _embedded(model_id) if embedded else _other(model_id)


def model(model_id: str) -> Model:
    """One shared, frozen copy of a model; a spinner while it is loaded for the first time.

    The embedded pair is never dropped. A model that could not be had is tried again after three
    minutes.
    """
    refusals = _refusals()
    if model_id in refusals:
        raise WeightsError(refusals[model_id])
    try:
        with st.spinner(f"Opening {model_id} …", show_time=True):
            return _model(model_id)
    except WeightsError as error:
        refusals[model_id] = str(error)
        raise


@st.cache_data(ttl=60, show_spinner=False)
def ready() -> dict[str, bool]:
    """By model id, whether the weights are on this machine already."""
    return {spec.id: spec.available for spec in core.catalog()}


@st.cache_data(max_entries=32, show_spinner=False)
def sample(path: Path) -> tuple[Image.Image, str]:
    """A sample picture and its digest."""
    data = path.read_bytes()
    return core.read_image(data, path.name), Picture.digest_of(data)


@st.cache_data(max_entries=64, show_spinner=False)
def thumbnail(path: Path, side: int = 128) -> bytes:
    """A square JPEG thumbnail of a sample."""
    return jpeg(fit_image(core.read_image(path), "crop", (side, side)))


@st.cache_data(max_entries=64, show_spinner=False)
def thumbnail_of(digest: str, _image: Image.Image, side: int = 128) -> bytes:
    """A square JPEG thumbnail of an uploaded picture."""
    return jpeg(fit_image(_image, "crop", (side, side)))


def from_sample(chosen: Sample) -> Picture:
    """A sample as a picture of the session."""
    image, digest = sample(chosen.path)
    return Picture(chosen.title, image, digest, chosen.classes)


@st.cache_data(max_entries=32, show_spinner=False)
def _decoded(digest: str, name: str, _data: bytes) -> Image.Image:
    return core.read_image(_data, name)


def from_bytes(data: bytes, name: str) -> Picture:
    """An uploaded file as a picture of the session; raises `ImageError` if it is none."""
    digest = Picture.digest_of(data)
    return Picture(name, _decoded(digest, name, data), digest)


@st.cache_data(max_entries=64, show_spinner=False)
def _view(vit_id: str, cnn_id: str, digest: str, framing: Framing, _image: Image.Image) -> Any:
    return core.shared_view((_model(vit_id), _model(cnn_id)), _image, framing)


def view(scene: Scene, picture: Picture | None = None) -> Image.Image:
    """What both models of the pair see of a picture."""
    shown = picture or scene.picture
    found: Image.Image = _view(scene.vit.id, scene.cnn.id, shown.digest, scene.framing, shown.image)
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _recording(
    instance: int,
    pair: tuple[str, str],
    digest: str,
    framing: Framing,
    _model: Model,
    _view: Image.Image,
    _needs: core.Needs,
) -> Recording:
    return core.record(_model, _view, Framing("given"), core.usual_needs(_model) | _needs)


def recording(
    model_id: str,
    scene: Scene,
    picture: Picture | None = None,
    needs: core.Needs | None = None,
) -> Recording:
    """One forward pass of a model over a picture; serves every slider afterwards.

    Parameters
    ----------
    needs
        What is going to be asked beyond the usual, so that the first pass serves it as well.
    """
    shown = picture or scene.picture
    pair = (scene.vit.id, scene.cnn.id)
    seen, opened = view(scene, shown), _model(model_id)
    # The instance belongs to the key: a model that was dropped and opened anew is another one.
    wanted = needs or core.Needs()
    return _recording(id(opened), pair, shown.digest, scene.framing, opened, seen, wanted)


def attention(scene: Scene, picture: Picture | None = None) -> Attention:
    """Attention maps of the scene's transformer."""
    seen = recording(scene.vit.id, scene, picture)
    return core.attention(seen.model, seen)


@st.cache_data(max_entries=64, show_spinner=False)
def _artifacts(
    model_id: str, pair: tuple[str, str], digest: str, framing: Framing, _scene: Scene
) -> Mask:
    seen = attention(_scene)
    with admitted():
        return seen.artifacts()


def artifacts(scene: Scene) -> Mask:
    """Artifact patches of the scene's transformer, looked for in every layer's full attention."""
    pair = (scene.vit.id, scene.cnn.id)
    return _artifacts(scene.vit.id, pair, scene.picture.digest, scene.framing, scene)


@st.cache_data(max_entries=512, show_spinner=False)
def _explain(
    model_id: str,
    pair: tuple[str, str],
    digest: str,
    framing: Framing,
    method: str,
    targets: tuple[int | None, ...],
    params: Params,
    _scene: Scene,
) -> list[Explanation]:
    seen = recording(model_id, _scene)
    try:
        return [
            core.explain(seen.model, seen, method, target, **dict(params)) for target in targets
        ]
    finally:
        seen.release()


def explain(
    model_id: str,
    scene: Scene,
    method: str,
    targets: tuple[int | None, ...] = (None,),
    params: dict[str, Any] | None = None,
) -> list[Explanation]:
    """Explanations of the scene's picture, one per target class."""
    pair = (scene.vit.id, scene.cnn.id)
    key: Params = tuple(sorted((params or {}).items()))
    return _explain(
        model_id, pair, scene.picture.digest, scene.framing, method, targets, key, scene
    )
