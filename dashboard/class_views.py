"""Pieces of the page about several classes: the two rows of maps, their differences, the animation.

Each row stands for one model and each column for one class; the first column has what is the same
for all classes: plain rollout of a model that has attention, else the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import core
from core import (
    Explanation,
    MethodError,
    Model,
    VisionTransformer,
    ZeroGradient,
    heatmaps,
)
from dashboard import animations, cache, drawing, figures, gather, panels, rows, session
from dashboard.choices import Choice, index_of
from dashboard.display import Display
from dashboard.rows import Mask
from dashboard.scene import Scene
from dashboard.text import plain

RATIOS = (*(round(0.1 * i, 1) for i in range(10)), 0.95, 0.99)
"""Discard ratios of the animation."""

ROLLOUT = "rollout"
"""What `Screen.animated` is where no class is wanted; a class of this name is not known."""

WIDE = 3
"""Panels in a row up to which their titles and color bars are written out."""

STYLE = """
<style>
.st-key-class-maps, [class*="st-key-animation-"] { container-type: inline-size; }
@media (max-width: 1000px) {
  [data-testid="stHorizontalBlock"]:has(.st-key-class-maps) { flex-wrap: wrap; }
  [data-testid="stHorizontalBlock"]:has(.st-key-class-maps) > [data-testid="stColumn"] {
    flex: 1 1 100%; min-width: 100%;
  }
}
</style>
"""

Refused = (MethodError, ZeroGradient)


@dataclass(frozen=True, eq=False)
class Column:
    """One model's map of one class, or why there is none."""

    name: str
    explanation: Explanation | None = None
    refusal: str = ""


def columns_of(
    model: Model,
    scene: Scene,
    classes: Sequence[str],
    method: str,
    parameters: dict[str, Any],
) -> list[Column]:
    """The maps of one model, one for each class; what cannot be made says why."""
    found = []
    with cache.keeping_graph(model.spec.id, scene):
        for name in classes:
            try:
                index = index_of(model, name)
                [explanation] = cache.explain(model.spec.id, scene, method, (index,), parameters)
            except Refused as error:
                found.append(Column(name, refusal=str(error)))
                continue
            found.append(Column(name, explanation))
    return found


@dataclass(frozen=True, eq=False)
class Row:
    """One model's part of the page.

    Attributes
    ----------
    number
        Its place in the list of models, which keys its widgets.
    choice
        The method that makes its maps, or why there is none.
    """

    number: int
    choice: Choice

    @property
    def model(self) -> Model:
        """The model whose row it is."""
        return self.choice.model

    @property
    def has_rollout(self) -> bool:
        """Whether there is a plain rollout to set beside the maps."""
        return any(method.name == ROLLOUT for method in core.methods(self.model))


def all_rows(
    scene: Scene, rows: Sequence[Row], classes: Sequence[str], display: Display
) -> list[tuple[Row, list[Column]]]:
    """A row of maps for each model, with what must be known to read them beside.

    Returns
    -------
    list of tuple
        The rows whose model has a method, with their maps.
    """
    view = cache.view(scene)
    wide = len(classes) + 1 <= WIDE
    maps_column, notes_column = st.columns([3, 1], gap="medium")
    found, notes = [], []
    # Rows are as high as the maps are at the width of this column, not of the page; where that is
    # narrow, the notes go below.
    st.html(STYLE)
    with maps_column, st.container(key="class-maps"):
        made: dict[int, list[Column]] = {}
        rolled: dict[int, Explanation] = {}
        with st.spinner("Explaining …", show_time=True):
            for one in rows:
                model_id, method = one.model.spec.id, one.choice.method
                if one.has_rollout:
                    [rolled[one.number]] = cache.explain(model_id, scene, ROLLOUT)
                if method is not None:
                    made[one.number] = columns_of(
                        one.model, scene, classes, method.name, one.choice.values
                    )
        for one in rows:
            masked = cache.artifacts(one.model.spec.id, scene)
            said: list[str] = []
            first = figures.Panel("Picture", "as the models see it" if wide else "")
            if one.has_rollout:
                first, note = rollout_panel(rolled[one.number], display, masked, wide)
                said = [note]
            columns = made.get(one.number, [])
            key = f"classes-{one.number}"
            said += row(view, one.model.spec.title, columns, first, display, key, masked)
            if one.choice.method is None:
                st.info(plain(one.choice.refusal), icon=":material/block:")
            else:
                found.append((one, columns))
            notes.append((one, said))
    with notes_column:
        if not wide:
            st.caption(f"The color bars: {display.unit('relevance')}.")
        for one, said in notes:
            if said:
                title = f", {one.choice.method.title}" if one.choice.method else ""
                st.markdown(f":small[**{plain(one.model.spec.title + title)}**]")
            for sentence in said:
                st.caption(sentence)
    return found


