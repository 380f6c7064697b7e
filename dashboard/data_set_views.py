"""Pieces of the data-set page: which sweep, filters, figures, scatter, classes, downloads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

import core
from core import ImageError, Model, ParallaxError, SweepError, sweep
from dashboard import cache, controls, panels, presence, screen, settings
from dashboard.panels import number
from dashboard.scatter import scatter as drawn
from dashboard.scene import Scene
from dashboard.sweeping import MOST_BYTES, MOST_PICTURES, SAMPLES, Run
from dashboard.sweeps import COLORS, MOST_CSV, Rows, Unfit, accounts_for, map_title, title
from dashboard.text import plain

Filters = tuple[str, ...]

EVERY = 1.5
"""Seconds between two looks at a sweep that is being made."""

_OFFERED = (
    "same_answer=no",
    "same_answer=yes",
    "artifacts>0",
    "vit_right=yes",
    "vit_right=no",
    "cnn_right=yes",
    "cnn_right=no",
)
_EMBEDDED = core.embedded_pair()
DEMONSTRATION = "demonstration"
"""What the address calls the sweep that comes with the application."""


# -- which sweep --------------------------------------------------------------------------------


def chosen() -> tuple[Path | None, Run | None]:
    """The sweep to look at: its folder, and its run if the application makes it."""
    folder = settings.sweeps()
    found, broken = sweep.list_sweeps(folder) if folder else ([], {})
    offered = {one.folder.name: one for one in [*found, *sweep.find_sweeps(sweep.SWEEPS)]}
    made = cache.made_sweeps()
    titles = {name: f"{name} · {one.total:,} pictures" for name, one in offered.items()}
    if DEMONSTRATION in titles:
        total = offered[DEMONSTRATION].total
        titles[DEMONSTRATION] = f"Demonstration: {total:,} photographs that come with Parallax"
    for name in _own():
        if (own := made.get(name)) is not None:
            titles[name] = own.title
    titles[SAMPLES] = "Samples, and pairs of them side by side"
    titles |= {name: f"{name} · cannot be opened" for name in broken if name not in titles}
    wanted = screen.current().sweep
    if wanted is not None and wanted not in titles:
        screen.problem(
            f"There is no sweep {wanted!r} here (any more); shown instead: {next(iter(titles))}."
        )
    value = wanted if wanted in titles else next(iter(titles))
    st.selectbox(
        "Sweep",
        list(titles),
        format_func=titles.__getitem__,
        filter_mode="contains",
        help="Sweeps of the folder that the operator names, and of what you bring. A large one is "
        "made with python -m core.sweep.",
        **screen.tied("sweep", value, _choose),
    )
    if value in offered:
        return offered[value].folder, None
    if value == SAMPLES:
        run = made.samples(_pair(_EMBEDDED[0], _EMBEDDED[1]), presence.reader())
    elif (kept := made.get(value, presence.reader())) is not None:
        run = kept
    else:
        st.warning(plain(broken.get(value, "It is not held any more.")), icon=":material/warning:")
        return None, None
    return run.folder, run


def _pair(cnn: str, vit: str) -> tuple[Model, Model]:
    return cache.model(cnn), cache.model(vit)


def _choose(name: str) -> None:
    """Another sweep: what was chosen of the one before means nothing in it."""
    screen.change(sweep=name, where=(), leaf=1, picked=None, x=None, y=None)


def _own() -> list[str]:
    """Sweeps that this session made, and the one of the address if it is somebody's own."""
    names: list[str] = list(screen.kept("sweeps") or ())
    wanted = screen.current().sweep
    return [*names, wanted] if wanted and wanted.startswith("own-") else names


def progress(run: Run) -> None:
    """How far a sweep is, looked at again and again, with buttons that stop it or go on."""
    if not run.ended and run.readers.looks(presence.reader()):
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
        help="Otherwise it ends when all who look at it have closed this application.",
        key="keep-sweep",
        on_change=lambda: run.readers.keep(reader, bool(screen.held("keep-sweep"))),
    )
    right.button(
        "Stop",
        icon=":material/stop:",
        width="stretch",
        help="Keeps the rows that have been made. If others look at it, it goes on for them.",
        key="stop-sweep",
        disabled=run.stopped,
        on_click=lambda: run.readers.stop(reader),
    )


