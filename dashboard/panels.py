"""Drawing of shared elements: heads of pages, rows of panels, charts, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from core import MATCHED_PAIR, Model, ModelSpec, Prediction, find_spec
from dashboard import cache, columns, controls, session
from dashboard.opening import Still
from dashboard.rows import Agreement, Row, number
from dashboard.screen import without_looks
from dashboard.settings import locked
from dashboard.text import plain
from dashboard.view import Figure

CHART: dict[str, Any] = {"displayModeBar": False, "scrollZoom": False}


def head(title: str, line: str, how: str, sources: str) -> Any:
    """One row: title, a one-line description, and a folded explanation.

    Returns the container of the row's buttons, for buttons of the page.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", key="head"):
        with st.container():
            st.title(title, anchor=False)
            st.caption(line)
        buttons = st.container(
            horizontal=True, vertical_alignment="bottom", width="content", key="head-buttons"
        )
    with buttons, st.popover("How to read this", icon=":material/menu_book:", width="content"):
        st.markdown(how)
        st.caption(f"Sources: {sources}")
    return buttons


def chart(
    figure: Figure,
    act: Callable[[list[Any]], None] | None = None,
    still: Still | None = None,
    **options: Any,
) -> Any:
    """Draw a figure.

    Parameters
    ----------
    act
        Called with the custom data of a clicked point.
    still
        Shown until the browser has drawn a figure with a height.
    options
        Further arguments of `streamlit.plotly_chart`.
    """
    if act is not None:
        options |= {"on_select": _clicked(f"{figure.key}-figure", act), "selection_mode": "points"}
    figure.figure.update_layout(font_color=session.text_color())
    if not figure.height:
        return _plot(figure, **options)
    places = f".st-key-{figure.key}, div:has(> .st-key-{figure.key})"
    rule = (
        f"height: {figure.height} !important; flex: 0 0 {figure.height} !important; "
        f"max-width: calc({figure.width or '100%'}); overflow: hidden;"
    )
    st.html(f"<style>{places} {{ {rule} }}</style>")
    with st.container(key=figure.key, height=400, border=False):
        drawn = _plot(figure, height="stretch", **options)
        if still is not None:  # last, so that the figure keeps its place in later runs
            st.html(still.html("below"))
        return drawn


def _plot(figure: Figure, **options: Any) -> Any:
    key = f"{figure.key}-figure"
    return st.plotly_chart(figure.figure, key=key, config=CHART, alt=figure.alt, **options)


def _clicked(key: str, act: Callable[[list[Any]], None]) -> Callable[..., None]:
    def call() -> None:
        points = session.held(key).selection.points
        if points:
            act(points[0]["customdata"])

    return session.guarded(call)


def row(made: Row, still: Still | None = None) -> None:
    """Draw a row of panels; a click on a corner, or a button, opens all in full screen.

    Parameters
    ----------
    still
        As in `chart`.
    """

    def enlarge(number: int) -> None:
        session.change(large=f"{made.key}.{number}")

    chart(made, lambda data: enlarge(data[0]), still)
    # Where the first panel is the picture, which has no color bar, the button takes its place.
    place = "below-picture" if made.panels[0].relevance is None else "below-row"
    with st.container(key=f"{place}-{made.key}"):
        st.button(
            "Full screen",
            icon=":material/fullscreen:",
            type="tertiary",
            key=f"{made.key}-open",
            on_click=session.guarded(lambda: enlarge(0)),
        )
    if made.opened is not None:
        from dashboard import lightbox  # only where it is needed

        lightbox.show(made)


def doubt(sentences: str) -> None:
    """Show why the maps explain little; see `dashboard.rows.doubt`."""
    if sentences:
        st.info(plain(sentences, 2000), icon=":material/help:")


def title(first: str, second: str) -> None:
    """Two short lines above a figure, so that figures side by side start level."""
    st.markdown(f"**{plain(first)}**  \n:small[{plain(second)}]")


def top_five(model: Model, prediction: Prediction | None, target: str, digest: str) -> None:
    """Heading and table of the first answers of one model; the class of this name is marked."""
    of_labels = prediction is not None and prediction.answer == "sigmoid"
    kind = "labels" if of_labels else "top 5"
    st.markdown(f"**{plain(model.spec.title)}** · {kind}")
    if prediction is None:
        st.caption("Trained without classes: no predictions, but its attention can be shown.")
        return
    # A table per picture and target, so that a selection never outlives its choice.
    key = f"top-{model.spec.id}-{digest[:12]}-{target}"
    controls.top_classes(prediction, key, f"{model.spec.title} · {kind}", target)


