"""The only file with Streamlit caches: wraps core, keys every picture by its digest.

Models and recordings are shared by all sessions (`st.cache_resource`; both are safe to share).
Finished explanations are plain data (`st.cache_data`). Arguments that begin with an underscore
do not take part in the key.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    find_spec,
    fit_image,
    sweep,
)
from dashboard.figures import jpeg
from dashboard.scene import Picture, Scene, SceneKey, own_id
from dashboard.sweeping import Made
from dashboard.sweeps import Rows

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
    return Picture(chosen.id, chosen.title, image, digest, chosen.classes)


# -- pictures of one's own ----------------------------------------------------------------------

OWN_BYTES = 200 * 2**20
"""Bytes of files that are held for all sessions together; the longest unused goes first."""


class OwnPictures:
    """Files that were uploaded, by what the address calls them; shared by all sessions."""

    def __init__(self, budget: int = OWN_BYTES) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._files: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def put(self, name: str, data: bytes) -> str:
        """Keep a file; returns what the address calls it."""
        picture_id = own_id(Picture.digest_of(data))
        with self._lock:
            self._files[picture_id] = (name, data)
            self._files.move_to_end(picture_id)
            while sum(len(kept) for _, kept in self._files.values()) > self.budget:
                self._files.popitem(last=False)
        return picture_id

    def get(self, picture_id: str) -> tuple[str, bytes] | None:
        """Name and bytes of a file, if it is still held."""
        with self._lock:
            if picture_id in self._files:
                self._files.move_to_end(picture_id)
            return self._files.get(picture_id)


@st.cache_resource(show_spinner=False)
def own_pictures() -> OwnPictures:
    """The files of all sessions."""
    return OwnPictures()


@st.cache_data(max_entries=32, show_spinner=False)
def _decoded(digest: str, name: str, _data: bytes) -> Image.Image:
    return core.read_image(_data, name)


def own_picture(picture_id: str) -> Picture | None:
    """A picture of one's own, if its file is still held."""
    found = own_pictures().get(picture_id)
    return None if found is None else from_bytes(found[1], found[0])


def from_bytes(data: bytes, name: str) -> Picture:
    """A file as a picture; raises `ImageError` if it is none."""
    digest = Picture.digest_of(data)
    return Picture(own_id(digest), name, _decoded(digest, name, data), digest)


# -- passes and maps ----------------------------------------------------------------------------


@st.cache_data(max_entries=64, show_spinner=False)
def _view(key: SceneKey, _image: Image.Image) -> Any:
    return core.shared_view((_model(key.vit), _model(key.cnn)), _image, key.framing)


