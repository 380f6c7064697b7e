"""Widgets for the choice of classes."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core import Model, Prediction
from dashboard import session
from dashboard.choices import MOST_CLASSES, OPPOSITE, Classes
from dashboard.text import plain

AUTOMATIC = ""
"""Entry of a class list for automatic choice."""


def top_classes(
    prediction: Prediction, key: str, target: str = "", *, selectable: bool = True
) -> None:
    """Table of the first answers with bars; selecting a row makes that class the target."""
    import pandas as pd

    rows = pd.DataFrame(
        {
            "class": [f"{'● ' if name == target else ''}{name}" for name in prediction.labels],
            "probability": [float(p) for p in prediction.probabilities],
        }
    )

    def pick() -> None:
        selected = session.held(key).selection.rows
        if selected:
            rest = session.screen().shared.classes[1:]
            name = prediction.labels[selected[0]]
            session.change(classes=(name, *(other for other in rest if other != name)))

    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        on_select=session.guarded(pick) if selectable else "ignore",
        selection_mode="single-row",
        row_height=24,
        column_config={
            "class": st.column_config.TextColumn("Class"),
            "probability": st.column_config.ProgressColumn(
                "Probability", min_value=0.0, max_value=1.0, format="percent", width=92
            ),
        },
    )
    if prediction.answer == "sigmoid":
        st.caption(f"{len(prediction.affirmed)} of {len(prediction.logits)} labels above one half")


def class_help(text: str, *models: Model) -> str:
    """Help of a class list: a text, then the origin of classes from the models' cards."""
    for model in models:
        card = model.spec.card
        if card.class_origin or card.doubtful:
            text += f"\n\n**{plain(model.spec.title)}.** {plain(card.class_origin, 2000)}"
    return text


def class_picker(found: Classes, *models: Model) -> None:
    """Search one class by name; the likely ones come first."""
    picked = session.screen().shared.classes
    rest = picked[1:]
    st.selectbox(
        "Class",
        [AUTOMATIC, *found.names],
        format_func=lambda name: name or f"automatic: {found.likely[0]}",
        filter_mode="contains",
        help=class_help(
            "Type to search. Selecting a row of a table below does the same. “Automatic” is the "
            "known class of the picture, else the first answer of the first model.",
            *models,
        ),
        **session.bound(
            "classes",
            found.shown[0] if found.picked else AUTOMATIC,
            lambda name: (name, *rest) if name else (),
        ),
    )


def rather_than_picker(found: Classes) -> None:
    """Name a second class, so that maps show what speaks for the first more than for it; or ask for
    the opposite of a label."""
    first = found.shown[0]
    opposite = [OPPOSITE] if found.of_labels else []
    special = {AUTOMATIC: "no other class", OPPOSITE: "not this label"}
    st.selectbox(
        "Rather than",
        [AUTOMATIC, *opposite, *(name for name in found.names if name != first)],
        format_func=lambda name: special.get(name, name),
        filter_mode="contains",
        help="Class-specific maps then explain the difference of the two logits: what makes the "
        f"picture {plain(first)} rather than the other class. They do not explain the difference "
        "of probabilities, nor evidence shared by both classes."
        + (" “Not this label” explains the negated logit." if opposite else ""),
        **session.tied("rather_than", found.rather_than, _choose_other),
    )


def _choose_other(name: str) -> None:
    is_opposite = name == OPPOSITE
    session.change(opposite=is_opposite, rather_than=None if is_opposite else name or None)


def classes_picker(found: Classes, *models: Model) -> None:
    """Search several classes by name; until one is picked they are the first likely ones."""
    st.multiselect(
        "Classes" if found.picked else "Classes · automatic",
        found.names,
        max_selections=MOST_CLASSES,
        filter_mode="contains",
        select_all=False,
        placeholder="Type to search any class",
        help=class_help(
            "Type to search any class by name; choose up to four. “Automatic” is the first two "
            "of the known classes of the picture and the models' first answers; it returns when "
            "the list is cleared.",
            *models,
        ),
        **session.tied("class-list", list(found.shown), _choose_classes),
    )


def _choose_classes(held: Sequence[str]) -> None:
    session.change(classes=tuple(held))
