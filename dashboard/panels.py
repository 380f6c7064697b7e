"""Pieces that several pages draw: a model's overlay, notes beside a map, the head of a page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from core import (
    MATCHED_PAIR,
    Explanation,
    MethodError,
    Model,
    ModelSpec,
    Prediction,
    Recording,
    find_spec,
    heatmaps,
)
from dashboard import cache, columns, controls, figures, gather, measurements, screen
from dashboard.controls import Choice, Display
from dashboard.scene import Picture, Scene
from dashboard.settings import locked
from dashboard.text import plain, text_color

Mask = npt.NDArray[np.bool_]
LARGE = 560
"""Width in pixels of a panel that is shown alone."""

CHART: dict[str, Any] = {"displayModeBar": False, "scrollZoom": False}


def head(title: str, line: str, how: str, sources: str) -> Any:
    """One row: title, what is seen in a line, and how to read it, folded away.

    Returns the row, for buttons that a page adds to it.
    """
    row = st.container(horizontal=True, vertical_alignment="bottom", key="head")
    with row:
        with st.container():
            st.title(title, anchor=False)
            st.caption(line)
        with st.popover("How to read this", icon=":material/menu_book:", width="content"):
            st.markdown(how)
            st.caption(f"Sources: {sources}")
    return row


def chart(figure: Any, key: str, alt: str, **options: Any) -> Any:
    """A Plotly figure without a mode bar."""
    figure.update_layout(font_color=text_color())
    gather.figure(key, figure, alt)
    return st.plotly_chart(figure, key=key, config=CHART, alt=alt, **options)


def side_by_side(
    view: Image.Image,
    maps: Sequence[tuple[str, Explanation | str]],
    display: Display,
    key: str,
    *,
    artifacts: Mapping[str, Mask],
    details: Sequence[str] = (),
    least: int = 0,
) -> list[str]:
    """The picture and maps of it in one figure.

    Parameters
    ----------
    maps
        Title and explanation of each panel, or the sentence that says why there is none.
    artifacts
        By id of a transformer, patches that receive far more attention than their neighbors.
    details
        What is said behind the name of each map's method; nothing where it is empty.
    least
        Pixels that the figure takes at least.

    Returns
    -------
    list of str
        What must be known to read each map, as Markdown.
    """
    made = [found for _, found in maps if isinstance(found, Explanation)]
    shown = {id(found): replaced(found, display, artifacts.get(found.model_id)) for found in made}
    relevances = {key: relevance for key, (relevance, _) in shown.items()}
    mixed = display.shared and len({(found.method, found.has_zero) for found in made}) > 1
    # Multiples of the mean say something only of a map whose zero does; others stay as they are.
    dense = {id(found) for found in made if mixed and found.has_zero}
    relevances |= {key: heatmaps.density(relevances[key]) for key in dense}
    panels, notes = [figures.Panel("Picture", "as the models see it")], []
    for (name, found), detail in zip(maps, details or [""] * len(maps), strict=True):
        if isinstance(found, str):
            panels.append(figures.Panel(name, "no map: see below"))
            notes.append(plain(found))
            continue
        what = f"{', '.join(filter(None, [found.title, detail]))}\n{opinion(found)}"
        alone = mixed and id(found) not in dense
        look = dataclasses.replace(display, shared=False) if alone else display
        unit = look.unit("times the mean" if id(found) in dense else "relevance")
        rivals = [values for key, values in relevances.items() if not mixed or key in dense]
        panels.append(panel_of(found, relevances[id(found)], rivals, look, name, what, unit))
        own = "Its zero means nothing, so it keeps a scale of its own." if alone else ""
        notes.append(
            " ".join(filter(None, [*found.notes, settings(found), shown[id(found)][1], own]))
        )
    row(view, panels, display, key, least=least)
    return notes


RANKS = ("first", "second", "third", "fourth", "fifth")


def opinion(found: Explanation) -> str:
    """The class of a map with what the model thinks of it."""
    if found.target is None:
        return "no class: the same map for each"
    return " · ".join(filter(None, (found.label, standing(found))))


def standing(found: Explanation) -> str:
    """Probability and rank of the class of a map in its model's answer; empty without either."""
    if found.target is None or found.prediction is None:
        return ""
    rank = found.prediction.rank(found.target)
    place = RANKS[rank] if rank < len(RANKS) else f"rank {rank + 1}"
    return f"{percent(found.prediction.probability(found.target))}, {place}"


