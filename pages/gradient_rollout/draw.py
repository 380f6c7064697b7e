"""Widgets and layout of Gradient rollout."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard import animations, cache, controls, panels, rows, session
from dashboard.display import Display
from dashboard.text import plain
from pages.gradient_rollout.view import RATIOS, ROLLOUT, Animated, Animation, GradientRollout

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


def draw(view: GradientRollout) -> None:
    """Choices in a line, the rows of maps, their differences, the animation."""
    panels.head(
        "Gradient rollout",
        "Which places count for one class and which for another, on the same picture.",
        "Each column is **one class**, each row one model's maps of these classes. Plain rollout, "
        "first in the row of a ViT, is the same for every class: it shows where the ViT "
        "attends, not why it predicts a class. The ViT's maps weight attention by a gradient, "
        "which is local: they do not show what the model would predict without a patch. Point at "
        "a place to read it in all maps of a row; drag to zoom, double-click to zoom out.",
        "Gildenblat 2020 (vit-explain), Chefer 2021, Bousselham 2024 (LeGrad), Zhou 2016 (CAM)",
    )
    _choices(view)
    panels.doubt(view.doubt)
    _rows(view)
    _differences(view)
    if view.animation is not None:
        _animation(view.animation)


def _choices(view: GradientRollout) -> None:
    class_column, *method_columns, parameter_column, display_column = st.columns(
        [5, *[2.5] * len(view.maps), 2, 2], vertical_alignment="bottom"
    )
    with class_column:
        if view.labeled:
            controls.classes_picker(view.classes, *view.labeled)
    for row, column in zip(view.maps, method_columns, strict=True):
        with column:
            controls.method_picker(row.choice, plain(row.model.spec.title))
    with parameter_column, st.popover("Parameters", icon=":material/tune:", width="stretch"):
        for row in view.maps:
            controls.parameter_widgets(row.choice)
    with display_column:
        controls.display("On a shared scale equal colors mean equal values in all maps of a model.")


def _rows(view: GradientRollout) -> None:
    """A row of maps for each model, with notes beside it."""
    maps_column, notes_column = st.columns([3, 1], gap="medium")
    # Rows are as high as the maps are at the width of this column, not of the page; where that is
    # narrow, the notes go below.
    st.html(STYLE)
    with maps_column, st.container(key="class-maps"):
        for row in view.maps:
            panels.row(row.row)
            if row.choice.method is None:
                st.info(plain(row.choice.refusal), icon=":material/block:")
    with notes_column:
        if view.unit:
            st.caption(f"The color bars: {view.unit}.")
        for row in view.maps:
            if row.notes:
                title = f", {row.choice.method.title}" if row.choice.method else ""
                st.markdown(f":small[**{plain(row.model.spec.title + title)}**]")
            for sentence in row.notes:
                st.caption(sentence)


def _differences(view: GradientRollout) -> None:
    """The differences of maps of two classes, as a table."""
    import pandas as pd

    if not view.differences:
        return
    table = pd.DataFrame(
        {
            "Model": one.model,
            "Classes": " / ".join(one.classes),
            "Rank correlation": one.correlation,
            "Overlap of top 20 %": one.overlap,
            "Share on the right half": " / ".join(
                rows.number(share, "{:.0%}") for share in one.right
            ),
        }
        for one in view.differences
    )
    st.markdown("**How far the maps of two classes differ**")
    form = st.column_config.NumberColumn(format="%.2f")
    st.dataframe(
        table,
        hide_index=True,
        key="differences",
        column_config={"Rank correlation": form, "Overlap of top 20 %": form},
    )
    st.caption(
        "Maps that separate two classes perfectly have a correlation far below 1 and, "
        "where the objects are in different halves of the picture, shares near 0 % and 100 %. "
        "Shares are of positive relevance; a dash means that there is none, or that the map's zero "
        "means nothing."
    )


# -- the animation --------------------------------------------------------------------------------


def _animation(shown: Animation) -> None:
    st.markdown("**The discard ratio, animated**")
    st.caption(
        "The share of each layer's smallest entries that is set to zero grows from 0 to 0.99, for "
        "plain rollout and for gradient rollout of one class beside it. Every frame has its own "
        "scale; at high ratios only paths through a few entries are left."
    )
    with st.container(horizontal=True, gap="small", key="animate"):
        for name in shown.offered:
            _button(name, name == shown.wanted)
        if shown.wanted is not None:
            st.button(
                "Close",
                icon=":material/close:",
                type="tertiary",
                key="animate-close",
                on_click=_animate(None),
            )
    if shown.sides:
        for side, column in zip(shown.sides, st.columns(2, gap="medium"), strict=False):
            with column:
                _side(side)


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


def _side(shown: Animated) -> None:
    """One animation with its note and GIF, or why there is none."""
    if shown.figure is None:
        panels.title(shown.title, "no map")
        st.info(plain(shown.refusal), icon=":material/block:")
        return
    panels.title(shown.title, f"{len(RATIOS)} discard ratios, each frame on its own scale")
    with st.container(key=f"animation-{shown.method}"):
        panels.chart(shown.figure)
    st.caption(shown.note)
    name = shown.title.replace(" · ", "-").replace(" ", "-").lower()
    seen, display = cache.view(session.scene()), Display.of(session.screen())
    st.download_button(
        "Download as GIF",
        data=lambda: animations.gif(
            seen,
            shown.maps,
            [f"discard ratio {ratio:g}" for ratio in RATIOS],
            opacity=display.opacity,
            colors=display.colors,
            percentile=display.percentile,
        ),
        file_name=f"{name}.gif",
        mime="image/gif",
        icon=":material/gif_box:",
        key=f"gif-{shown.method}",
        on_click="ignore",
    )
