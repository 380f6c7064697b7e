"""Pieces that several pages draw: a model's overlay, notes beside a map, the head of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from core import MATCHED_PAIR, Explanation, Model, ModelSpec, Recording, find_spec, heatmaps
from dashboard import controls, figures
from dashboard.controls import Display

CHART: dict[str, Any] = {"displayModeBar": False, "scrollZoom": False}


def head(title: str, text: str, sources: str) -> None:
    """Title, what the reader sees and does not see, and where the definitions come from."""
    st.header(title, anchor=False)
    st.markdown(text)
    st.caption(f"Sources: {sources}")


def chart(figure: Any, key: str, alt: str, **options: Any) -> Any:
    """A Plotly figure without a mode bar."""
    return st.plotly_chart(figure, key=key, config=CHART, alt=alt, **options)


def height_for(view: Image.Image, width: int = 400, extra: int = 48) -> int:
    """Height in pixels of a chart that shows a view of this shape about ``width`` wide."""
    return int(min(520, width * view.height / view.width)) + extra


def explained(
    explanation: Explanation,
    display: Display,
    key: str,
    others: Sequence[Explanation] = (),
    *,
    caption: str,
    width: int = 400,
    artifacts: npt.NDArray[np.bool_] | None = None,
) -> None:
    """One overlay with everything a reader must know beside it.

    Parameters
    ----------
    others
        Maps that share the scale, if the reader wants one scale. Maps of several methods have
        several units and are then shown as multiples of their own mean.
    artifacts
        Patches that receive far more attention than their neighbors; named together with the
        spikes of the map itself, and replaced where the reader wants that.
    """
    what = f"{explanation.title} · {explanation.label or 'any class'}"
    title(caption, what)
    if explanation.is_blank:
        st.info(explanation.notes[0], icon=":material/visibility_off:")
        return
    relevance = explanation.relevance
    spikes = None
    if artifacts is not None and artifacts.shape == relevance.shape:  # a map of the patches
        spikes = artifacts | explanation.spikes
    replaced = spikes is not None and spikes.any() and display.replaces_spikes(explanation)
    if spikes is not None and replaced:
        relevance = heatmaps.fill(relevance, spikes)
    unit, rivals = "relevance", [other.relevance for other in others]
    if display.shared and any(other.method != explanation.method for other in others):
        unit = "times the mean"
        relevance, *rivals = (heatmaps.density(values) for values in (relevance, *rivals))
    low, high = display.limits(relevance, [relevance, *rivals] if rivals else [])
    figure = figures.overlay(
        explanation.view,
        relevance,
        low=low,
        high=high,
        unit=display.unit(unit),
        opacity=display.opacity,
        colors=display.colors,
        smooth=display.smooth,
    )
    figure.update_layout(height=height_for(explanation.view, width))
    chart(figure, key, f"{what}, drawn over the picture")
    notes = [settings(explanation), *explanation.notes]
    if spikes is not None and spikes.any():
        notes.append(_spike_note(spikes, bool(replaced)))
    st.caption(" ".join(filter(None, notes)))


def settings(explanation: Explanation) -> str:
    """The parameters a map was made with, so that no picture hides its definition."""
    chosen = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in explanation.params.items()
        if value is not None
    ]
    return f"{', '.join(chosen).capitalize()}." if chosen else ""


def _spike_note(spikes: npt.NDArray[np.bool_], replaced: bool) -> str:
    places = [f"row {row}, column {col}" for row, col in np.argwhere(spikes)[:4]]
    more = int(spikes.sum()) - len(places)
    listed = "; ".join(places) + (f" and {more} more" if more else "")
    fate = "replaced by their neighbors' median" if replaced else "can be replaced under Display"
    return f"Single patches ({listed}) stand out far beyond their neighbors; {fate}."


def title(first: str, second: str) -> None:
    """Two short lines above a figure, so that figures side by side start level."""
    st.markdown(f"**{first}**  \n:small[{second}]")


def seen(view: Image.Image, key: str, width: int = 400) -> None:
    """The view itself, at the scale of the overlays beside it."""
    title("Picture", "as both models see it")
    figure = figures.picture(view)
    figure.update_layout(height=height_for(view, width))
    chart(figure, key, "The picture as both models see it")


def top_five(model: Model, recording: Recording, target: str, digest: str) -> None:
    """Heading and top-5 table of one model; the class of this name is marked."""
    st.markdown(f"**{model.spec.title}** · top 5")
    if not model.classes:
        st.caption("Trained without classes: it predicts none, but its attention can be seen.")
        return
    # A table per picture and target: a tick never outlives what it chose.
    key = f"top-{model.spec.id}-{digest[:12]}-{target}"
    controls.top_classes(recording.predictions()[0], key, target)


def agreement(first: Explanation, second: Explanation) -> tuple[float, float]:
    """Rank correlation and overlap of the top 20 % of two maps on one view, at its grid.

    Both are resized to the finer of the two patch grids before they are compared.
    """
    rows = max(first.relevance.shape[0], second.relevance.shape[0])
    cols = max(first.relevance.shape[1], second.relevance.shape[1])
    a = heatmaps.resize(first.relevance, (rows, cols))
    b = heatmaps.resize(second.relevance, (rows, cols))
    return heatmaps.rank_correlation(a, b), heatmaps.overlap(a, b, 0.2)


def number(value: float, form: str = "{:.2f}") -> str:
    """A figure for a metric, or a dash where it is not defined."""
    return "–" if math.isnan(value) else form.format(value)


def training_note(cnn: ModelSpec, vit: ModelSpec) -> None:
    """What the two models were trained on, and whether that allows a comparison of designs."""
    facts = [
        f"**{spec.title}**: {_facts(spec)}"
        + "".join(f" {text}" for text in (spec.note, spec.card.summary) if text)
        for spec in (cnn, vit)
    ]
    if cnn.matches(vit):
        verdict = "Both were trained on the same data, so this is a matched pair."
    else:
        verdict = (
            "They were **not trained on the same data**, so a difference between the maps is not "
            "a difference between architectures."
        )
    st.info("\n\n".join([verdict, *facts]), icon=":material/school:")
    if not cnn.matches(vit):
        titles = " and ".join(find_spec(model_id).title for model_id in MATCHED_PAIR)
        st.button(
            f"Use the matched pair: {titles}",
            icon=":material/balance:",
            on_click=_choose_matched_pair,
            help="Both were trained on ImageNet-1k with labels. Their weights are downloaded once.",
        )


def _choose_matched_pair() -> None:
    st.session_state["cnn"], st.session_state["vit"] = MATCHED_PAIR


def _facts(spec: ModelSpec) -> str:
    size = f"{spec.parameters:g} M parameters, " if spec.parameters else ""
    return f"{size}{spec.input_size} px, {spec.pretraining}; license {spec.license}."