def percent(share: float) -> str:
    """A probability in percent, with a decimal where it is small."""
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.{1 if share < 0.1 else 0}f} %"


UNSURE, HARDLY = 0.3, 0.01
"""Probabilities below which an answer is a guess, and a class explains almost nothing."""


def doubt(picture: Picture, answers: Mapping[Model, Prediction], *classes: str) -> None:
    """Say what makes maps of this picture tell little, where anything does.

    Parameters
    ----------
    answers
        What each model with classes answers.
    classes
        Names of the classes whose maps are shown.
    """
    said = []
    if picture.outside:
        said.append(
            "None of the classes fits this picture: maps show what the answers depend on, not "
            "where an object is."
        )
    guesses = [
        f"{model.spec.title}: {found.labels[0]}, {percent(float(found.probabilities[0]))}"
        for model, found in answers.items()
        if found.answer == "softmax" and found.probabilities[0] < UNSURE
    ]
    none = [model.spec.title for model, found in answers.items() if not len(found.affirmed)]
    if none:
        said.append(
            f"No label is above one half ({', '.join(none)}): maps are of what is not seen."
        )
    if guesses:
        said.append(f"Best guesses only ({'; '.join(guesses)}): a map of a guess explains little.")
    for name in classes:
        shares = {
            model.spec.title: found.probability(model.labels.index(name))
            for model, found in answers.items()
            if name in model.labels
        }
        hardly = [f"{title} {percent(p)}" for title, p in shares.items() if p < HARDLY]
        if hardly:
            said.append(f"{name}: {', '.join(hardly)}; such a map explains almost nothing.")
    if said:
        st.info(plain(" ".join(said), 2000), icon=":material/help:")


def panel_of(
    found: Explanation,
    relevance: npt.NDArray[np.float32],
    rivals: Sequence[npt.NDArray[np.float32]],
    display: Display,
    title: str,
    subtitle: str,
    unit: str,
) -> figures.Panel:
    """A map as one panel of a figure; ``rivals`` share its scale if the reader wants that."""
    signed = found.signed and display.against
    low, high = display.limits(relevance, rivals, signed, from_zero=found.has_zero)
    fades = found.has_zero
    return figures.Panel(title, subtitle, relevance, low, high, unit, signed, fades)


def made(choice: Choice, scene: Scene, target: str) -> Explanation | str:
    """The map of a choice for a class, or the sentence that says why there is none."""
    if choice.method is None:
        return choice.refusal
    model, method = choice.model, choice.method
    try:
        index = controls.index_of(model, target) if method.class_specific else None
        [found] = cache.explain(model.spec.id, scene, method.name, (index,), choice.values)
    except MethodError as error:
        return str(error)
    return found


def row(
    view: Image.Image,
    panels: Sequence[figures.Panel],
    display: Display,
    key: str,
    *,
    least: int = 0,
) -> None:
    """Panels of one view in one figure, as high as they are at the width that there is.

    A click on the corner of a panel shows it alone and large, another one shows all again.

    Parameters
    ----------
    least
        Pixels that all of them take at least, in a container that scrolls.
    """
    name, _, number = (screen.current().large or "").rpartition(".")
    alone = name == key and int(number) < len(panels)
    if alone:
        panels = [panels[int(number)]]

    def enlarge(data: Sequence[int]) -> None:
        screen.change(large=None if alone else f"{key}.{data[0]}")

    figure = figures.linked(
        view,
        panels,
        corners=["Show all panels"] if alone else [f"Enlarge {p.title}" for p in panels],
        opacity=display.opacity,
        colors=display.colors,
        smooth=display.smooth,
        brightness=display.blend == "brightness",
    )
    alt = "; ".join(f"{p.title}: {', '.join(p.subtitle.splitlines())}" for p in panels)
    everything = f"max(100cqi, {least}px)" if least else "100cqi"
    width = f"min(100cqi, {LARGE}px)" if alone else everything
    what = f"The picture and maps of it. {alt}"
    fitted(figure, key, what, view, len(panels), width=width, act=enlarge)
    if alone:
        st.button(
            "Show all panels",
            icon=":material/close_fullscreen:",
            key=f"{key}-all",
            on_click=lambda: screen.change(large=None),
        )