def _paused(run: Run) -> None:
    """A sweep that this reader has stopped, or that ended before its time."""
    left, right = st.columns([6, 1], vertical_alignment="center")
    left.caption(f"Stopped after {run.done} of {run.total} pictures of “{plain(run.title)}”.")
    right.button(
        "Go on",
        icon=":material/play_arrow:",
        width="stretch",
        help="From where it stopped.",
        key="go-on-with-sweep",
        on_click=screen.guarded(lambda: _go_on(run)),
    )


def _go_on(run: Run) -> None:
    models = _pair(run.plan.cnn, run.plan.vit)
    cache.made_sweeps().go_on(run.name, models, presence.reader())


def rows_of(folder: Path, run: Run | None) -> Rows | None:
    """The rows of a sweep, or a sentence that says why there are none."""
    if run is not None and run.problem:
        st.warning(plain(run.problem), icon=":material/warning:")
    if run is not None and not run.ended and run.readers.looks(presence.reader()):
        st.caption("Figures and pictures appear once the sweep is done.")
        return None
    try:
        rows = cache.rows(folder)
    except SweepError as error:
        if run is None:
            st.info(plain(str(error)), icon=":material/hourglass_empty:")
        return None
    _tell_other_weights(rows.sweep)
    if not rows.sweep.finished:
        st.caption(f"Not finished: {rows.sweep.done:,} of {rows.sweep.total:,} pictures so far.")
    return rows


def _tell_other_weights(found: sweep.Sweep) -> None:
    """Say which of the models that come with the application had other weights then."""
    titles = [
        core.find_spec(part["id"]).title
        for part in found.manifest["models"].values()
        if part["id"] in _EMBEDDED
        and cache.model(part["id"]).weights_digest != part["weights_sha256"]
    ]
    if titles:
        st.info(
            f"Made with other weights of {plain(' and '.join(titles))} than those here: answers "
            "and maps are not those that the other pages show.",
            icon=":material/history:",
        )


# -- a sweep of one's own -----------------------------------------------------------------------


def maker(scene: Scene) -> None:
    """Choose pictures and sweep them with the pair and the fit of the side bar."""
    # Another key after each sweep: the box is closed and empty again, and the files are let go.
    key = f"sweep-upload-{screen.kept('sweep-boxes') or 0}"
    with st.popover(
        "Sweep pictures", icon=":material/add_photo_alternate:", width="stretch", key=f"{key}-box"
    ):
        st.caption(
            f"Up to {MOST_PICTURES} pictures, {core.size_text(MOST_BYTES)} together, with the pair "
            "and the fit chosen at the side. Both models' maps are of one class: the CNN's first "
            "answer. The pictures stay on this server until newer sweeps take their place."
        )
        files = st.file_uploader(
            "Pictures",
            accept_multiple_files=True,
            type=["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"],
            max_upload_size=20,
            key=key,
        )
        if len(files) > MOST_PICTURES or sum(one.size for one in files) > MOST_BYTES:
            screen.say(
                f"{len(files)} pictures with {core.size_text(sum(one.size for one in files))} were "
                f"brought, at most {MOST_PICTURES} with {core.size_text(MOST_BYTES)} are swept at "
                "a time; choose fewer, or make them smaller first."
            )
            _empty_box()
            screen.again()
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
                help="Drawn at random, the same ones every time.",
                on_click=lambda: _begin("Drawn from the folder", _drawn(folder), scene),
            )


def _drawn(folder: Path) -> list[tuple[str, bytes]]:
    try:
        found = core.draw(folder, MOST_PICTURES, 0)
    except ImageError as error:
        screen.say(str(error))
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
    screen.keep("sweep-boxes", (screen.kept("sweep-boxes") or 0) + 1)


def _begin(title: str, files: list[tuple[str, bytes]], scene: Scene) -> None:
    models = _pair(scene.cnn.id, scene.vit.id)
    maps = (f"cnn:{_map(models[0], 'cam')}", f"vit:{_map(models[1], 'gradient_rollout')}")

    def plan(pictures: str) -> sweep.Plan:
        return sweep.Plan(
            pictures, scene.cnn.id, scene.vit.id, maps, scene.framing, target="shared"
        )

    try:
        run = cache.made_sweeps().begin(title, files, plan, models, presence.reader())
    except ParallaxError as error:
        screen.say(str(error))
        return
    _empty_box()
    screen.keep("sweeps", [*(screen.kept("sweeps") or ()), run.name])
    _choose(run.name)


def _map(model: Model, first: str) -> str:
    """A method that the model serves, this one if it can."""
    served = [method.name for method in core.methods(model)]
    return first if first in served else served[0]


