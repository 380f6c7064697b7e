"""The only file with Streamlit caches: wraps core, keys every picture by its digest.

All that is large is shared by all sessions and held by one `Memo`, within what the operator allows:
recordings, maps, measurements, pictures, views, and models beside the embedded pair. Streamlit's
own caches hold what is small; arguments that begin with an underscore are no part of their key.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

import core
from core import (
    Attention,
    Explanation,
    Framing,
    ImageError,
    Model,
    ModelSpec,
    ParallaxError,
    Recording,
    Sample,
    WeightsError,
    find_spec,
    fit_image,
    sweep,
)
from dashboard import gather, settings
from dashboard.figures import jpeg
from dashboard.memo import Memo
from dashboard.scene import OWN, Picture, Scene, own_id
from dashboard.screen import Screen
from dashboard.sweeping import Made
from dashboard.sweeps import Rows

if TYPE_CHECKING:
    from dashboard.store import Store

Mask = npt.NDArray[np.bool_]
Params = tuple[tuple[str, Any], ...]

FILES = 0.25
"""Share of the budget for uploaded files, which cannot be made again."""


def _budget() -> int:
    return settings.current().budget * 2**20


@st.cache_resource(show_spinner=False)
def results() -> Memo:
    """What all sessions share and can be made again."""
    return Memo(int((1 - FILES) * _budget()))


@st.cache_resource(show_spinner=False)
def _embedded() -> Memo:
    """The embedded pair, which is no part of the budget and always held."""
    return Memo(2**62)


@st.cache_resource(ttl=180, show_spinner=False)
def _refusals() -> dict[str, str]:
    """Models that could not be had lately, so that not every rerun waits for the network."""
    return {}


def refusal(model_id: str) -> str:
    """Why a model could not be had lately; empty if nothing is known against it."""
    return _refusals().get(model_id, "")


def refuse(model_id: str, reason: str) -> None:
    """Remember for three minutes that a model cannot be had."""
    _refusals()[model_id] = reason


def _model(model_id: str) -> Model:
    return _memo_of(find_spec(model_id)).get(("model", model_id), lambda: core.open_model(model_id))


def _memo_of(spec: ModelSpec) -> Memo:
    return _embedded() if spec.source == "embedded" else results()


def model(model_id: str) -> Model:
    """One shared, frozen copy of a model; a spinner while it is loaded for the first time.

    The embedded pair is never dropped. A model that could not be had is tried again after three
    minutes.
    """
    if reason := refusal(model_id):
        raise WeightsError(reason)
    try:
        with st.spinner(f"Opening {model_id} …", show_time=True):
            return _model(model_id)
    except WeightsError as error:
        refuse(model_id, str(error))
        raise


def warm() -> None:
    """Open the embedded pair, both side by side, and make what the first screen shows."""
    first = Screen()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_model, (first.cnn, first.vit)))
    start = next(sample for sample in core.samples() if sample.id == first.image)
    opened = Scene(
        from_sample(start), find_spec(first.cnn), find_spec(first.vit), Framing(first.fit, None)
    )
    view(opened)
    artifacts(opened)


# -- models on their way ------------------------------------------------------------------------

_GONE = 5.0
"""Seconds after which a session that does not ask any more has lost its interest."""


class Wishes:
    """Who waits for which download, so that one who leaves does not take it from the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._downloads: dict[str, core.Download] = {}
        self._asked: dict[str, dict[str, float]] = {}

    def begin(self, model_id: str) -> None:
        """Begin or join a download."""
        with self._lock:
            self._downloads[model_id] = core.download(model_id)

    def ask(self, model_id: str, session: str) -> core.Download:
        """The download that was begun last; keeps the session's wish alive."""
        with self._lock:
            self._asked.setdefault(model_id, {})[session] = time.monotonic()
            return self._downloads[model_id]

    def leave(self, model_id: str, session: str) -> None:
        """Wait no longer; ends the download if nobody else waits."""
        with self._lock:
            asked = self._asked.pop(model_id, {})
            since = time.monotonic() - _GONE
            others = {who: at for who, at in asked.items() if who != session and at > since}
            if others:
                self._asked[model_id] = others
            else:
                self._downloads[model_id].cancel()


