"""Widgets for sweeps: choice, progress, and sweeps of uploaded pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

import core
from core import ImageError, Model, ParallaxError, sweep
from dashboard import cache, presence, session, settings
from dashboard.scene import Scene
from dashboard.sweeping import MOST_BYTES, MOST_PICTURES, Run
from dashboard.text import plain
from pages.data_set.sources import Source

EVERY = 1.5
"""Seconds between two updates of a running sweep."""


@dataclass
class OwnSweeps:
    """Names of the sweeps made by a session, and the number of its emptied upload boxes."""

    names: list[str] = field(default_factory=list)
    boxes: int = 0


# -- which sweep ----------------------------------------------------------------------------------


def chooser(source: Source) -> None:
    """Choose the sweep to show."""
    made = cache.made_sweeps()
    runs = {name: made.get(name) for name in session.kept(OwnSweeps).names}
    own = {name: run.title for name, run in runs.items() if run is not None}
    titles = {**source.offered, **own, **source.others}
    st.selectbox(
        "Sweep",
        list(titles),
        format_func=titles.__getitem__,
        filter_mode="contains",
        help="Sweeps of the operator's folder, and of pictures that you upload. Larger sweeps are "
        "made with python -m core.sweep.",
        **session.tied("sweep", source.name, _choose),
    )


def _choose(name: str) -> None:
    """Change the sweep and reset choices, which are not valid for another sweep."""
    nothing = dict.fromkeys(("picked", "x", "y", "sweep_first", "sweep_second"))
    session.change(sweep=name, where=(), leaf=1, **nothing)


# -- progress -------------------------------------------------------------------------------------


def progress(source: Source) -> None:
    """Progress of a sweep, updated regularly, with buttons to stop or continue."""
    run = source.run
    if run is None:
        return
    if source.making:
        st.fragment(_watch, run_every=EVERY)(run)
    elif not run.finished:
        _paused(run)


def _watch(run: Run) -> None:
    if run.ended:
        st.rerun()
    reader = presence.reader()
    run.readers.join(reader)  # the connection may have been lost for a moment
    left, middle, right = st.columns([4, 3, 2], vertical_alignment="center")
    doing = "Stopping" if run.stopped else "Sweeping"
    left.progress(
        min(1.0, run.done / max(1, run.total)),
        f"{doing}: {run.done} of {run.total} pictures of “{plain(run.title)}”",
    )
    middle.checkbox(
        "Keep going when I leave",
        value=run.readers.keeps(reader),
        help="Otherwise the sweep ends when all users who show it have closed this application.",
        key="keep-sweep",
        on_change=lambda: run.readers.keep(reader, bool(session.held("keep-sweep"))),
    )
    right.button(
        "Stop",
        icon=":material/stop:",
        width="stretch",
        help="Keeps the finished rows. If other users show the sweep, it continues for them.",
        key="stop-sweep",
        disabled=run.stopped,
        on_click=lambda: run.readers.stop(reader),
    )


def _paused(run: Run) -> None:
    """A sweep that this session has stopped, or that ended early."""
    left, right = st.columns([6, 1], vertical_alignment="center")
    left.caption(f"Stopped after {run.done} of {run.total} pictures of “{plain(run.title)}”.")
    right.button(
        "Go on",
        icon=":material/play_arrow:",
        width="stretch",
        help="Continues where it stopped.",
        key="go-on-with-sweep",
        on_click=session.guarded(lambda: _go_on(run)),
    )


def _go_on(run: Run) -> None:
    cache.made_sweeps().go_on(run.name, _opened(run.plan.models), presence.reader())


def _opened(models: Sequence[str]) -> tuple[Model, ...]:
    return tuple(cache.model(model_id) for model_id in models)


# -- a sweep of uploaded pictures
# -------------------------------------------------------------------------


def maker(scene: Scene) -> None:
    """Choose pictures and sweep them with the models and the fit of the sidebar."""
    # Another key after each sweep: the box is closed and emptied, and its files are released.
    key = f"sweep-upload-{session.kept(OwnSweeps).boxes}"
    with st.popover(
        "Sweep pictures", icon=":material/add_photo_alternate:", width="stretch", key=f"{key}-box"
    ):
        st.caption(
            f"Up to {MOST_PICTURES} pictures, {core.size_text(MOST_BYTES)} together, with the "
            "models and the fit chosen in the sidebar. All maps are of one class: the first "
            "answer of the first model that has classes. The pictures stay on this server until "
            "newer sweeps replace them."
        )
        files = st.file_uploader(
            "Pictures",
            accept_multiple_files=True,
            type=["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"],
            max_upload_size=20,
            key=key,
        )
        if len(files) > MOST_PICTURES or sum(one.size for one in files) > MOST_BYTES:
            session.say(
                f"{len(files)} pictures with {core.size_text(sum(one.size for one in files))} were "
                f"uploaded; the limit for one sweep is {MOST_PICTURES} with "
                f"{core.size_text(MOST_BYTES)}; choose fewer, or make them smaller first."
            )
            _empty_box()
            session.again()
        count = f"{len(files)} picture{'s' if len(files) > 1 else ''}"
        st.button(
            f"Sweep {count}" if files else "Sweep them",
            type="primary",
            icon=":material/play_arrow:",
            disabled=not files,
            on_click=lambda: _begin(
                f"Uploaded: {count}", [(f.name, f.getvalue()) for f in files], scene
            ),
        )
        folder = settings.pictures()
        if folder is not None:
            st.button(
                f"Sweep {MOST_PICTURES} of the operator's folder",
                icon=":material/folder_open:",
                help="Drawn at random, always the same ones.",
                on_click=lambda: _begin("Drawn from the folder", _drawn(folder), scene),
            )


def _drawn(folder: Path) -> list[tuple[str, bytes]]:
    try:
        found = core.draw(folder, MOST_PICTURES, 0)
    except ImageError as error:
        session.say(str(error))
        return []
    files: list[tuple[str, bytes]] = []
    room = MOST_BYTES
    for one in found:
        try:
            if (room := room - one.path.stat().st_size) < 0:
                break
            files.append((f"{one.title}{one.path.suffix}", one.path.read_bytes()))
        except OSError:  # it was there a moment ago
            continue
    return files


def _empty_box() -> None:
    session.kept(OwnSweeps).boxes += 1


def _begin(title: str, files: list[tuple[str, bytes]], scene: Scene) -> None:
    chosen = scene.ids
    if own := [spec.title for spec in scene.models if cache.own_model(spec.id) is not None]:
        session.say(
            f"{own[0]} was opened from this page, and sweeps are made with models of the catalog; "
            "write it into models.toml (python -m core.models add) to sweep with it."
        )
        return
    models = _opened(chosen)

    def plan(pictures: str) -> sweep.Plan:
        return sweep.Plan(pictures, chosen, framing=scene.framing, target="shared")

    try:
        run = cache.made_sweeps().begin(title, files, plan, models, presence.reader())
    except ParallaxError as error:
        session.say(str(error))
        return
    _empty_box()
    session.kept(OwnSweeps).names.append(run.name)
    _choose(run.name)
