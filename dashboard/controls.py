"""Widgets tied to the fields of the screen: each shows what is chosen and writes what is picked."""

from __future__ import annotations

import dataclasses
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
    Tap,
    UnsupportedMethod,
    VisionTransformer,
    heatmaps,
)
from dashboard import screen
from dashboard.figures import SEQUENTIAL
from dashboard.text import plain

AUTOMATIC = ""
"""What stands in a class list for "the program chooses"."""


# -- one field, one widget ----------------------------------------------------------------------


def chosen(field: str, options: Sequence[Any], default: Any) -> Any:
    """The value of a field, if it is one of ``options``; else the default and a problem."""
    wanted = getattr(screen.current(), field)
    if wanted is None or wanted in options:
        return default if wanted is None else wanted
    screen.problem(f"{field} is {wanted!r}, which is not to be had here; shown instead: {default}.")
    return default


def select(
    field: str,
    label: str,
    options: Sequence[Any],
    default: Any = None,
    format_func: Callable[[Any], str] = str,
    help: str | None = None,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """A select box; names are searched as they are written, not fuzzily."""
    value = chosen(field, options, options[0] if default is None else default)
    tie = screen.bound(field, value, read)
    return st.selectbox(
        label, options, format_func=format_func, help=help, filter_mode="contains", **tie
    )


def segments(
    field: str,
    label: str,
    options: Sequence[str],
    default: str | None = None,
    titles: Callable[[str], str] = str.capitalize,
    help: str | None = None,
    hidden_label: bool = False,
) -> str:
    """A row of buttons, one of which is chosen."""
    value = chosen(field, options, default or options[0])
    picked: str | None = st.segmented_control(
        label,
        options,
        required=True,
        format_func=titles,
        help=help,
        label_visibility="collapsed" if hidden_label else "visible",
        **screen.bound(field, value),
    )
    return picked or value


def slider(
    field: str,
    label: str,
    low: float,
    high: float,
    step: float,
    default: Any = None,
    help: str | None = None,
) -> Any:
    """A slider; what the address wants beyond its ends is cut and said."""
    value = getattr(screen.current(), field)
    value = default if value is None else value
    if not low <= value <= high:
        screen.problem(f"{field} is {value:g}, expected {low:g} to {high:g}; shown at the end.")
        value = min(max(value, low), high)
    if low == high:
        return value
    return st.slider(label, low, high, step=step, help=help, **screen.bound(field, value))


def number(field: str, label: str, low: int, high: int, default: int = 0) -> int:
    """A box for a whole number."""
    value = getattr(screen.current(), field)
    value = default if value is None else value
    if not low <= value <= high:
        screen.problem(f"{field} is {value}, expected {low} to {high}; shown at the end.")
        value = min(max(value, low), high)
    return int(st.number_input(label, low, high, **screen.bound(field, int(value))))


def toggle(field: str, label: str, help: str | None = None) -> bool:
    """A switch."""
    value = bool(getattr(screen.current(), field))
    return bool(st.toggle(label, help=help, **screen.bound(field, value)))


# -- taps and channels --------------------------------------------------------------------------

PARTS = {
    "output": "output",
    "hidden": "MLP",
    "query": "query",
    "key": "key",
    "value": "value",
}
"""What is offered of a transformer's block."""

AUTOMATIC_INDEX = -1
"""The same in a list of indices; ``None`` would read as "nothing chosen"."""

MOST_ACTIVE = -1
"""What stands in a channel list for "the program chooses"."""


def stage_title(tap: str) -> str:
    """A tap of a convolutional network, for people."""
    return tap.replace(".", " ") if tap.startswith("stage") else "what the pooling reads"


def stage_picker(field: str, label: str, model: Model, default: str, channel: str) -> str:
    """Choose a tap of a convolutional network; in the field is the tap's name.

    Parameters
    ----------
    channel
        Field of the tap's channel, which belongs to the tap that it was chosen for.
    """
    value: str = chosen(field, list(model.taps), default)
    found: str = st.selectbox(
        label,
        list(model.taps),
        format_func=stage_title,
        filter_mode="contains",
        **screen.tied(field, value, lambda held: screen.change(**{field: held, channel: None})),
    )
    return found


def block_picker(
    field: str, label: str, model: VisionTransformer, default: str, channel: str
) -> str:
    """Choose a part of a transformer's block, as a slider and a list.

    In the field is the tap's name, such as ``block.7.key``; see `stage_picker`.
    """
    offered = [tap for tap in model.taps if tap.rpartition(".")[2] in PARTS]
    value: str = chosen(field, offered, default)
    block, _, part = value.rpartition(".")
    parts = [p for p in PARTS if f"{block}.{p}" in offered]
    last = model.depth - 1

    def write_block(number: int) -> None:
        screen.change(**{field: f"block.{number}.{part}", channel: None})

    def write_part(name: str | None) -> None:
        screen.change(**{field: f"{block}.{name or part}", channel: None})

    number = int(block.rpartition(".")[2])
    if last:
        st.slider(label, 0, last, **screen.tied(f"{field}-block", number, write_block))
    st.selectbox(
        "Part of the block",
        parts,
        filter_mode="contains",
        format_func=lambda name: PARTS[name][:1].upper() + PARTS[name][1:],
        help=" ".join(
            f"**{PARTS[name].capitalize()}**: {model.taps[f'{block}.{name}'].meaning}."
            for name in parts
        ),
        **screen.tied(f"{field}-part", part, write_part),
    )
    return value


def channel_picker(field: str, label: str, tap: Tap, strongest: int) -> int:
    """Choose a channel of a tap; until one is chosen it is the strongest."""
    wanted = getattr(screen.current(), field)
    if wanted is not None and wanted >= tap.features:
        screen.problem(
            f"{field} is {wanted}, but {tap.name} has channels 0 to {tap.features - 1}; shown "
            f"instead: {strongest}, the most active on this picture."
        )
        wanted = None

    def name(channel: int) -> str:
        if channel == MOST_ACTIVE:
            return f"most active: {name(strongest)}"
        if tap.heads == 1:
            return str(channel)
        return f"{channel} (head {channel // tap.channels}, channel {channel % tap.channels})"

    st.selectbox(
        label,
        [MOST_ACTIVE, *range(tap.features)],
        format_func=name,
        filter_mode="contains",
        help="“Most active” is the channel with the largest mean of absolute values on this "
        "picture.",
        **screen.bound(
            field,
            MOST_ACTIVE if wanted is None else wanted,
            lambda held: None if held == MOST_ACTIVE else held,
        ),
    )
    return strongest if wanted is None else wanted


# -- methods and their parameters ---------------------------------------------------------------


def method_picker(
    field: str, label: str, model: Model, first: str = "", *, class_specific: bool = False
) -> Method:
    """Choose a method that the model can serve.

    Parameters
    ----------
    first
        The method that is chosen until another is; by default the first in the field's order.
    class_specific
        Whether only methods that know the class are offered.

    Raises
    ------
    UnsupportedMethod
        The model is served by none.
    """
    served = {
        method.name: method
        for method in core.methods(model)
        if method.class_specific or not class_specific
    }
    if not served:
        raise UnsupportedMethod(
            f"None of the maps of this page can be made for {model.spec.title}, which was trained "
            "without classes; choose another model, or look at the Attention page."
        )
    names = list(served)
    value = chosen(field, names, first if first in served else names[0])
    tie = screen.bound(field, value)
    key = tie["key"]

    def choose() -> None:
        # Parameters belong to the method that they were chosen for.
        screen.change(**{field: screen.held(key), f"{field}_parameters": ()})

    picked = st.selectbox(
        label,
        names,
        format_func=lambda name: (
            served[name].title + ("" if served[name].class_specific else " · no class")
        ),
        help="\n\n".join(f"**{served[name].title}.** {served[name].meaning}" for name in names),
        filter_mode="contains",
        key=key,
        on_change=screen.guarded(choose),
    )
    return served[picked]


def parameters(field: str, method: Method, model: Model) -> dict[str, Any]:
    """Values of a method's parameters, as the screen has them."""
    texts = dict(getattr(screen.current(), f"{field}_parameters"))
    known = method.parameters_for(model)
    values = {}
    for parameter in known:
        value = parameter.default
        if parameter.name in texts:
            text = texts.pop(parameter.name)
            value = _parsed(parameter, text)
            if not parameter.accepts(value):
                screen.problem(
                    f"{field}.{parameter.name} is {text!r}, which {method.title} does not take; "
                    f"shown instead: {_shown(parameter.default)}."
                )
                value = parameter.default
        values[parameter.name] = value
    for name in texts:
        screen.problem(f"{method.title} has no parameter {name!r}; {field}.{name} is ignored.")
    return values


def parameter_widgets(field: str, method: Method, model: Model, values: dict[str, Any]) -> None:
    """A widget for each parameter of a method."""
    for parameter in method.parameters_for(model):
        _parameter_widget(field, parameter, values[parameter.name])


def _parameter_widget(field: str, parameter: Parameter, value: Any) -> None:
    def write(held: Any) -> None:
        texts = dict(getattr(screen.current(), f"{field}_parameters"))
        texts[parameter.name] = _written(parameter, held)
        screen.change(**{f"{field}_parameters": tuple(sorted(texts.items()))})

    name = f"{field}.{parameter.name}"
    last = int(parameter.high)
    if parameter.kind == "span":
        ends = (value[0], value[-1]) if value else (0, last)
        tie = screen.tied(name, ends, write)
        st.slider(parameter.label, 0, last, help=parameter.help, **tie)
        return
    shown = AUTOMATIC_INDEX if value is None else value
    tie = screen.tied(name, shown, write)
    common: dict[str, Any] = {"help": parameter.help, **tie}
    if parameter.kind == "number":
        st.slider(parameter.label, parameter.low, parameter.high, step=parameter.step, **common)
    elif parameter.kind == "choice" and len(parameter.options) <= 3:
        st.segmented_control(parameter.label, parameter.options, required=True, **common)
    elif parameter.kind == "choice":
        st.selectbox(parameter.label, parameter.options, filter_mode="contains", **common)
    else:
        st.selectbox(
            parameter.label,
            [AUTOMATIC_INDEX, *range(last + 1)],
            format_func=_shown,
            filter_mode="contains",
            **common,
        )


def _shown(value: Any) -> str:
    return "automatic" if value in (None, AUTOMATIC_INDEX) else str(value)


def _written(parameter: Parameter, held: Any) -> str:
    if held is None or (parameter.kind == "index" and held == AUTOMATIC_INDEX):
        return "automatic"
    if parameter.kind == "span":
        return f"{held[0]}-{held[1]}"
    return f"{held:g}" if parameter.kind == "number" else str(held)


def _parsed(parameter: Parameter, text: str) -> Any:
    """What a text of the address means; the text itself if it means nothing."""
    if parameter.kind == "choice":
        return text
    if text == "automatic":
        return None
    try:
        if parameter.kind == "number":
            value = float(text)
            return int(value) if parameter.is_whole and value.is_integer() else value
        if parameter.kind == "index":
            return int(text)
        first, _, final = text.partition("-")
        layers = tuple(range(int(first), int(final or first) + 1))
        return None if layers == tuple(range(int(parameter.high) + 1)) else layers
    except ValueError:
        return text


@dataclass(frozen=True, eq=False)
class Choice:
    """A method with its parameters for one model, or why there is none."""

    field: str
    model: Model
    method: Method | None = None
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    refusal: str = ""

    @property
    def needs(self) -> core.Needs:
        """What a pass has to keep for it."""
        if self.method is None:
            return core.Needs()
        return core.needs(self.model, self.method.name, **self.values)


def method_choice(
    field: str, label: str, model: Model, first: str = "", *, class_specific: bool = False
) -> Choice:
    """`method_picker` and `parameters` in one, for a page that goes on where a model has none."""
    try:
        method = method_picker(field, label, model, first, class_specific=class_specific)
    except UnsupportedMethod as error:
        return Choice(field, model, refusal=str(error))
    return Choice(field, model, method, parameters(field, method, model))


def choice_widgets(choice: Choice) -> None:
    """A widget for each parameter of a chosen method, below its title."""
    if choice.method is not None:
        st.markdown(f"**{choice.method.title}**")
        parameter_widgets(choice.field, choice.method, choice.model, choice.values)


# -- display ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Display:
    """How maps are shown; never part of what is computed."""

    opacity: float
    colors: str
    shared: bool
    percentile: float
    smooth: bool
    spikes: str = "keep"
    blend: str = "overlay"

    def limits(
        self,
        relevance: npt.NDArray[np.float32],
        others: Sequence[npt.NDArray[np.float32]] = (),
        signed: bool = False,
    ) -> tuple[float, float]:
        """Ends of the color scale of a map, shared with the others if the reader wants that.

        Parameters
        ----------
        signed
            Zero belongs into the middle.
        """
        rivals = others if self.shared and others else [relevance]
        if signed:
            high = max(float(np.percentile(np.abs(v), self.percentile)) for v in rivals) or 1.0
            return -high, high
        ends = [heatmaps.limits(values, self.percentile) for values in rivals]
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


def display(sharing: str, *, overlay: bool = True) -> Display:
    """Opacity, colors, scale, clipping and smoothing, folded into a popover.

    Parameters
    ----------
    sharing
        What a shared scale means on this page.
    overlay
        Whether maps lie over pictures here; without, opacity and smoothing are not offered.
    """
    now = screen.current()
    with st.popover("Display", icon=":material/palette:", width="stretch"):
        if overlay:
            segments(
                "blend",
                "Map and picture",
                ("overlay", "brightness"),
                help="“Overlay” lays the map over the picture in colors; “brightness” shows the "
                "picture itself, as bright as the map.",
            )
            slider("opacity", "Opacity of the overlay", 0.0, 1.0, 0.05)
        select("colors", "Colors", SEQUENTIAL)
        segments("scale", "Scale", ("own", "shared"), help=sharing)
        slider(
            "clip",
            "Clip at percentile",
            80.0,
            100.0,
            0.5,
            help="Values above it share the brightest color, so that one patch cannot darken all "
            "others. 100 clips nothing.",
        )
        if overlay:
            toggle("smooth", "Smooth between patches")
            segments(
                "spikes",
                "Single bright patches",
                ("auto", "replace", "keep"),
                help="Single patches of a ViT that stand out far beyond their neighbors can be "
                "shown as the median of those. “Auto” replaces them in rollout with mean and max "
                "fusion, where a few of them outshine the rest.",
            )
    return Display(
        now.opacity if overlay else 1.0,
        now.colors,
        now.scale == "shared",
        now.clip,
        now.smooth and overlay,
        now.spikes if overlay else "keep",
        now.blend,
    )


# -- classes ------------------------------------------------------------------------------------


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
        row_height=28,
        column_config={
            "class": st.column_config.TextColumn("Class"),
            "probability": st.column_config.ProgressColumn(
                "Probability", min_value=0.0, max_value=1.0, format="percent", width=92
            ),
        },
    )


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
            "the picture is known to show, else the CNN's first answer.",
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
