"""Parts taken away, or the picture changed as a whole: what every model then answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st
from PIL import Image

import core
from core import CHANGES, Model, Prediction, heatmaps
from dashboard import (
    cache,
    controls,
    drawing,
    evidence_figures,
    figures,
    gather,
    measurements,
    session,
)
from dashboard.choices import Choice, index_of
from dashboard.evidence_parts import Asked, unknown
from dashboard.scene import Scene
from dashboard.text import plain

Mask = npt.NDArray[np.bool_]

TAKEN = {"map": "Top of a map", "patches": "Patches you choose"}
"""What can be taken away; the other changes are of the picture as a whole."""


def removal(asked: Asked) -> None:
    """Take parts away, or change the picture as a whole, and see all answers."""
    scene = asked.scene
    left, right = st.columns([2, 3], gap="medium")
    with left:
        titles = TAKEN | {name: change.title for name, change in CHANGES.items()}
        change = str(
            controls.select(
                "change",
                "What is changed",
                list(titles),
                format_func=titles.__getitem__,
                help="The first two take parts away, the others change the picture as a whole. "
                "All models always get the same picture.",
            )
        )
        seed = session.screen().seed
        if change in TAKEN:
            taken = _removed(asked, change)
            if taken is None:
                return
            removed = taken
            shown = core.without(cache.view(scene), removed, asked.fill, seed)
            _patches(scene, shown, removed)
        else:
            strength = _strength(change, cache.view(scene))
            if change in ("shuffle", "drop"):
                seed = controls.number("seed", "Seed", 0, 9999)
            shown = measurements.changed_picture(scene, change, strength, seed)
            st.image(shown, width="stretch", alt="The changed picture, as all models get it")
    with right, st.container(key="before-and-after"):
        answers = []
        with st.spinner("Asking the models …"):
            for model in asked.models:
                model_id = model.spec.id
                before = cache.recording(model_id, scene).predictions()[0]
                if change in TAKEN:
                    after = measurements.taken_away(scene, model_id, removed, asked.fill, seed)
                else:
                    after = measurements.changed(scene, model_id, shown, change, strength, seed)
                answers.append((model, before, after))
        for column, (model, before, after) in zip(
            st.columns(max(2, len(answers)), gap="medium"), answers, strict=False
        ):
            with column:
                _before_and_after(model, before, after, asked.target, asked.number(model))
        if change not in TAKEN:
            found = {
                model.spec.title: measurements.robustness(
                    scene, model.spec.id, change, asked.index(model), seed
                )
                for model in asked.models
            }
            figure = evidence_figures.strengths(found, CHANGES[change].meaning, strength)
            st.markdown(f"**{plain(asked.target)}** as the change grows")
            drawing.chart(figure, "strengths", "Probability of the class over the strength")
            st.caption(
                "Hollow: the first answer is no longer that of the whole picture. One draw for "
                "each strength; another seed moves the curve."
            )
    unknown(asked)


def _removed(asked: Asked, change: str) -> Mask | None:
    """The patches that are taken away, or a sentence in their place."""
    grid = measurements.grid_of(asked.scene)
    if change == "patches":
        mask = session.screen().mask
        if mask is not None and mask.shape != grid:
            session.problem(
                f"removed is for {mask.shape[0]} × {mask.shape[1]} patches, but this picture has "
                f"{grid[0]} × {grid[1]}; nothing is taken away."
            )
            mask = None
        mask = np.zeros(grid, bool) if mask is None else mask
        measurements.removed(mask)
        return mask
    share = float(
        controls.slider(
            "top",
            "Share that is taken away",
            0.01,
            1.0,
            0.01,
            help="The patches of the highest relevance; of equal ones the first in reading order.",
        )
    )
    choice = _whose_map(asked)
    found = drawing.made(choice, asked.scene, asked.target)
    if isinstance(found, str):
        st.info(plain(found), icon=":material/visibility_off:")
        return None
    st.caption(f"{found.title} of {found.label or 'no class'}, {choice.model.spec.title}.")
    mask = heatmaps.top_area(heatmaps.resize(found.relevance, grid), share)
    resized = f"heatmaps.resize({gather.relevance(found, choice.values)}, {grid!r})"
    measurements.removed(mask, f"heatmaps.top_area({resized}, {share!r})")
    return mask


def _whose_map(asked: Asked) -> Choice:
    """Choose the look whose map is taken away: the last one until another is."""
    last = len(asked.choices) - 1
    if not last:
        return asked.choices[0]
    number: int = controls.select(
        "top_of",
        "Of the map",
        range(last, -1, -1),
        last,
        lambda one: asked.choices[one].name,
    )
    return asked.choices[number]


def _patches(scene: Scene, shown: Image.Image, removed: Mask) -> None:
    """The picture as the models get it; a click, a box or the keyboard changes what is removed."""
    rows, cols = removed.shape
    figure = figures.clickable(figures.picture(shown), shown, (rows, cols))
    figure.update_layout(dragmode="select", margin={"b": 4})

    def write(mask: Mask) -> None:
        session.change(change="patches", removed=session.screen().of_mask(mask))

    def pick() -> None:
        places = [p["customdata"] for p in session.held("patches-figure").selection.points]
        if not places:
            return
        mask, index = removed.copy(), tuple(np.array(places, int)[:, :2].T)
        mask[index] = not mask[index].all()
        write(mask)

    drawing.sized(
        figure,
        "patches",
        f"The picture without {int(removed.sum())} of its {removed.size} patches",
        f"(100cqi - 2rem) * {0.4 * shown.height / shown.width:.4f} + 8px",
        on_select=session.guarded(pick),
        selection_mode=("points", "box"),
    )
    st.caption(
        f"{int(removed.sum())} of {removed.size} patches are taken away. Click a patch to take it "
        "away or put it back; drag a box over several."
    )
    row, col = session.screen().patch or (rows // 2, cols // 2)
    row, col = min(row, rows - 1), min(col, cols - 1)
    boxes = st.columns([1, 1, 1], gap="small", vertical_alignment="bottom")
    boxes[0].number_input(
        "Row",
        0,
        rows - 1,
        **session.tied("patch-row", row, lambda held: session.change(query=f"r{held}c{col}")),
    )
    boxes[1].number_input(
        "Column",
        0,
        cols - 1,
        **session.tied("patch-column", col, lambda held: session.change(query=f"r{row}c{held}")),
    )

    def toggle() -> None:
        mask = removed.copy()
        mask[row, col] = not mask[row, col]
        write(mask)

    boxes[2].button(
        "Put it back" if removed[row, col] else "Take it away",
        key="patch-toggle",
        width="stretch",
        on_click=toggle,
    )
    st.button(
        "Put everything back",
        key="patch-clear",
        icon=":material/restart_alt:",
        disabled=not removed.any(),
        on_click=lambda: write(np.zeros_like(removed)),
    )


def _strength(change: str, view: Image.Image) -> float:
    """Choose how far the picture is changed."""
    known = CHANGES[change]
    options = [s for s in known.strengths if s <= known.highest(view)]
    wanted = session.screen().strength
    value = wanted if wanted in options else options[len(options) // 2]
    if wanted is not None and wanted not in options:
        session.problem(f"strength is {wanted:g}, which {known.title!r} does not offer here.")
    found: float = st.select_slider(
        f"{known.meaning[:1].upper()}{known.meaning[1:]}",
        options,
        format_func=lambda s: f"{s:.3g}",
        **session.bound("strength", value),
    )
    return found


def _before_and_after(
    model: Model, before: Prediction, after: Prediction, target: str, number: int
) -> None:
    index = index_of(model, target)
    was, now = before.probability(index), after.probability(index)
    st.metric(
        f"{model.spec.title} · {target}",
        f"{now:.1%}",
        f"{100 * (now - was):+.1f} points",
        help="Probability of the class in the changed picture, and its change.",
    )
    names = list(dict.fromkeys([*after.labels, *before.labels]))
    table = pd.DataFrame(
        {
            "class": [f"{'● ' if name == target else ''}{name}" for name in names],
            "before": [before.probability(model.labels.index(name)) for name in names],
            "after": [after.probability(model.labels.index(name)) for name in names],
        }
    ).sort_values("after", ascending=False, kind="stable")
    bar: dict[str, Any] = {"min_value": 0.0, "max_value": 1.0, "format": "percent"}
    st.dataframe(
        table,
        key=f"answers-{number}",
        hide_index=True,
        row_height=28,
        column_config={
            "class": st.column_config.TextColumn("Class"),
            "before": st.column_config.NumberColumn("Before", format="percent", width=72),
            "after": st.column_config.ProgressColumn("After", width=92, **bar),
        },
    )