def fitted(
    figure: Any,
    key: str,
    alt: str,
    view: Image.Image,
    count: int,
    *,
    width: str = "100cqi",
    act: Callable[[list[Any]], None] | None = None,
) -> None:
    """A figure of `figures.linked`, as high as its panels are at the width that there is.

    Parameters
    ----------
    count
        Number of panels.
    width
        Of the figure, as a length of CSS, where it does not have all of the page.
    act
        Gets the custom data of a point that is clicked.
    """
    tall = (view.height / view.width) / count
    margin = figure.layout.margin
    height = f"({width}) * {tall:.4f} + {margin.t + margin.b}px"
    if act is None:
        sized(figure, key, alt, height, width)
    else:
        clicked(figure, key, alt, act, height, width)


def sized(
    figure: Any, key: str, alt: str, height: str, width: str = "100%", **options: Any
) -> None:
    """A figure whose height is a length of CSS, so that it follows the width that there is.

    The key of the chart ends with ``-figure``.

    Parameters
    ----------
    width
        The most it takes, as a length of CSS.
    """
    places = f".st-key-{key}, div:has(> .st-key-{key})"
    exact = f"calc({height})"
    rule = (
        f"height: {exact} !important; flex: 0 0 {exact} !important; max-width: calc({width}); "
        "overflow: hidden;"
    )
    st.html(f"<style>{places} {{ {rule} }}</style>")
    with st.container(key=key, height=400, border=False):
        chart(figure, f"{key}-figure", alt, height="stretch", **options)
    gather.figure(f"{key}-figure", figure, alt, exact)


def clicked(
    figure: Any,
    key: str,
    alt: str,
    act: Callable[[list[Any]], None],
    height: str = "",
    width: str = "100%",
) -> None:
    """A figure whose points can be clicked; ``act`` gets the custom data of the one that was.

    Parameters
    ----------
    height, width
        Lengths of CSS, where the height follows the width.
    """

    def call() -> None:
        points = screen.held(f"{key}-figure").selection.points
        if points:
            act(points[0]["customdata"])

    options: dict[str, Any] = {"on_select": screen.guarded(call), "selection_mode": "points"}
    if height:
        sized(figure, key, alt, height, width, **options)
    else:
        chart(figure, f"{key}-figure", alt, **options)


def replaced(
    explanation: Explanation, display: Display, artifacts: Mask | None
) -> tuple[npt.NDArray[np.float32], str]:
    """A map with its isolated bright patches replaced if that is wanted, and a sentence on them."""
    if artifacts is None or artifacts.shape != explanation.relevance.shape:
        return explanation.relevance, ""
    spikes = artifacts | explanation.spikes
    if not spikes.any():
        return explanation.relevance, ""
    gone = display.replaces_spikes(explanation)
    shown = heatmaps.fill(explanation.relevance, spikes) if gone else explanation.relevance
    return shown, _spike_note(spikes, gone, display)


def settings(explanation: Explanation) -> str:
    """The parameters a map was made with, so that no picture hides its definition."""
    chosen = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in explanation.params.items()
        if value is not None
    ]
    return f"{', '.join(chosen).capitalize()}." if chosen else ""


def _spike_note(spikes: Mask, replaced: bool, display: Display) -> str:
    count = int(spikes.sum())
    row, col = np.argwhere(spikes)[0]
    more = f" and {count - 1} more" if count > 1 else ""
    fate = "replaced by their neighbors' median" if replaced else "kept"
    if display.spikes == "auto":
        fate += ", as “Auto” in Display does with this map"
    return f"Isolated bright patches (row {row}, column {col}{more}): {fate}."


def title(first: str, second: str) -> None:
    """Two short lines above a figure, so that figures side by side start level."""
    st.markdown(f"**{plain(first)}**  \n:small[{plain(second)}]")


