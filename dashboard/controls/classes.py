"""Which classes are asked about."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core import (
    Model,
    ParameterError,
    Prediction,
)
from dashboard import screen
from dashboard.text import plain

AUTOMATIC = ""
"""What stands in a class list for "the program chooses"."""


def top_classes(
    prediction: Prediction, key: str, target: str = "", *, selectable: bool = True
) -> None:
    """Top-5 table with probability bars; selecting a row makes that class the target."""
    import pandas as pd

    rows = pd.DataFrame(
        {
            "class": [f"{'● ' if name == target else ''}{name}" for name in prediction.labels],
            "probability": [float(p) for p in prediction.probabilities],
        }
    )

    def pick() -> None:
        selected = screen.held(key).selection.rows
        if selected:
            rest = screen.current().classes[1:]
            name = prediction.labels[selected[0]]
            screen.change(classes=(name, *(other for other in rest if other != name)))

    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        on_select=screen.guarded(pick) if selectable else "ignore",
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
    """Help of a class list: a text, then what the cards of models say of their classes."""
    for model in models:
        card = model.spec.card
        if card.class_origin or card.doubtful:
            text += f"\n\n**{plain(model.spec.title)}.** {plain(card.class_origin, 2000)}"
    return text


def automatic_classes(known: Sequence[str], labels: Sequence[str], *found: Prediction) -> list[str]:
    """Classes in the order in which the program would choose them.

    What the picture is known to show comes first, then the first answers of the models in turn.
    """
    answers = [prediction.labels for prediction in found]
    turns = [name for together in zip(*answers, strict=False) for name in together]
    wanted = [*known, *turns]
    return [name for name in dict.fromkeys(wanted) if name in set(labels)]


def class_picker(likely: Sequence[str], *models: Model) -> str:
    """Search one class by name; the likely ones come first.

    Parameters
    ----------
    likely
        From `automatic_classes`.

    Returns
    -------
    str
        The class to show.
    """
    names = list(dict.fromkeys([*likely, *(name for model in models for name in model.labels)]))
    picked = screen.current().classes
    if picked and picked[0] not in names:
        screen.problem(f"No model here knows the class {picked[0]!r}; shown instead: {likely[0]}.")
    value = picked[0] if picked and picked[0] in names else AUTOMATIC
    rest = picked[1:]
    st.selectbox(
        "Class",
        [AUTOMATIC, *names],
        format_func=lambda name: name or f"automatic: {likely[0]}",
        filter_mode="contains",
        help=class_help(
            "Type to search. Selecting a row of a table below does the same. “Automatic” is what "
            "the picture is known to show, else the first answer of the first model.",
            *models,
        ),
        **screen.bound("classes", value, lambda name: (name, *rest) if name else ()),
    )
    return value or likely[0]


MOST_CLASSES = 4
"""Classes that are shown beside each other at most."""


def classes_picker(likely: Sequence[str], *models: Model) -> list[str]:
    """Search several classes by name; until one is picked they are the first two likely ones."""
    names = list(dict.fromkeys([*likely, *(name for model in models for name in model.labels)]))
    automatic = list(likely[:2])
    wanted = screen.current().classes
    picked = [name for name in wanted if name in names]
    for name in wanted:
        if name not in names:
            instead = "the others" if picked else ", ".join(automatic)
            screen.problem(f"No model here knows the class {name!r}; shown instead: {instead}.")
    shown = picked or automatic

    def write(held: Sequence[str]) -> None:
        screen.change(classes=tuple(held))

    st.multiselect(
        "Classes" if picked else "Classes · automatic",
        names,
        max_selections=MOST_CLASSES,
        filter_mode="contains",
        select_all=False,
        placeholder="Type to search any class",
        help=class_help(
            "Type to search any class by name, four at most. “Automatic” are the first two of what "
            "the picture is known to show and the models' own first answers; it comes back when "
            "the list is cleared.",
            *models,
        ),
        **screen.tied("class-list", shown, write),
    )
    return shown


def index_of(model: Model, name: str) -> int:
    """Index of a class in a model's own labels.

    Raises
    ------
    ParameterError
        The model does not know a class of that name.
    """
    if name in model.labels:
        return model.labels.index(name)
    raise ParameterError(
        f"{model.spec.title} knows no class {name!r}, so it cannot be asked for one; choose "
        "rollout or attention, or two models with the same classes."
    )
