"""Pieces of the class-specific page: the class picker, the grid of maps, the animation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from core import Explanation, Model, Prediction, VisionTransformer, heatmaps
from dashboard import animations, cache, controls, panels, state
from dashboard.controls import Display
from dashboard.state import Scene

RATIOS = tuple(round(0.05 * i, 2) for i in range(20))
"""Discard ratios of the animation: 0 to 0.95."""


def classes_picker(model: Model, shown: Sequence[str], prediction: Prediction) -> list[int]:
    """Search several classes by name; starts with what the picture shows and the top classes."""
    likely = [
        *state.chosen_classes(model.labels),
        *state.indices_of(shown, model.labels),
        *map(int, prediction.indices),
    ]
    start = list(dict.fromkeys(likely))[:2]
    return st.multiselect(
        "Classes",
        range(model.classes),
        default=start,
        max_selections=4,
        format_func=controls.class_names(model.labels, model),
        key=f"classes-{model.spec.id}-{hash(tuple(start))}",
        help=controls.class_help(
            "Type to search any class by name. The first two are what the picture shows, or the "
            "model's own first answers.",
            model,
        ),
    )


def side_by_side(
    vit: Model,
    cnn: Model,
    maps: Sequence[Explanation],
    cnn_maps: Sequence[Explanation],
    plain: Explanation,
    predictions: Mapping[Model, Prediction],
    display: Display,
    artifacts: npt.NDArray[np.bool_],
) -> None:
    """A column per class, the ViT's map above the CNN's, plain rollout first."""
    columns = st.columns(len(maps) + 1, gap="medium")
    width = 1200 // (len(maps) + 1)
    with columns[0]:
        panels.explained(
            plain, display, "plain", caption="Plain rollout", width=width, artifacts=artifacts
        )
        panels.seen(plain.view, "classes-picture", width)
    for i, (column, own, other) in enumerate(zip(columns[1:], maps, cnn_maps, strict=True)):
        with column:
            caption = f"{vit.spec.title} · p = {_percent(predictions[vit], own)}"
            panels.explained(
                own, display, f"class-{i}", maps, caption=caption, width=width, artifacts=artifacts
            )
            caption = f"{cnn.spec.title} · p = {_percent(predictions[cnn], other)}"
            panels.explained(
                other, display, f"class-cnn-{i}", cnn_maps, caption=caption, width=width
            )
    _separation(vit, maps, cnn, cnn_maps)


def _percent(prediction: Prediction, explanation: Explanation) -> str:
    return f"{prediction.probability(explanation.target or 0):.1%}"


def _separation(
    vit: Model, maps: Sequence[Explanation], cnn: Model, cnn_maps: Sequence[Explanation]
) -> None:
    """How much the maps of two classes differ, measured."""
    import pandas as pd

    rows = []
    for model, found in ((vit, maps), (cnn, cnn_maps)):
        for a, b in combinations(found, 2):
            rows.append(
                {
                    "model": model.spec.title,
                    "classes": f"{a.label} / {b.label}",
                    "rank correlation": heatmaps.rank_correlation(a.relevance, b.relevance),
                    "overlap of top 20 %": heatmaps.overlap(a.relevance, b.relevance),
                    "share on the right half": " / ".join(
                        panels.number(heatmaps.share_right(e.relevance), "{:.0%}") for e in (a, b)
                    ),
                }
            )
    if rows:
        st.markdown("**How far the maps of two classes differ**")
        form = st.column_config.NumberColumn(format="%.2f")
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            key="separation",
            column_config={"rank correlation": form, "overlap of top 20 %": form},
        )
        st.caption(
            "A method that told classes apart perfectly would show a correlation far below 1 and, "
            "where the objects stand on different halves, shares near 0 % and 100 %."
        )


@st.fragment
def discard_animation(
    scene: Scene,
    vit: VisionTransformer,
    classes: Sequence[int],
    parameters: dict[str, Any],
    display: Display,
) -> None:
    """Gradient rollout as the discard ratio grows: plays in the browser, downloads as a GIF."""
    st.subheader("Gradient rollout: the discard ratio, animated", anchor=False)
    left, right = st.columns([1, 2], gap="medium")
    with left:
        target = st.selectbox(
            "Class", classes, format_func=vit.label, key=f"animated-{hash(tuple(classes))}"
        )
        st.caption(
            "Gradient rollout with more and more of each layer's smallest entries set to zero. "
            "Each frame has its own scale; past some ratio only what passes through a few "
            "entries is left."
        )
    definition, layers = parameters.get("definition", "paper"), parameters.get("layers")
    maps, hidden = [], []
    with right:
        progress = st.progress(0.0, "Computing the frames …")
        for i, ratio in enumerate(RATIOS):
            options = {"discard": ratio, "definition": definition, "layers": layers}
            [found] = cache.explain(scene.vit.id, scene, "gradient_rollout", (target,), options)
            maps.append(found.relevance)
            hidden.append(found.prefix_mass or 0.0)
            progress.progress((i + 1) / len(RATIOS), f"Frame {i + 1} of {len(RATIOS)}")
        progress.empty()
        look: dict[str, Any] = {
            "opacity": display.opacity,
            "colors": display.colors,
            "percentile": display.percentile,
        }
        figure = animations.animation(
            found.view,
            maps,
            [f"{ratio:.2f}" for ratio in RATIOS],
            smooth=display.smooth,
            unit=f"{vit.label(target)} · {definition} definition · each frame on its own scale",
            **look,
        )
        figure.update_layout(height=panels.height_for(found.view, 420, 130))
        panels.chart(figure, "animation", "Gradient rollout while the discard ratio grows")
    with left:
        st.download_button(
            "Download as GIF",
            data=lambda: animations.gif(found.view, maps, **look),
            file_name=f"gradient-rollout-{vit.label(target).replace(' ', '-')}.gif",
            mime="image/gif",
            icon=":material/gif_box:",
            on_click="ignore",
        )
        if vit.prefix:
            st.caption(
                f"{min(hidden):.0%} to {max(hidden):.0%} of the mass, depending on the frame, "
                "falls on prefix tokens and is not shown."
            )
        zeroed = sum(not np.any(relevance) for relevance in maps)
        if zeroed:
            st.caption(f"{zeroed} frame(s) are blank: nothing was left at those ratios.")
