"""Widgets generated from declarations: parameters of a method, display options, class pickers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

import core
from core import (
    Explanation,
    Method,
    Model,
    Parameter,
    ParameterError,
    Prediction,
    UnsupportedMethod,
    heatmaps,
)
from dashboard import state
from dashboard.figures import SEQUENTIAL

DOUBTFUL = " · doubtful"


def linked_select(
    label: str,
    options: Sequence[str],
    key: str,
    format_func: Callable[[str], str] = str,
    help: str | None = None,
) -> str:
    """A select box whose choice stands in the page's address and lasts across pages.

    What the address holds is untrusted: only one of ``options`` is taken from it.
    """
    state.from_address(key, options)
    if st.session_state.get(key, options[0]) not in options:
        del st.session_state[key]
    chosen = st.selectbox(
        label, options, format_func=format_func, key=key, help=help, persist_state="session"
    )
    state.to_address(key, chosen, options[0])
    return chosen


def method_picker(
    label: str, model: Model, key: str, first: str = "", *, class_specific: bool = False
) -> Method:
    """Choose a method that the model can serve.

    Parameters
    ----------
    first
        The method that is chosen until another is; by default the first in the field's order.
    class_specific
        Whether only methods are offered whose map depends on the class.
    """
    served = {
        method.name: method
        for method in core.methods(model)
        if method.class_specific or not class_specific
    }
    offered = sorted(served, key=lambda name: name != first)  # the rest stays in its order
    if not offered:
        raise UnsupportedMethod(
            f"None of the maps of this page can be made for {model.spec.title}, which was trained "
            "without classes; choose another model, or look at the Attention page."
        )
    chosen = linked_select(
        label,
        offered,
        key,
        lambda name: served[name].title,
        "\n\n".join(f"**{served[name].title}.** {served[name].meaning}" for name in offered),
    )
    return served[chosen]


def parameters(method: Method, model: Model, key: str) -> dict[str, Any]:
    """A widget per parameter of a method, starting from the model's own defaults."""
    chosen = {}
    for parameter in method.parameters_for(model):
        chosen[parameter.name] = _widget(
            parameter, parameter.default, f"{key}-{model.spec.id}-{method.name}-{parameter.name}"
        )
    return chosen


def _widget(parameter: Parameter, start: Any, key: str) -> Any:
    common: dict[str, Any] = {"key": key, "help": parameter.help, "persist_state": "session"}
    if parameter.kind == "choice":
        if len(parameter.options) <= 3:
            picked = st.segmented_control(
                parameter.label, parameter.options, default=start, required=True, **common
            )
            return picked or start
        place = parameter.options.index(start)
        return st.selectbox(parameter.label, parameter.options, index=place, **common)
    if parameter.kind == "number":
        return st.slider(
            parameter.label, parameter.low, parameter.high, float(start), parameter.step, **common
        )
    last = int(parameter.high)
    if parameter.kind == "span":
        first, final = st.slider(parameter.label, 0, last, (0, last), **common)
        return None if (first, final) == (0, last) else tuple(range(first, final + 1))
    options: list[int | None] = [None, *range(last + 1)]
    return st.selectbox(
        parameter.label,
        options,
        index=options.index(start),
        format_func=lambda value: "default" if value is None else str(value),
        **common,
    )


SPIKES = ("auto", "replace", "keep")
"""What happens to single patches far above their neighbors."""


@dataclass(frozen=True)
class Display:
    """How maps are shown; never part of what is computed."""

    opacity: float
    colors: str
    shared: bool
    percentile: float
    smooth: bool
    spikes: str = "keep"

    def limits(
        self, relevance: npt.NDArray[np.float32], others: Sequence[npt.NDArray[np.float32]] = ()
    ) -> tuple[float, float]:
        """Ends of the color scale of a map, shared with the others if the reader wants that."""
        if not self.shared or not others:
            return heatmaps.limits(relevance, self.percentile)
        ends = [heatmaps.limits(values, self.percentile) for values in others]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def replaces_spikes(self, explanation: Explanation) -> bool:
        """Whether single bright patches of a map are shown as their neighbors are."""
        outshine = explanation.params.get("fusion") in ("mean", "max")
        return self.spikes == "replace" or (self.spikes == "auto" and outshine)

    def unit(self, what: str) -> str:
        """Title of a color bar: the value, the scale and the clipping."""
        scale = "shared scale" if self.shared else "own scale"
        clip = f" · top {100 - self.percentile:g} % clipped" if self.percentile < 100 else ""
        return f"{what} · {scale}{clip}"