@st.cache_resource(show_spinner=False)
def wishes() -> Wishes:
    """The wishes of all sessions."""
    return Wishes()


@st.cache_data(ttl=60, show_spinner=False)
def ready() -> dict[str, bool]:
    """By model id, whether the weights are on this machine already."""
    return {spec.id: spec.available for spec in core.catalog()}


def sample(path: Path) -> Image.Image:
    """A sample picture."""
    return results().get(("sample", path), lambda: core.read_image(path))


@st.cache_data(max_entries=32, show_spinner=False)
def _sample_digest(path: Path) -> str:
    return Picture.digest_of(path.read_bytes())


@st.cache_data(max_entries=64, show_spinner=False)
def thumbnail(path: Path, side: int = 128) -> bytes:
    """A square JPEG thumbnail of a sample."""
    return jpeg(fit_image(core.read_image(path), "crop", (side, side)))


def thumbnail_of(picture: Picture, side: int = 128) -> bytes:
    """A square JPEG thumbnail of an uploaded picture."""
    return results().get(
        ("thumbnail", picture.digest, side),
        lambda: jpeg(fit_image(picture.image, "crop", (side, side))),
    )


def from_sample(chosen: Sample) -> Picture:
    """A sample as a picture of the session."""
    digest = _sample_digest(chosen.path)
    return Picture(chosen.id, chosen.title, lambda: sample(chosen.path), digest, chosen.classes)


# -- pictures of one's own ----------------------------------------------------------------------


class OwnPictures:
    """Files that were uploaded, by what the address calls them; shared by all sessions.

    ``budget`` bytes are held for all together; the longest unused goes first.
    """

    def __init__(self, budget: int) -> None:
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
    return OwnPictures(int(FILES * _budget()))


_NAME = "\0"
"""Stands for the name in a sentence that is kept for every name."""


def _decoded(digest: str, trusted: bool, data: Callable[[], bytes]) -> Image.Image:
    """A picture, which is held as long as there is room."""
    read = core.read_image if trusted else core.read_strange_image
    return results().get(("decoded", digest, trusted), lambda: read(data(), _NAME))


def _refused(digest: str, trusted: bool, data: bytes) -> str:
    """The sentence that refuses a file, empty for a picture; found out once."""

    def make() -> str:
        try:
            _decoded(digest, trusted, lambda: data)
        except ImageError as error:
            return str(error)
        return ""

    return results().get(("refused", digest, trusted), make)


def _file(picture_id: str, name: str) -> bytes:
    """The bytes of a picture of one's own."""
    found = own_pictures().get(picture_id) or _saved_file(picture_id)
    if found is None:
        raise ImageError(f"The picture {name} is not held here any more; upload it again.")
    return found[1]


def own_picture(picture_id: str) -> Picture | None:
    """A picture of one's own, if its file is still held or was saved."""
    found = own_pictures().get(picture_id) or _saved_file(picture_id)
    return None if found is None else from_bytes(found[1], found[0])


def _saved_file(picture_id: str) -> tuple[str, bytes] | None:
    try:
        file = store().picture(picture_id.removeprefix(OWN))
    except ParallaxError:  # without saved screens a picture is only not held any more
        return None
    if file is None:
        return None
    own_pictures().put(file.name, file.data)
    return file.name, file.data