def top_five(model: Model, recording: Recording, target: str, digest: str) -> None:
    """Heading and top-5 table of one model; the class of this name is marked."""
    st.markdown(f"**{plain(model.spec.title)}** · top 5")
    if not model.classes:
        st.caption("Trained without classes: it predicts none, but its attention can be seen.")
        return
    # A table per picture and target: a tick never outlives what it chose.
    key = f"top-{model.spec.id}-{digest[:12]}-{target}"
    controls.top_classes(recording.predictions()[0], key, target)


def share_right(found: Explanation) -> float:
    """`heatmaps.share_right` of a map; ``nan`` where its zero means nothing."""
    return heatmaps.share_right(found.positive()) if found.has_zero else math.nan


def agreement(first: Explanation, second: Explanation) -> tuple[float, float]:
    """Rank correlation and overlap of the top 20 % of two maps on one view, at the finer grid."""
    return heatmaps.agreement(first.relevance, second.relevance)


def agreement_figures(maps: Sequence[tuple[str, Explanation | str]]) -> None:
    """How much maps agree: two figures for two maps, a table of all pairs for more.

    Dashes stand where a map is missing; of one map nothing is said.
    """
    if len(maps) == 2:
        _two_figures(maps[0][1], maps[1][1])
    elif len(maps) > 2:
        _matrix_of_agreement(maps)


def _agreement_of(first: Explanation | str, second: Explanation | str) -> tuple[float, float]:
    if isinstance(first, Explanation) and isinstance(second, Explanation):
        return agreement(first, second)
    return math.nan, math.nan


def _two_figures(first: Explanation | str, second: Explanation | str) -> None:
    correlation, overlap = _agreement_of(first, second)
    left, right = st.columns(2)
    left.metric("Rank correlation", number(correlation), help=f"Spearman's, {CORRELATION}")
    right.metric("Overlap of top 20 %", number(overlap), help=OVERLAP)


CORRELATION = "over the finer patch grid: 1 same order, 0 unrelated, −1 reversed."
OVERLAP = "Intersection over union of the brightest fifth of the area; 0.11 is what chance gives."


def _matrix_of_agreement(maps: Sequence[tuple[str, Explanation | str]]) -> None:
    """Rank correlation above the diagonal, overlap below it."""
    import pandas as pd

    count = len(maps)
    cells = [["·"] * count for _ in range(count)]
    for (i, (_, first)), (j, (_, second)) in combinations(enumerate(maps), 2):
        cells[i][j], cells[j][i] = map(number, _agreement_of(first, second))
    heads = [str(i + 1) for i in range(count)]
    table = pd.DataFrame(cells, columns=heads)
    table.insert(0, "map", [f"{i + 1}  {name}" for i, (name, _) in enumerate(maps)])
    st.markdown("**How much two maps agree**")
    st.dataframe(
        table,
        key="agreement",
        hide_index=True,
        row_height=28,
        column_config={
            "map": st.column_config.TextColumn("Column", width=130),
            **{head: st.column_config.TextColumn(head, width=44) for head in heads},
        },
    )
    st.caption(
        f"Above the diagonal rank correlation, {CORRELATION} Below it the overlap of the top "
        f"20 %: {OVERLAP[:1].lower()}{OVERLAP[1:]}"
    )


def chance_check(scene: Scene, choices: Sequence[Choice], target: str) -> None:
    """One line per map on whether it beats chance, computed once somebody asks for it."""
    checked = screen.current().checked
    if checked:
        for choice in choices:
            found = measurements.verdict(scene, choice, target)
            st.caption(f"**{plain(choice.name)}.** {plain(found.rstrip('.'))}.")
    st.button(
        "Do not check" if checked else "Better than chance?",
        key="check",
        type="tertiary",
        icon=":material/science:",
        help="Removes patches in the order of each map and compares with random orders, with the "
        "order from the center outward and with that of edges; the page Evidence shows the curves.",
        on_click=lambda: screen.change(checked=not checked),
    )


