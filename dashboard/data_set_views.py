"""Pieces of the data-set page: which sweep, filters, figures, scatter, classes, downloads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

import core
from core import ImageError, Model, ParallaxError, SweepError, sweep
from dashboard import cache, drawing, presence, session, settings
from dashboard.panels import number
from dashboard.scatter import scatter as drawn
from dashboard.scene import Scene
from dashboard.sweeping import MOST_BYTES, MOST_PICTURES, SAMPLES, Run
from dashboard.sweeps import MOST_CSV, Rows, Unfit, accounts_for
from dashboard.text import plain

Filters = tuple[str, ...]

MOST_NAMED = 40
"""Columns that the help of the filters names."""

EVERY = 1.5
"""Seconds between two looks at a sweep that is being made."""

_EMBEDDED = core.default_models()
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
    wanted = session.screen().sweep
    if wanted is not None and wanted not in titles:
        session.problem(
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
        **session.tied("sweep", value, _choose),
    )
    if value in offered:
        return offered[value].folder, None
    if value == SAMPLES:
        run = made.samples(_opened(_EMBEDDED), presence.reader())
    elif (kept := made.get(value, presence.reader())) is not None:
        run = kept
    else:
        st.warning(plain(broken.get(value, "It is not held any more.")), icon=":material/warning:")
        return None, None
    return run.folder, run


@dataclass
class OwnSweeps:
    """Names of the sweeps that a session made, and how many boxes for uploads it has emptied."""

    names: list[str] = field(default_factory=list)
    boxes: int = 0


def _opened(models: Sequence[str]) -> tuple[Model, ...]:
    return tuple(cache.model(model_id) for model_id in models)


def _choose(name: str) -> None:
    """Another sweep: what was chosen of the one before means nothing in it."""
    nothing = dict.fromkeys(("picked", "x", "y", "sweep_first", "sweep_second"))
    session.change(sweep=name, where=(), leaf=1, **nothing)


def _own() -> list[str]:
    """Sweeps that this session made, and the one of the address if it is somebody's own."""
    names: list[str] = session.kept(OwnSweeps).names
    wanted = session.screen().sweep
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
        on_change=lambda: run.readers.keep(reader, bool(session.held("keep-sweep"))),
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
        on_click=session.guarded(lambda: _go_on(run)),
    )


def _go_on(run: Run) -> None:
    models = _opened(run.plan.models)
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
    rows = _compared(rows)
    if not rows.sweep.finished:
        st.caption(f"Not finished: {rows.sweep.done:,} of {rows.sweep.total:,} pictures so far.")
    return rows


def _tell_other_weights(found: sweep.Sweep) -> None:
    """Say which of the models that come with the application had other weights then."""
    titles = [
        core.find_spec(part["id"]).title
        for part in found.manifest["models"]
        if part["id"] in _EMBEDDED
        and cache.model(part["id"]).weights_digest != part["weights_sha256"]
    ]
    if titles:
        st.info(
            f"Made with other weights of {plain(' and '.join(titles))} than those here: answers "
            "and maps are not those that the other pages show.",
            icon=":material/history:",
        )


def _compared(rows: Rows) -> Rows:
    """The rows with the two models side by side that the reader chose, of more than two."""
    models, now = rows.sweep.models, session.screen()
    two = [rows.first, rows.second]
    for place, name in enumerate(("sweep_first", "sweep_second")):
        wanted = getattr(now, name)
        if wanted in models:
            two[place] = models.index(wanted)
        elif wanted is not None:
            session.problem(
                f"{name} is {wanted!r}, which is no model of this sweep; shown instead: "
                f"{rows.titles[two[place]]}."
            )
    first, second = two
    if first == second and len(models) > 1:
        # Whichever was chosen stays; the other one makes room.
        kept = now.sweep_second is not None and now.sweep_first is None
        other = next(number for number in range(len(models)) if number != first)
        first, second = (other, second) if kept else (first, other)
    if len(models) > 2:
        with st.container(key="data-set-models"):
            left, right = st.columns(2)
        for column, name, label, number, taken in (
            (left, "sweep_first", "Compared", first, second),
            (right, "sweep_second", "with", second, first),
        ):
            with column:
                st.selectbox(
                    label,
                    [model_id for place, model_id in enumerate(models) if place != taken],
                    format_func=lambda model_id: rows.titles[models.index(model_id)],
                    filter_mode="contains",
                    **session.tied(name, models[number], _compare(name, first, second, models)),
                )
    return rows.comparing(first, second)


def _compare(field: str, first: int, second: int, models: Sequence[str]) -> Callable[[str], None]:
    """Put another model beside the one that stays."""
    shown = {"sweep_first": models[first], "sweep_second": models[second]}
    return lambda held: session.change(**(shown | {field: held}), leaf=1)


# -- a sweep of one's own -----------------------------------------------------------------------