def from_bytes(data: bytes, name: str, trusted: bool = False) -> Picture:
    """A file as a picture; raises `ImageError` if it is none.

    Parameters
    ----------
    trusted
        It comes from the operator, and needs no process of its own to be read.
    """
    digest = Picture.digest_of(data)
    if sentence := _refused(digest, trusted, data):
        raise ImageError(sentence.replace(_NAME, name, 1))
    picture_id = own_id(digest)
    return Picture(
        picture_id,
        name,
        lambda: _decoded(digest, trusted, lambda: _file(picture_id, name)),
        digest,
    )


@st.cache_resource(show_spinner=False)
def _store(address: str) -> Store:
    from dashboard.store import Store

    return Store(address)


def store() -> Store:
    """Saved screens; opened when they are first asked for.

    Raises
    ------
    StoreError
    """
    return _store(settings.store_url())


# -- passes and maps ----------------------------------------------------------------------------


def view(scene: Scene, picture: Picture | None = None) -> Image.Image:
    """What both models of the pair see of a picture; shared by all, so not to be changed."""
    shown = picture or scene.picture
    models = (_model(scene.vit.id), _model(scene.cnn.id))
    return results().get(
        ("view", scene.key(shown)),
        lambda: core.shared_view(models, shown.image, scene.framing),
    )


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
    wanted = core.usual_needs(opened) | (needs or core.Needs())
    found = results().get(
        _recording_key(opened, scene, shown),
        lambda: core.record(opened, view_shown, Framing("given"), wanted),
    )
    if picture is None and found.logits is not None:
        gather.answer(model_id, found.predictions()[0])
    return found


def _recording_key(opened: Model, scene: Scene, picture: Picture | None = None) -> Any:
    """The instance belongs to it, which a recording holds: opened anew it is another one."""
    return ("recording", id(opened), scene.key(picture))


def settle(scene: Scene | None) -> None:
    """At the end of a run: let go of graphs, and of what is beyond the budget."""
    if scene is not None:
        for spec in (scene.cnn, scene.vit):
            opened = _memo_of(spec).peek(("model", spec.id))
            if found := results().peek(_recording_key(opened, scene)):
                found.release_if_idle()
    results().settle()


def features(model_id: str, scene: Scene, tap: str) -> npt.NDArray[np.float32]:
    """All channels of a tap over the scene's picture: (channels, rows, cols)."""
    recorded = recording(model_id, scene, needs=core.Needs([tap]))
    return core.features(recorded.model, recorded, tap)


def attention(scene: Scene, picture: Picture | None = None) -> Attention:
    """Attention maps of the scene's transformer."""
    recorded = recording(scene.vit.id, scene, picture)
    return core.attention(recorded.model, recorded)


def artifacts(scene: Scene) -> Mask:
    """Artifact patches of the scene's transformer, looked for in every layer's full attention."""
    key = key_of(scene.vit.id, scene, "artifacts")
    return results().get(key, lambda: attention(scene).artifacts())


_NO_VIEW = Image.new("RGB", (1, 1))
"""Stands in for the view in a cached explanation: one copy of it is kept, in `view`'s cache."""


def key_of(
    model_id: str, scene: Scene, *what: Any, picture: Picture | None = None
) -> tuple[Any, ...]:
    """Key of a result that holds no model, so it may outlive the one that made it.

    Hence the weights belong to it and not the instance, whose `id` may be given to another.
    """
    return (model_id, _model(model_id).weights_digest, scene.key(picture), *what)


def _explain(
    model_id: str, scene: Scene, method: str, target: int | None, params: Params
) -> Explanation:
    def make() -> Explanation:
        recorded = recording(model_id, scene)
        try:
            with watched(core.find_method(method).title):
                found: Explanation = core.explain(
                    recorded.model, recorded, method, target, **dict(params)
                )
        finally:
            recorded.release()
        return replace(found, view=_NO_VIEW)

    return results().get(key_of(model_id, scene, method, target, params), make)