def row(
    view: Image.Image,
    title: str,
    columns: Sequence[Column],
    first: figures.Panel,
    display: Display,
    key: str,
    artifacts: Mask | None = None,
) -> list[str]:
    """Draw one model's maps in a row behind a first panel.

    Returns
    -------
    list of str
        What must be known to read the maps, one Markdown sentence group for each that needs any.
    """
    shown = [
        drawing.replaced(column.explanation, display, artifacts)
        if column.explanation is not None
        else None
        for column in columns
    ]
    rivals = [entry[0] for entry in shown if entry is not None]
    drawn, notes = [first], []
    wide = len(columns) + 1 <= WIDE
    unit = display.unit("relevance") if wide else ""
    for column, entry in zip(columns, shown, strict=True):
        if column.explanation is None or entry is None:
            drawn.append(figures.Panel(column.name, "no map: see below"))
            notes.append(f"**{plain(column.name)}.** {plain(column.refusal)}")
            continue
        drawn.append(
            rows.panel_of(
                column.explanation,
                entry[0],
                rivals,
                display,
                column.name,
                " · ".join(
                    filter(None, [title if wide else "", rows.standing(column.explanation)])
                ),
                unit,
            )
        )
        said = [plain(note) for note in column.explanation.notes]
        if text := " ".join(filter(None, [*said, entry[1]])):
            notes.append(f"**{plain(column.name)}.** {text}")
    drawing.row(view, drawn, display, key)
    return notes


def rollout_panel(
    plain_map: Explanation, display: Display, artifacts: Mask | None, wide: bool
) -> tuple[figures.Panel, str]:
    """Plain rollout as the first panel of a row, and what must be known to read it."""
    relevance, note = drawing.replaced(plain_map, display, artifacts)
    unit = display.unit("relevance") if wide else ""
    panel = rows.panel_of(
        plain_map, relevance, [relevance], display, "Plain rollout", "no class", unit
    )
    said = [drawing.settings(plain_map), *map(plain, plain_map.notes), note]
    return panel, f"**Plain rollout.** {' '.join(filter(None, said))}"


def differences(rows: Sequence[tuple[str, Sequence[Column]]]) -> None:
    """How much the maps of two classes differ, as a table."""
    import pandas as pd

    table = []
    for title, columns in rows:
        maps = [c.explanation for c in columns if c.explanation is not None]
        for a, b in combinations(maps, 2):
            table.append(
                {
                    "Model": title,
                    "Classes": f"{a.label} / {b.label}",
                    "Rank correlation": heatmaps.rank_correlation(a.relevance, b.relevance),
                    "Overlap of top 20 %": heatmaps.overlap(a.relevance, b.relevance),
                    "Share on the right half": " / ".join(
                        rows.number(rows.share_right(e), "{:.0%}") for e in (a, b)
                    ),
                }
            )
    if not table:
        return
    st.markdown("**How far the maps of two classes differ**")
    form = st.column_config.NumberColumn(format="%.2f")
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        key="differences",
        column_config={"Rank correlation": form, "Overlap of top 20 %": form},
    )
    st.caption(
        "Maps that told two classes apart perfectly would have a correlation far below 1 and, "
        "where the objects stand on different halves of the picture, shares near 0 % and 100 %. "
        "Shares are of what is positive; a dash stands where nothing is, or where a map's zero "
        "means nothing."
    )


# -- the animation ------------------------------------------------------------------------------