CORRELATION = "over the finer patch grid: 1 same order, 0 unrelated, −1 reversed."
OVERLAP = "Intersection over union of the brightest fifth of the area; 0.11 is the chance level."


def agreement(found: Agreement) -> None:
    """Show the agreement of maps: two numbers for two maps, a table of all pairs for more.

    Dashes mark missing maps; nothing is shown for a single map.
    """
    count = len(found.names)
    if count == 2:
        left, right = st.columns(2)
        left.metric(
            "Rank correlation",
            number(found.correlation[0, 1]),
            help=f"Spearman's, {CORRELATION}",
        )
        right.metric("Overlap of top 20 %", number(found.overlap[0, 1]), help=OVERLAP)
    elif count > 2:
        _matrix_of_agreement(found, count)


def _matrix_of_agreement(found: Agreement, count: int) -> None:
    """Rank correlation above the diagonal, overlap below it."""
    import pandas as pd

    cells = [["·"] * count for _ in range(count)]
    for i, j in found.correlation:
        cells[i][j], cells[j][i] = number(found.correlation[i, j]), number(found.overlap[i, j])
    heads = [str(i + 1) for i in range(count)]
    table = pd.DataFrame(cells, columns=heads)
    table.insert(0, "map", [f"{i + 1}  {name}" for i, name in enumerate(found.names)])
    st.markdown("**How much two maps agree**")
    st.dataframe(
        table,
        key="agreement",
        alt="How much two maps agree",
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


def matched(specs: Sequence[ModelSpec]) -> str:
    """Text on whether models were trained on the same data, and on which."""
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


def known_of(model: Model) -> str:
    """All that must be known of a model, once: facts, its card, how it was read, and its limits."""
    spec = model.spec
    said = [_facts(spec), spec.note, spec.card.summary, *model.remarks, model.limits]
    return " ".join(filter(None, said))


def training_note(models: Sequence[Model]) -> None:
    """What the models were trained on, whether that allows a comparison of designs, and what else
    must be known of each."""
    specs = [model.spec for model in models]
    alike, two = _all_match(specs), len(specs) == 2
    if len(specs) == 1:
        verdict = "What this model was trained on"
    elif alike:
        pair = "Matched pair: both" if two else f"Matched: all {len(specs)}"
        verdict = f"{pair} were trained on the same data."
    elif two:
        verdict = (
            "Unmatched pair: the models were not trained on the same data, so a difference "
            "between the maps cannot be attributed to the architectures."
        )
    else:
        verdict = (
            f"Not matched: {plain(_which_match(specs))} Of the other models a difference between "
            "the maps cannot be attributed to the architectures."
        )
    left, right = st.columns([4, 2], vertical_alignment="center")
    with left, st.expander(verdict, icon=":material/school:"):
        for model in models:
            st.markdown(f"**{plain(model.spec.title)}**: {plain(known_of(model), 3000)}")
    if len(specs) > 1 and not alike and not locked():
        offered = [find_spec(model_id) for model_id in MATCHED_PAIR]
        titles = " and ".join(spec.title for spec in offered)
        megabytes = 4 * sum(spec.parameters or 0 for spec in offered)
        right.button(
            "Use a matched pair",
            icon=":material/balance:",
            on_click=_choose_matched_pair,
            help=f"{titles}: both trained on ImageNet-1k with labels. Downloaded once, about "
            f"{megabytes:.0f} MB.",
        )


def _choose_matched_pair() -> None:
    now = session.screen()
    pairs = zip(now.shared.m, MATCHED_PAIR, strict=False)
    for model_id, other in pairs if len(now.shared.m) == len(MATCHED_PAIR) else ():
        now = columns.instead(now, model_id, other, _alike(model_id, other))
    if now.shared.m != MATCHED_PAIR:
        now = now.mapped(without_looks).to(m=MATCHED_PAIR)
    session.become(now)


def _alike(model_id: str, other: str) -> bool:
    return cache.spec(model_id).family == cache.spec(other).family


def _facts(spec: ModelSpec) -> str:
    size = f"{spec.parameters:g} M parameters, " if spec.parameters else ""
    if spec.source != "local" or "input_size" in spec.stated:  # otherwise its file states it
        size += f"{spec.input_size} px, "
    return f"{size}{spec.training}; license {spec.license}."