@contextmanager
def told_to_wait() -> Iterator[None]:
    """Say in a ``with`` block what is waited for; this is also where a run that waits can end."""
    place = st.empty()
    shown = False

    def on_wait(before: int | None) -> None:
        nonlocal shown
        shown = True
        if before is None:
            text = "Somebody else's request makes just this; it will be here in a moment."
        elif before:
            text = f"{before} {'request is' if before == 1 else 'requests are'} before yours."
        else:
            text = "Your request is the next."
        place.info(text, icon=":material/hourglass_top:")

    try:
        with core.watching(None, on_wait):
            yield
    finally:
        if shown:
            place.empty()


@contextmanager
def watched(what: str) -> Iterator[None]:
    """A bar for what takes many steps inside a ``with`` block; the bar is where a run can end.

    A reader who chooses something else, or leaves, ends the run at its next step.
    """
    place = st.empty()

    def on_step(done: int, total: int) -> None:
        if total > 1:
            place.progress(done / total, f"{what}: {done} of {total} steps")

    try:
        with core.watching(on_step):
            yield
    finally:
        place.empty()


def explain(
    model_id: str,
    scene: Scene,
    method: str,
    targets: tuple[int | None, ...] = (None,),
    params: dict[str, Any] | None = None,
) -> list[Explanation]:
    """Explanations of the scene's picture, one per target class."""
    chosen: Params = tuple(sorted((params or {}).items()))
    shown = view(scene)
    found = [
        replace(_explain(model_id, scene, method, target, chosen), view=shown) for target in targets
    ]
    for explanation in found:
        gather.explanation(explanation, params or {})
    return found


@dataclass(frozen=True, eq=False)
class Frame:
    """One map of an animation: (rows, cols), and the share of the mass on prefix tokens."""

    relevance: npt.NDArray[np.float32]
    prefix_mass: float


def _frame(scene: Scene, method: str, target: int | None, params: Params) -> Frame:
    def make() -> Frame:
        recorded = recording(scene.vit.id, scene)
        found = core.explain(recorded.model, recorded, method, target, **dict(params))
        return Frame(found.relevance, found.prefix_mass or 0.0)

    return results().get(key_of(scene.vit.id, scene, "frame", method, target, params), make)


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
            found.append(_frame(scene, method, target, chosen))
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


def _summary(scene: Scene, picture: Picture, fusion: str | None) -> Summary:
    found = attention(scene, picture)
    maps = found.joints(fusion) if fusion else found.mosaic().mean(axis=1)
    answer = found.prediction
    if answer is None:
        return Summary(maps, ())
    probabilities = (float(p) for p in answer.probabilities)
    return Summary(maps, tuple(zip(answer.labels, probabilities, strict=True)))


def summary(scene: Scene, picture: Picture, fusion: str | None = None) -> Summary:
    """Per layer the mean over the heads, or with a fusion the joint map of all layers up to it."""
    key = key_of(scene.vit.id, scene, "summary", fusion, picture=picture)
    return results().get(key, lambda: _summary(scene, picture, fusion))


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


def pictured(rows: Rows, indices: tuple[int, ...]) -> list[dict[str, Any]]:
    """Thumbnails and the shown maps of some pictures of a sweep."""
    columns = ["thumbnail"]
    for key in rows.shown_maps:
        columns += [f"map__{key}", f"shape__{key}"]
    asked = ("pictured", rows.sweep.folder, rows.changed, indices)
    return results().get(asked, lambda: rows.sweep.read(indices, columns))


def original(folder: Path, index: int, digest: str) -> bytes:
    """The file of a picture of a sweep, as long as it still is what was swept.

    Raises
    ------
    SweepError
        It is gone, or another one.
    """
    asked = ("original", folder, index, digest)
    return results().get(asked, lambda: _original(folder, index, digest))


def _original(folder: Path, index: int, digest: str) -> bytes:
    data = sweep.open_sweep(folder).original(index)
    if core.digest(core.read_image(data)) != digest:
        raise core.SweepError(f"Picture {index} of this sweep has been changed since it was swept.")
    return data