def maker(scene: Scene) -> None:
    """Choose pictures and sweep them with the models and the fit of the side bar."""
    # Another key after each sweep: the box is closed and empty again, and the files are let go.
    key = f"sweep-upload-{session.kept(OwnSweeps).boxes}"
    with st.popover(
        "Sweep pictures", icon=":material/add_photo_alternate:", width="stretch", key=f"{key}-box"
    ):
        st.caption(
            f"Up to {MOST_PICTURES} pictures, {core.size_text(MOST_BYTES)} together, with the "
            "models and the fit chosen at the side. All maps are of one class: the first answer of "
            "the first model that has classes. The pictures stay on this server until newer "
            "sweeps take their place."
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
                f"brought, at most {MOST_PICTURES} with {core.size_text(MOST_BYTES)} are swept at "
                "a time; choose fewer, or make them smaller first."
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
                help="Drawn at random, the same ones every time.",
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


# -- filters and figures ------------------------------------------------------------------------


def filters(rows: Rows) -> Filters:
    """What the reader wants to see only; filters that mean nothing are said and left out."""
    kept = []
    for text in session.screen().where:
        try:
            rows.condition([text])
            kept.append(rows.canonical(text))
        except Unfit as error:
            session.problem(f"{error} It is left out.")
    models = [rows.sweep.models[number] for number in rows.compared]
    offered = ["same_answer=no", "same_answer=yes"] if len(models) == 2 else []
    offered += [f"artifacts:{one}>0" for one in models if _attends(rows, one)]
    if rows.labeled:
        offered += [f"right:{one}={answer}" for one in models for answer in ("yes", "no")]
    names = rows.offered
    named = ", ".join(f"`{plain(name)}`" for name in names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    st.multiselect(
        "Filters",
        list(dict.fromkeys([*kept, *offered])),
        accept_new_options=True,
        format_func=lambda text: _readable(rows, text),
        placeholder="All pictures. Choose, or type a column and a value: divergence>0.5",
        help=f"All of them hold together. Columns: {named}{more}.",
        **session.tied("where", kept, lambda held: _filter(tuple(held))),
    )
    return tuple(kept)


def _attends(rows: Rows, model_id: str) -> bool:
    """Whether a model has patches that can be artifacts."""
    return bool(rows.sweep.manifest["models"][rows.sweep.models.index(model_id)]["family"] != "cnn")


def _filter(wanted: Filters) -> None:
    session.change(where=tuple(dict.fromkeys(wanted))[:16], leaf=1, picked=None)


def _readable(rows: Rows, text: str) -> str:
    """A filter, for people; as it is if it is none."""
    column, *rest = re.split(r"(<=|>=|!=|=|<|>)", text, maxsplit=1)
    if not rest:
        return text
    return f"{rows.title(column.strip())} {rest[0]} {rest[1].strip() or 'none'}"


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
    entries = [("Pictures", f"{found.pictures:,}{part}", "")]
    two = len(rows.compared) == 2
    if two:
        said = "Both first answers have one name."
        entries.append(("Same first answer", share(found.same), said))
    if rows.labeled:
        known = f"Of the {found.labeled:,} pictures whose label is a class that the model knows."
        right = (found.first_right, found.second_right)
        entries += [
            (f"{rows.titles[number]} right", share(value), known)
            for number, value in zip(rows.compared, right, strict=False)
        ]
    if len(rows.shown_maps) == 2:
        of = " and ".join(rows.map_title(number) for number in rows.shown_maps)
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
    left, middle, right = st.columns([5, 5, 3])
    with left:
        x = _axis(rows, "x", "Across", numbers[0])
    with middle:
        y = _axis(rows, "y", "Up", numbers[1 if len(numbers) > 1 else 0])
    with right:
        color = _color(rows)
    points = cache.answered(rows, "scatter", x, y, color, chosen)
    key = f"scatter-{abs(hash((rows.changed, rows.compared, x, y, color, chosen)))}"

    def select() -> None:
        held = session.held(key).selection
        if boxes := held.get("box"):
            where = session.screen().where
            for column, axis in ((x, "x"), (y, "y")):
                low, high = sorted(boxes[-1][axis])
                where = _replaced(where, column, f"{column}>={low:.4g}", f"{column}<={high:.4g}")
            _filter(where)
        elif held.get("points"):
            session.change(picked=int(held["points"][0]["customdata"][0]))

    drawing.chart(
        drawn(points, rows.title(x), rows.title(y)),
        key,
        f"{rows.title(x)} against {rows.title(y)}, one point a picture",
        on_select=session.guarded(select),
        selection_mode=("box", "points"),
        theme="streamlit",
    )
    st.caption(
        f"{accounts_for(points.total, len(points.frame))} Draw a box to filter; click a point to "
        "look closer."
    )


def _axis(rows: Rows, field: str, label: str, default: str) -> str:
    """Choose the column of an axis; the address may call it as it was called before."""
    wanted = getattr(session.screen(), field)
    value = default if wanted is None else rows.named(wanted)
    if value not in rows.columns or value not in rows.numbers:
        session.problem(
            f"{field} is {wanted!r}, which is not to be had here; shown instead: {default}."
        )
        value = default
    tie = session.bound(field, value)
    found: str = st.selectbox(
        label, rows.numbers, format_func=rows.title, filter_mode="contains", **tie
    )
    return found


def _color(rows: Rows) -> str:
    """Choose what points are colored by; the default is the first that these rows have."""
    colors, wanted = rows.colors(), session.screen().color
    if wanted not in colors and wanted != "agreement":
        session.problem(
            f"color is {wanted!r}, which is not to be had here; shown instead: {colors[0]}."
        )
    tie = session.bound("color", wanted if wanted in colors else colors[0])
    found: str = st.selectbox("Color", colors, format_func=str.capitalize, **tie)
    return found


def classes(rows: Rows, chosen: Filters) -> None:
    """By class: who is right how often, and where the difference is largest."""
    table = cache.answered(rows, "classes", chosen)
    titles = [rows.titles[number] for number in rows.compared]
    named = "label" if rows.labeled else f"answer:{rows.sweep.models[rows.first]}"
    key = f"classes-{abs(hash((rows.changed, rows.compared, chosen)))}"
    percent = {
        name: st.column_config.NumberColumn(text, format="percent", width="small")
        for name, text in zip(("first", "second"), titles, strict=False)
    }
    percent["same"] = st.column_config.NumberColumn("Same", format="percent", width="small")
    left_out = [] if rows.labeled else ["first", "second"]
    left_out += [] if len(titles) == 2 else ["second", "same"]
    left_out += [] if len(rows.shown_maps) == 2 else ["correlation"]
    about = "the largest difference" if len(titles) == 2 else "the most errors"

    def select() -> None:
        picked = session.held(key).selection.rows
        if picked:
            name = table["name"].iloc[picked[0]]
            _filter(_replaced(chosen, named, f"{named}={name}"))

    st.markdown(
        f"**By label**, {about} first"
        if rows.labeled
        else f"**By the first answer of {plain(titles[0])}**"
        + (", the least agreement first" if len(titles) == 2 else "")
    )
    st.dataframe(
        table.drop(columns=list(dict.fromkeys(left_out))),
        key=key,
        hide_index=True,
        height=400,
        row_height=28,
        on_select=session.guarded(select),
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
                help=f"What the filters leave, a row for each picture: {what}. With what every "
                "model and map says, and the agreement of those that are compared.",
                key=f"download-{kind}",
                on_click="ignore",
            )


def not_shown(rows: Rows, chosen: Filters) -> None:
    """What these figures cannot say."""
    manifest: Any = rows.sweep.manifest
    failures = cache.answered(rows, "failures", chosen)
    try:
        plan = rows.sweep.plan
        specs = [core.find_spec(model_id) for model_id in plan.models]
    except ParallaxError as unknown:  # a model or a fit that is not known here
        st.caption(f"What was asked cannot be told here: {plain(str(unknown))}")
        return
    two = [specs[number] for number in rows.compared]
    with st.expander("What this does not show", icon=":material/visibility_off:"):
        sentences = [
            f"The {rows.sweep.total:,} pictures are those that somebody chose; shares are of them, "
            "and of nothing else.",
            _of_training(two),
            *dict.fromkeys(spec.card.class_origin for spec in specs),
            _of_classes(plan, specs),
            "Labels are matched to classes by name; pictures whose label matches none count as "
            "unlabeled.",
        ]
        st.markdown("\n".join(f"- {plain(text)}" for text in sentences if text))
        maps = [rows.map_title(number) for number in range(len(rows.sweep.maps))]
        st.caption(
            f"{plain(', '.join(rows.titles))}; fit {plan.framing.fit}; maps: "
            f"{plain(', '.join(maps))}; begun {plain(manifest['runs'][0]['began'])} with torch "
            f"{plain(manifest['runs'][0]['versions'].get('torch', 'unknown'))}."
        )
        for path, error in failures:
            st.caption(f"Not readable: {plain(path)}. {plain(error)}")


def _of_training(compared: Sequence[core.ModelSpec]) -> str:
    """Whether the models that are compared were trained on the same data; empty for one."""
    if len(compared) < 2:
        return ""
    if compared[0].matches(compared[1]):
        return "Both models were trained on the same data."
    return (
        "The pair is unmatched: not trained on the same data, so a difference is not one between "
        "architectures."
    )


def _of_classes(plan: sweep.Plan, specs: Sequence[core.ModelSpec]) -> str:
    """What class the maps are of."""
    if plan.target == "own":
        if len(specs) == 1:
            return "Maps explain the model's own first answer, whether it is right or not."
        return (
            "Each model's maps explain its own first answer, so where the answers differ the maps "
            "are of different classes."
        )
    return (
        f"All maps are of one class: the label's, else the first answer of {specs[0].title}, or of "
        "the next model if that one has no classes."
    )