def times(
    choices: Sequence[Choice],
    maps: Sequence[tuple[str, Explanation | str]],
    recordings: Mapping[Model, Recording],
) -> None:
    """How long passes and maps took, as small print."""
    parts = []
    for model, recording in recordings.items():
        parts.append(f"{model.spec.title}: forward pass {1000 * recording.seconds:.0f} ms")
        for choice, (_, found) in zip(choices, maps, strict=True):
            if choice.model is model and isinstance(found, Explanation):
                what = ", ".join(filter(None, [found.title, choice.own]))
                parts[-1] += f", {what} {1000 * found.seconds:.0f} ms"
    st.caption(f"Time when it was first computed. {plain('; '.join(parts), 1000)}.")


def number(value: float, form: str = "{:.2f}") -> str:
    """A figure for a metric, or a dash where it is not defined."""
    return "–" if math.isnan(value) else form.format(value)


def matched(specs: Sequence[ModelSpec]) -> str:
    """Whether models were trained on the same data, and on what, for people."""
    first = specs[0]
    if len(specs) == 1:
        return f"Trained on {first.training}."
    if _all_match(specs):
        pair = "Matched pair: both" if len(specs) == 2 else f"Matched: all {len(specs)}"
        return f"{pair} trained on {first.training}."
    what = "Unmatched pair." if len(specs) == 2 else f"Not matched: {_which_match(specs)}"
    each = " ".join(f"{spec.title}: {spec.training}." for spec in specs)
    return f"{what} {each} Differences may come from the training data."


def _all_match(specs: Sequence[ModelSpec]) -> bool:
    return len(specs) > 1 and all(specs[0].matches(spec) for spec in specs[1:])


def _which_match(specs: Sequence[ModelSpec]) -> str:
    """Which of several models were trained on the same data, as a sentence."""
    groups: list[list[ModelSpec]] = []
    for spec in specs:
        group = next((one for one in groups if one[0].matches(spec)), None)
        if group is None:
            groups.append([spec])
        else:
            group.append(spec)
    alike = [" and ".join(one.title for one in group) for group in groups if len(group) > 1]
    if not alike:
        return "no two of them were trained on the same data."
    return f"the same data only for {'; '.join(alike)}."


def training_note(specs: Sequence[ModelSpec]) -> None:
    """What the models were trained on, and whether that allows a comparison of designs."""
    alike, two = _all_match(specs), len(specs) == 2
    if len(specs) == 1:
        verdict = "What this model was trained on"
    elif alike:
        pair = "Matched pair: both" if two else f"Matched: all {len(specs)}"
        verdict = f"{pair} were trained on the same data."
    elif two:
        verdict = (
            "Unmatched pair: not trained on the same data, so a difference between the maps is "
            "not a difference between architectures."
        )
    else:
        verdict = (
            f"Not matched: {plain(_which_match(specs))} Elsewhere a difference between the maps is "
            "not a difference between architectures."
        )
    left, right = st.columns([4, 2], vertical_alignment="center")
    with left, st.expander(verdict, icon=":material/school:"):
        for spec in specs:
            known = " ".join(filter(None, (_facts(spec), spec.note, spec.card.summary)))
            st.markdown(f"**{plain(spec.title)}**: {plain(known, 2000)}")
    if len(specs) > 1 and not alike and not locked():
        titles = " and ".join(find_spec(model_id).title for model_id in MATCHED_PAIR)
        right.button(
            "Use a matched pair",
            icon=":material/balance:",
            on_click=_choose_matched_pair,
            help=f"{titles}: both trained on ImageNet-1k with labels. Downloaded once.",
        )


def _choose_matched_pair() -> None:
    now = screen.current()
    pairs = zip(now.m, MATCHED_PAIR, strict=False)
    for model_id, other in pairs if len(now.m) == len(MATCHED_PAIR) else ():
        now = columns.instead(now, model_id, other, _alike(model_id, other))
    screen.become(now if now.m == MATCHED_PAIR else now.to(m=MATCHED_PAIR, look=(), row=()))


def _alike(model_id: str, other: str) -> bool:
    return find_spec(model_id).family == find_spec(other).family


def _facts(spec: ModelSpec) -> str:
    size = f"{spec.parameters:g} M parameters, " if spec.parameters else ""
    return f"{size}{spec.input_size} px, {spec.training}; license {spec.license}."