def display(key: str, sharing: str, *, overlay: bool = True) -> Display:
    """Opacity, colors, scale, clipping and smoothing, folded into a popover.

    Parameters
    ----------
    sharing
        What a shared scale means on this page.
    overlay
        Whether maps lie over pictures here; without, opacity and smoothing are not offered.
    """
    opacity, smooth, spikes = 1.0, False, "keep"
    with st.popover("Display", icon=":material/palette:", width="stretch"):
        if overlay:
            opacity = st.slider(
                "Opacity of the map", 0.0, 1.0, 0.6, 0.05, key="opacity", persist_state="session"
            )
        colors = st.selectbox("Colors", SEQUENTIAL, key="colors", persist_state="session")
        shared = st.toggle(
            "One scale for all maps", key=f"{key}-shared", persist_state="session", help=sharing
        )
        percentile = st.slider(
            "Clip at percentile",
            80.0,
            100.0,
            99.0,
            0.5,
            key="percentile",
            persist_state="session",
            help="Values above it share the brightest color, so that one patch cannot darken "
            "all others. 100 clips nothing.",
        )
        if overlay:
            smooth = st.toggle(
                "Smooth between patches", True, key="smooth", persist_state="session"
            )
            spikes = st.segmented_control(
                "Single bright patches",
                SPIKES,
                default="auto",
                required=True,
                format_func=str.capitalize,
                key="spikes",
                persist_state="session",
                help="Single patches of a ViT that stand out far beyond their neighbors can be "
                "shown as the median of those. “Auto” replaces them in rollout with mean and max "
                "fusion, where a few of them outshine the rest.",
            )
    return Display(opacity, colors, shared, percentile, smooth, spikes or "auto")


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

    def select() -> None:
        chosen = st.session_state[key].selection.rows
        if chosen:
            state.choose_classes([prediction.labels[chosen[0]]])

    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        on_select=select if selectable else "ignore",
        selection_mode="single-row",
        column_config={
            "class": st.column_config.TextColumn("Class", width="medium"),
            "probability": st.column_config.ProgressColumn(
                "Probability", min_value=0.0, max_value=1.0, format="percent", width="small"
            ),
        },
    )


def class_names(labels: Sequence[str], *models: Model) -> Callable[[int], str]:
    """How class lists name a class: marked where the card of a model doubts it."""
    doubtful = {
        label
        for model in models
        for index, label in enumerate(model.labels)
        if model.spec.card.doubts(index)
    }
    return lambda index: labels[index] + (DOUBTFUL if labels[index] in doubtful else "")


def class_help(text: str, *models: Model) -> str:
    """Help of a class list: a text, then what the cards of models say of their classes."""
    for model in models:
        card = model.spec.card
        if card.class_origin or card.doubtful:
            text += f"\n\n**{model.spec.title}.** {card.class_origin}"
        if card.doubtful:
            text += f" A class that is marked “doubtful”: {card.doubtful_reason}"
    return text


def class_picker(labels: Sequence[str], default: int, key: str, *models: Model) -> int:
    """Search one class by name; what a table row or another page chose comes first.

    Classes that the card of one of ``models`` doubts are marked.
    """
    chosen = (state.chosen_classes(labels) or [default])[0]
    if st.session_state.get(f"_{key}") != chosen:
        st.session_state[key] = st.session_state[f"_{key}"] = chosen

    def remember() -> None:
        state.choose_classes([labels[st.session_state[key]]])

    return int(
        st.selectbox(
            "Class",
            range(len(labels)),
            format_func=class_names(labels, *models),
            key=key,
            on_change=remember,
            help=class_help(
                "Type to search. Selecting a row of a table below does the same.", *models
            ),
        )
    )


def same_class(source: Model, other: Model, target: int) -> int:
    """Index in ``other`` of the class that ``target`` is in ``source``, found by its name.

    Raises
    ------
    ParameterError
        The other model does not know a class of that name.
    """
    name = source.label(target)
    if target < other.classes and other.label(target) == name:
        return target
    if name in other.labels:
        return other.labels.index(name)
    raise ParameterError(
        f"{other.spec.title} knows no class {name!r}, so it cannot be asked for one; choose "
        "rollout or attention, or two models with the same classes."
    )