def discard_animation(
    scene: Scene,
    model: Model,
    classes: Sequence[str],
    parameters: dict[str, Any],
    display: Display,
) -> None:
    """Rollout and gradient rollout as the discard ratio grows; computed when it is asked for.

    Parameters
    ----------
    model
        One that has attention.
    parameters
        Of gradient rollout; its discard ratio is left out.
    """
    st.markdown("**The discard ratio, animated**")
    st.caption(
        "The share of each layer's smallest entries that is set to zero grows from 0 to 0.99, for "
        "plain rollout and for gradient rollout of one class beside it. Every frame has its own "
        "scale; at high ratios only what passes through a few entries is left."
    )
    known = [name for name in classes if name in model.labels]
    wanted = session.screen().animated
    if wanted is not None and wanted != ROLLOUT and wanted not in model.labels:
        session.problem(
            f"animated is {wanted!r}, which {model.spec.title} does not know; shown instead: plain "
            "rollout."
        )
        wanted = ROLLOUT
    if wanted is not None and wanted != ROLLOUT:
        known = list(dict.fromkeys([*known, wanted]))
    with st.container(horizontal=True, gap="small", key="animate"):
        for name in [*known, ROLLOUT]:
            _button(name, name == wanted)
        if wanted is not None:
            st.button(
                "Close",
                icon=":material/close:",
                type="tertiary",
                key="animate-close",
                on_click=_animate(None),
            )
    if wanted is None:
        return
    total = len(RATIOS) * (1 if wanted == ROLLOUT else 2)
    progress = st.progress(0.0, "Computing the frames …")
    columns = st.columns(2, gap="medium")

    def report(before: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            progress.progress((before + done) / total, f"Frame {before + done} of {total}")

        return tell

    with columns[0]:
        each: list[dict[str, Any]] = [{"discard": ratio} for ratio in RATIOS]
        _animated(model, scene, "rollout", None, "Plain rollout", each, report(0), display)
    if wanted != ROLLOUT:
        with columns[1]:
            target = index_of(model, wanted)
            each = [{**parameters, "discard": ratio} for ratio in RATIOS]
            title = f"Gradient rollout · {wanted}"
            tell = report(len(RATIOS))
            _animated(model, scene, "gradient_rollout", target, title, each, tell, display)
    progress.empty()


def _animate(name: str | None) -> Callable[[], None]:
    return lambda: session.change(animated=name)


def _button(name: str, chosen: bool) -> None:
    st.button(
        "Plain rollout only" if name == ROLLOUT else plain(name),
        key=f"animate-{name}",
        icon=":material/animation:",
        type="primary" if chosen else "secondary",
        help=f"Compute {len(RATIOS) * (1 if name == ROLLOUT else 2)} frames and show them.",
        on_click=_animate(name),
    )


def _animated(
    model: Model,
    scene: Scene,
    method: str,
    target: int | None,
    title: str,
    each: Sequence[dict[str, Any]],
    report: Callable[[int], None],
    display: Display,
) -> None:
    """One animation with what must be known to read it, and its GIF; or why there is none."""
    view = cache.view(scene)
    try:
        frames = cache.frames(model.spec.id, scene, method, target, each, report)
    except Refused as error:
        panels.title(title, "no map")
        st.info(plain(str(error)), icon=":material/block:")
        return
    maps = [frame.relevance for frame in frames]
    for values, params in zip(maps, each, strict=True):
        options = "".join(f", {name}={value!r}" for name, value in params.items())
        made = (
            f"core.explain(models[{model.spec.id!r}], view, {method!r}, {target!r}, framing=given"
        )
        gather.array(f"{title} discard {params['discard']}", values, f"{made}{options}).relevance")
    labels = [f"{ratio:g}" for ratio in RATIOS]
    panels.title(title, f"{len(RATIOS)} discard ratios, each frame on its own scale")
    look: dict[str, Any] = {
        "opacity": display.opacity,
        "colors": display.colors,
        "percentile": display.percentile,
    }
    figure = animations.animation(
        view,
        maps,
        labels,
        prefix="discard ratio ",
        unit="from each frame's smallest value (0) to its largest (1)",
        smooth=display.smooth,
        **look,
    )
    alt = f"{title} while the discard ratio grows"
    margins = animations.ABOVE + animations.BELOW
    height = f"100cqi * {view.height / view.width:.4f} + {margins}px"
    with st.container(key=f"animation-{method}"):
        drawing.sized(figure, f"frames-{method}", alt, height)
    said = [_settings(each[0])]
    if isinstance(model, VisionTransformer) and model.prefix:
        shares = animations.mass_range([frame.prefix_mass for frame in frames])
        said.append(f"{shares} of the mass falls on prefix tokens and is not shown.")
    blank = [label for label, values in zip(labels, maps, strict=True) if not np.any(values)]
    if blank:
        said.append(f"Blank, because nothing is left: ratio {', '.join(blank)}.")
    st.caption(" ".join(filter(None, said)))
    name = title.replace(" · ", "-").replace(" ", "-").lower()
    st.download_button(
        "Download as GIF",
        data=lambda: animations.gif(
            view, maps, [f"discard ratio {label}" for label in labels], **look
        ),
        file_name=f"{name}.gif",
        mime="image/gif",
        icon=":material/gif_box:",
        key=f"gif-{method}",
        on_click="ignore",
    )


def _settings(parameters: dict[str, Any]) -> str:
    chosen = [f"{k} {v}" for k, v in parameters.items() if k != "discard" and v is not None]
    return f"{', '.join(chosen).capitalize()}." if chosen else ""