# -- filters and figures ------------------------------------------------------------------------


def filters(rows: Rows) -> Filters:
    """What the reader wants to see only; filters that mean nothing are said and left out."""
    kept = []
    for text in screen.current().where:
        try:
            rows.condition([text])
            kept.append(text)
        except Unfit as error:
            screen.problem(f"{error} It is left out.")
    offered = [f for f in _OFFERED if rows.labeled or "_right" not in f]
    st.multiselect(
        "Filters",
        list(dict.fromkeys([*kept, *offered])),
        accept_new_options=True,
        format_func=_readable,
        placeholder="All pictures. Choose, or type a column and a value: divergence>0.5",
        help="All of them hold together. Columns: " + ", ".join(f"`{c}`" for c in rows.columns),
        **screen.tied("where", kept, lambda held: _filter(tuple(held))),
    )
    return tuple(kept)


def _filter(wanted: Filters) -> None:
    screen.change(where=tuple(dict.fromkeys(wanted))[:16], leaf=1, picked=None)


def _readable(text: str) -> str:
    """A filter, for people; as it is if it is none."""
    column, *rest = re.split(r"(<=|>=|!=|=|<|>)", text, maxsplit=1)
    return f"{title(column.strip())} {rest[0]} {rest[1].strip() or 'none'}" if rest else text


def _replaced(where: Filters, column: str, *conditions: str) -> Filters:
    """Filters with those of one column replaced."""
    own = re.compile(rf"^{re.escape(column)}\s*(<=|>=|!=|=|<|>)")
    return (*(text for text in where if not own.match(text)), *conditions)


def figures_row(entries: list[tuple[str, str, str]]) -> None:
    """Figures with label, value and help, side by side."""
    with st.container(horizontal=True, gap="small", key="data-set-figures"):
        for label, value, help in entries:
            st.metric(label, value, help=help or None, width="content")


def share(value: float | None) -> str:
    """A share in whole percent, or a dash."""
    return "–" if value is None else f"{value:.0%}"


def show_figures(rows: Rows, chosen: Filters) -> None:
    """Pictures, agreement, accuracy of each if labeled, medians of the maps' agreement."""
    found = cache.answered(rows, "figures", chosen)
    part = f" of {found.all:,}" if found.pictures != found.all else ""
    entries = [
        ("Pictures", f"{found.pictures:,}{part}", ""),
        ("Same first answer", share(found.same), "Both first answers have one name."),
    ]
    if rows.labeled:
        known = f"Of the {found.labeled:,} pictures whose label is a class that the model knows."
        entries += [
            ("CNN right", share(found.cnn_right), known),
            ("ViT right", share(found.vit_right), known),
        ]
    if rows.compared[0]:
        of = " and ".join(map_title(key) for key in rows.shown_maps)
        correlation, overlap = (
            number(float("nan") if value is None else value)
            for value in (found.correlation, found.overlap)
        )
        entries += [
            ("Rank correlation, median", correlation, f"Of {of}."),
            ("Overlap of top 20 %, median", overlap, f"Of {of}; 0.11 is what chance gives."),
        ]
    if found.failed:
        entries.append(("Not readable", f"{found.failed:,}", "Pictures without a row of figures."))
    figures_row(entries)


# -- scatter and classes ------------------------------------------------------------------------


def scatter(rows: Rows, chosen: Filters) -> None:
    """Two columns against each other; a box filters, a click picks."""
    numbers = rows.numbers
    first, second = numbers[0], numbers[1 if len(numbers) > 1 else 0]
    left, middle, right = st.columns([5, 5, 3])
    with left:
        x = controls.select("x", "Across", numbers, first, title)
    with middle:
        y = controls.select("y", "Up", numbers, second, title)
    colors = [c for c in COLORS if rows.labeled or c != "outcome"]
    with right:
        color = controls.select("color", "Color", colors, colors[0], str.capitalize)
    points = cache.answered(rows, "scatter", x, y, color, chosen)
    key = f"scatter-{abs(hash((rows.changed, x, y, color, chosen)))}"

    def select() -> None:
        held = screen.held(key).selection
        if boxes := held.get("box"):
            where = screen.current().where
            for column, axis in ((x, "x"), (y, "y")):
                low, high = sorted(boxes[-1][axis])
                where = _replaced(where, column, f"{column}>={low:.4g}", f"{column}<={high:.4g}")
            _filter(where)
        elif held.get("points"):
            screen.change(picked=int(held["points"][0]["customdata"][0]))

    panels.chart(
        drawn(points, title(x), title(y)),
        key,
        f"{title(x)} against {title(y)}, one point a picture",
        on_select=screen.guarded(select),
        selection_mode=("box", "points"),
        theme="streamlit",
    )
    st.caption(
        f"{accounts_for(points.total, len(points.frame))} Draw a box to filter; click a point to "
        "look closer."
    )


