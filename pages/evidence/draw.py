"""Widgets and layout of Evidence."""

from __future__ import annotations

import streamlit as st

from core import FILLS
from dashboard import controls, panels, rows, session, show
from dashboard.several_pictures import offered_pictures
from dashboard.text import plain
from pages.evidence import draw_curves, draw_removal
from pages.evidence.curves import Curves
from pages.evidence.options import Options
from pages.evidence.pointing import CORNERS, Pointed, Pointing
from pages.evidence.randomization import Randomized
from pages.evidence.removal import Removal
from pages.evidence.view import Evidence, Found

QUESTIONS = {
    "removal": "Take it away",
    "curves": "Is the map true?",
    "randomization": "Was it learned?",
    "pointing": "Does it know the class?",
}
FILL_NAMES = {
    "blur": "blurred picture",
    "mean": "mean color",
    "black": "black",
    "noise": "noise",
}


def draw(view: Evidence) -> None:
    """The head, the choices, and the result of the chosen question."""
    panels.head(
        "Evidence",
        "Remove what a map marks as important, and see what every model then answers.",
        "A map is a claim about a model. **Take it away** shows how the answer changes. **Is the "
        "map true?** removes patches in the map's order and compares with random order, "
        "center-outward order and edge order; within the stated interval they are not "
        "distinguishable. **Was it learned?** randomizes the weights, layer by layer: a map that "
        "does not change does not depend on what was learned. A method with random draws (RISE, "
        "SmoothGrad) draws again each time; the agreement of two draws on the intact model is the "
        "upper limit. **Does it know the class?** puts four pictures into one and "
        "measures where the map of each class lies. All models always get the same pixels, and "
        "parts are removed on the patch grid of the first ViT. Choose a second class under "
        "**Rather than**, and maps, curves and answers are those of the difference of the two "
        "logits; a stated probability is then that of the first class, given one of the two.",
        "Zeiler & Fergus 2014, Petsiuk 2018 (deletion, insertion), Adebayo 2018 (randomization), "
        "Böhle 2021 (grid pointing), Naseer 2021 (dropping, shuffling)",
    )
    controls.segments(
        "question",
        "Question",
        tuple(QUESTIONS),
        titles=QUESTIONS.__getitem__,
        hidden_label=True,
        also={"measured": False},  # of another question, nothing was asked to be measured
    )
    _choices(view)
    with show.tab():
        _found(view.found)


def _found(found: Found | None) -> None:
    if found is None:
        st.info("None of the models has classes, so there is no answer to measure.")
    elif isinstance(found, Removal):
        draw_removal.draw(found)
    elif isinstance(found, Curves):
        draw_curves.draw(found)
    elif isinstance(found, Randomized):
        _randomized(found)
    else:
        _pointing(found)


def _choices(view: Evidence) -> None:
    """The class, a method for each look, the fill, and the display."""
    wide = [2.5] * len(view.choices)
    class_column, *look_columns, fill_column, parameter_column, display_column = st.columns(
        [3, *wide, 2, 2, 2], vertical_alignment="bottom"
    )
    if view.classes.shown:
        with (
            class_column,
            st.container(horizontal=True, gap="xsmall", vertical_alignment="bottom"),
        ):
            controls.class_picker(view.classes, *view.labeled)
            with st.popover("", icon=":material/alt_route:", width="content", key="rather"):
                controls.rather_than_picker(view.classes)
    for choice, column in zip(view.choices, look_columns, strict=True):
        with column:
            controls.method_picker(choice, plain(choice.model.spec.title))
    with fill_column:
        controls.select(
            "fill",
            "Replaced by",
            list(FILLS),
            format_func=FILL_NAMES.__getitem__,
            help="The same for all models: "
            + "; ".join(f"**{name}**: {text}" for name, text in FILLS.items()),
        )
    with parameter_column, st.popover("Parameters", icon=":material/tune:", width="stretch"):
        for choice in view.choices:
            controls.parameter_widgets(choice)
    with display_column:
        controls.display("Maps of one model on one scale.")


# -- randomization --------------------------------------------------------------------------------


def _randomized(found: Randomized) -> None:
    left, right = st.columns([6, 1], gap="medium", vertical_alignment="bottom")
    left.caption(
        "Weights are redrawn from the classifier down, each tensor with the mean and standard "
        "deviation of the learned one, on a private copy. A map that stays the same does not "
        "depend on the model's weights; it may show edges of the picture instead (Adebayo 2018)."
    )
    with right:
        draw_curves.measure_button(found.measured)
    for sentence in found.without:
        st.info(plain(sentence), icon=":material/visibility_off:")
    if found.correlations is None:
        return
    panels.chart(found.correlations)
    for one in found.depths:
        st.markdown(f"**{plain(one.title)}** · from the intact model on")
        panels.chart(one.figure)
        st.caption(one.note)
    st.caption(
        "A map that is zero everywhere: the class no longer depends on what the map reads. The "
        "text below a map holds for the intact model."
    )


# -- pointing -------------------------------------------------------------------------------------


def _pointing(found: Pointing) -> None:
    by_id = offered_pictures(session.screen().of(Options).four, session.current().own)
    st.multiselect(
        "Four pictures",
        list(by_id),
        format_func=lambda name: by_id[name].name,
        max_selections=4,
        filter_mode="contains",
        select_all=False,
        **session.tied("four", list(found.pictures), lambda held: session.change(four=tuple(held))),
    )
    if len(found.pictures) != len(CORNERS):
        st.info("Choose four pictures.", icon=":material/grid_view:")
        return
    for one in found.looks:
        _pointed(one)
    st.caption(
        "The share of a map's positive relevance in the quarter of the picture whose class it "
        "explains. The class is the known class of the picture, else the model's first answer "
        "to it alone. Pictures in quarters have half the size, on which some models are less "
        "accurate."
        + (
            ""
            if found.is_class
            else " Each class is explained alone here, not rather than another."
        )
    )


def _pointed(one: Pointed) -> None:
    if one.row is None:
        st.info(plain(f"{one.title}: {one.refusal}"), icon=":material/visibility_off:")
        return
    st.markdown(
        f"**{plain(one.title)}** · {rows.number(one.mean, '{:.0%}')} in the right quarter "
        "on average; chance is 25 %"
    )
    panels.row(one.row)
    for corner, note in zip(CORNERS, one.notes, strict=True):
        if note:
            st.caption(f"**{corner.capitalize()}.** {plain(note)}")