def view(scene: Scene, picture: Picture | None = None) -> Image.Image:
    """What both models of the pair see of a picture."""
    shown = picture or scene.picture
    found: Image.Image = _view(scene.key(shown), shown.image)
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _recording(
    instance: int, key: SceneKey, _model: Model, _view: Image.Image, _needs: core.Needs
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
    view_shown, opened = view(scene, shown), _model(model_id)
    wanted = needs or core.Needs()
    # The instance belongs to the key: a model that was dropped and opened anew is another one.
    return _recording(id(opened), scene.key(shown), opened, view_shown, wanted)


def attention(scene: Scene, picture: Picture | None = None) -> Attention:
    """Attention maps of the scene's transformer."""
    recorded = recording(scene.vit.id, scene, picture)
    return core.attention(recorded.model, recorded)


@st.cache_data(max_entries=64, show_spinner=False)
def _artifacts(key: SceneKey, _scene: Scene) -> Mask:
    return attention(_scene).artifacts()


def artifacts(scene: Scene) -> Mask:
    """Artifact patches of the scene's transformer, looked for in every layer's full attention."""
    found: Mask = _artifacts(scene.key(), scene)
    return found


@st.cache_data(max_entries=512, show_spinner=False)
def _explain(
    model_id: str,
    key: SceneKey,
    method: str,
    targets: tuple[int | None, ...],
    params: Params,
    _scene: Scene,
) -> list[Explanation]:
    recorded = recording(model_id, _scene)
    try:
        return [
            core.explain(recorded.model, recorded, method, target, **dict(params))
            for target in targets
        ]
    finally:
        recorded.release()


def explain(
    model_id: str,
    scene: Scene,
    method: str,
    targets: tuple[int | None, ...] = (None,),
    params: dict[str, Any] | None = None,
) -> list[Explanation]:
    """Explanations of the scene's picture, one per target class."""
    chosen: Params = tuple(sorted((params or {}).items()))
    return _explain(model_id, scene.key(), method, targets, chosen, scene)


@dataclass(frozen=True, eq=False)
class Frame:
    """One map of an animation: (rows, cols), and the share of the mass on prefix tokens."""

    relevance: npt.NDArray[np.float32]
    prefix_mass: float


@st.cache_data(max_entries=512, show_spinner=False)
def _frame(
    model_id: str, key: SceneKey, method: str, target: int | None, params: Params, _scene: Scene
) -> Frame:
    recorded = recording(model_id, _scene)
    found = core.explain(recorded.model, recorded, method, target, **dict(params))
    return Frame(found.relevance, found.prefix_mass or 0.0)


def frames(
    scene: Scene,
    method: str,
    target: int | None,
    each: Sequence[dict[str, Any]],
    report: Callable[[int], None],
) -> list[Frame]:
    """Maps of the scene's transformer for many settings of a method, read off one recording.

    Parameters
    ----------
    each
        Parameters of each frame.
    report
        Called with the number of frames done, after each.
    """
    found = []
    try:
        for params in each:
            chosen: Params = tuple(sorted(params.items()))
            found.append(_frame(scene.vit.id, scene.key(), method, target, chosen, scene))
            report(len(found))
    finally:
        recording(scene.vit.id, scene).release()
    return found


@dataclass(frozen=True, eq=False)
class Summary:
    """What several pictures are compared by: one map per layer, and the answer.

    Attributes
    ----------
    maps : (layers, rows, cols)
    answers
        The most probable classes with their probabilities; empty without classes.
    """

    maps: npt.NDArray[np.float32]
    answers: tuple[tuple[str, float], ...]


@st.cache_data(max_entries=64, show_spinner=False)
def _summary(key: SceneKey, fusion: str | None, _scene: Scene, _picture: Picture) -> Summary:
    found = attention(_scene, _picture)
    maps = found.joints(fusion) if fusion else found.mosaic().mean(axis=1)
    answer = found.prediction
    if answer is None:
        return Summary(maps, ())
    probabilities = (float(p) for p in answer.probabilities)
    return Summary(maps, tuple(zip(answer.labels, probabilities, strict=True)))


def summary(scene: Scene, picture: Picture, fusion: str | None = None) -> Summary:
    """Per layer the mean over the heads, or with a fusion the joint map of all layers up to it."""
    found: Summary = _summary(scene.key(picture), fusion, scene, picture)
    return found


# -- sweeps -------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def made_sweeps() -> Made:
    """The sweeps that the application makes itself."""
    return Made()


@st.cache_resource(max_entries=4, show_spinner=False)
def _rows(folder: Path, changed: int) -> Rows:
    return Rows(sweep.open_sweep(folder))


def rows(folder: Path) -> Rows:
    """The rows of a sweep, brought up to the parts that are there.

    Raises
    ------
    SweepError
        There is none, or it has no rows yet.
    """
    collected = sweep.open_sweep(folder).collect()
    return _rows(folder, collected.stat().st_mtime_ns)


@st.cache_data(max_entries=256, show_spinner=False)
def _answered(
    question: str, folder: Path, changed: int, given: tuple[Any, ...], _rows: Rows
) -> Any:
    return getattr(_rows, question)(*given)


def answered(rows: Rows, question: str, *given: Any) -> Any:
    """What a method of `Rows` answers; an answer is kept as long as the rows stay as they are."""
    return _answered(question, rows.sweep.folder, rows.changed, given, rows)


@st.cache_data(max_entries=64, show_spinner=False)
def _pictured(folder: Path, changed: int, indices: tuple[int, ...], _rows: Rows) -> Any:
    columns = ["thumbnail"]
    for key in _rows.shown_maps:
        columns += [f"map__{key}", f"shape__{key}"]
    return _rows.sweep.read(indices, columns)


def pictured(rows: Rows, indices: tuple[int, ...]) -> list[dict[str, Any]]:
    """Thumbnails and the shown maps of some pictures of a sweep."""
    found: list[dict[str, Any]] = _pictured(rows.sweep.folder, rows.changed, indices, rows)
    return found


@st.cache_data(max_entries=8, show_spinner=False)
def original(folder: Path, index: int, digest: str) -> bytes:
    """The file of a picture of a sweep, as long as it still is what was swept.

    Raises
    ------
    SweepError
        It is gone, or another one.
    """
    data = sweep.open_sweep(folder).original(index)
    if core.digest(core.read_image(data)) != digest:
        raise core.SweepError(f"Picture {index} of this sweep has been changed since it was swept.")
    return data