def classes(rows: Rows, chosen: Filters) -> None:
    """By class: who is right how often, and where the difference is largest."""
    table = cache.answered(rows, "classes", chosen)
    named = "label" if rows.labeled else "cnn_answer"
    key = f"classes-{abs(hash((rows.changed, chosen)))}"
    percent = {
        name: st.column_config.NumberColumn(text, format="percent", width="small")
        for name, text in (("cnn", "CNN"), ("vit", "ViT"), ("same", "Same"))
    }

    def select() -> None:
        picked = screen.held(key).selection.rows
        if picked:
            name = table["name"].iloc[picked[0]]
            _filter(_replaced(chosen, named, f"{named}={name}"))

    st.markdown(
        "**By label**, the largest difference first"
        if rows.labeled
        else "**By the CNN's answer**, the least agreement first"
    )
    st.dataframe(
        table if rows.labeled else table.drop(columns=["cnn", "vit"]),
        key=key,
        hide_index=True,
        height=400,
        row_height=28,
        on_select=screen.guarded(select),
        selection_mode="single-row",
        column_config={
            "name": st.column_config.TextColumn("Class"),
            "pictures": st.column_config.NumberColumn("Pictures", width="small"),
            "correlation": st.column_config.NumberColumn(
                "Correlation", format="%.2f", width="small", help="Median rank correlation."
            ),
            **percent,
        },
    )


# -- the end of the page ------------------------------------------------------------------------


def downloads(rows: Rows, chosen: Filters) -> None:
    """The rows that the filters leave, as files that are made when they are asked for."""

    def made(kind: str) -> Callable[[], bytes]:
        return lambda: rows.download(kind, chosen)  # type: ignore[arg-type]

    name = re.sub(r"[^\w-]+", "-", rows.sweep.folder.name)
    with st.container(horizontal=True, gap="small"):
        for kind, what in (
            ("csv", f"CSV, at most {MOST_CSV:,} rows"),
            ("parquet", "Parquet, all rows"),
        ):
            st.download_button(
                kind.upper() if kind == "csv" else "Parquet",
                data=made(kind),
                file_name=f"{name}.{kind}",
                icon=":material/download:",
                help=f"What the filters leave: {what}.",
                key=f"download-{kind}",
                on_click="ignore",
            )


def not_shown(rows: Rows, chosen: Filters) -> None:
    """What these figures cannot say."""
    manifest: Any = rows.sweep.manifest
    failures = cache.answered(rows, "failures", chosen)
    try:
        plan = rows.sweep.plan
        cnn, vit = core.find_spec(plan.cnn), core.find_spec(plan.vit)
    except ParallaxError as unknown:  # a model or a fit that is not known here
        st.caption(f"What was asked cannot be told here: {plain(str(unknown))}")
        return
    with st.expander("What this does not show", icon=":material/visibility_off:"):
        sentences = [
            f"The {rows.sweep.total:,} pictures are those that somebody chose; shares are of them, "
            "and of nothing else.",
            "Both models were trained on the same data."
            if cnn.matches(vit)
            else "The pair is unmatched: not trained on the same data, so a difference is not one "
            "between architectures.",
            *(spec.card.class_origin for spec in (cnn, vit)),
            "Each model's maps explain its own first answer, so where the answers differ the maps "
            "are of different classes."
            if plan.target == "own"
            else "Maps of both models are of one class: the label's, else the CNN's first answer.",
            "Labels are matched to classes by name; pictures whose label matches none count as "
            "unlabeled.",
        ]
        st.markdown("\n".join(f"- {plain(text)}" for text in sentences if text))
        st.caption(
            f"{plain(cnn.title)} and {plain(vit.title)}, fit {plan.framing.fit}; maps: "
            f"{', '.join(map_title(key) for key in rows.sweep.maps)}; begun "
            f"{manifest['runs'][0]['began']} with torch "
            f"{manifest['runs'][0]['versions'].get('torch', 'unknown')}."
        )
        for path, error in failures:
            st.caption(f"Not readable: {plain(path)}. {plain(error)}")
