"""Tabs of the Evidence page that ask whether a map is true to its model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

import core
from core import Explanation, Faithfulness, Judgment, Model, Randomization
from dashboard import (
    cache,
    controls,
    drawing,
    evidence_figures,
    figures,
    measurements,
    rows,
    session,
)
from dashboard.choices import Choice, look_values
from dashboard.display import Display
from dashboard.evidence_parts import Asked, measure_button, unknown
from dashboard.looks import Look, texts
from dashboard.scales import ends_text, shared_limits
from dashboard.scene import Picture
from dashboard.several_pictures import offered_pictures
from dashboard.text import plain

CORNERS = ("upper left", "upper right", "lower left", "lower right")
"""Where the four pictures of a grid stand, row by row."""

FAINT = 0.01
"""Probability in the intact picture below which shares of it mean little."""


# -- is the map true ------------------------------------------------------------------------------


def curves(asked: Asked) -> None:
    """Deletion and insertion curves of chosen maps of every model, beside chance."""
    wide = [3] * len(asked.asked)
    columns = st.columns([*wide, 1], gap="medium", vertical_alignment="bottom")
    chosen = {}
    for column, model in zip(columns, asked.asked, strict=False):
        with column:
            chosen[model] = _maps_picker(asked, model)
    with columns[-1]:
        measure_button()
    if not session.screen().measured:
        st.info(
            "Patches are removed in the order of a map (deletion) or put back into the replaced "
            "picture (insertion), and the class's probability is read at each of "
            f"{measurements.STEPS} steps. Press **Measure**.",
            icon=":material/science:",
        )
        return
    found: dict[str, dict[str, Faithfulness]] = {}
    chance: dict[str, dict[str, list[Faithfulness]]] = {}
    for model in asked.models:
        for name, method, params in chosen[model]:
            one = measurements.curves(
                asked.scene, model.spec.id, method, asked.index(model), params, asked.fill
            )
            if isinstance(one, str):
                st.info(plain(f"{model.spec.title}: {one}"), icon=":material/visibility_off:")
            else:
                found.setdefault(model.spec.id, {})[name] = one
        chance[model.spec.id] = measurements.chance(
            asked.scene, model.spec.id, asked.index(model), asked.fill
        )
    marked = _marked(asked, found)
    with st.container(key="curves"):
        sides = st.columns(max(2, len(asked.models)), gap="medium")
    for column, model in zip(sides, asked.models, strict=False):
        model_id = model.spec.id
        with column:
            st.markdown(f"**{plain(model.spec.title)}** · {plain(asked.target)}")
            figure = evidence_figures.both_curves(
                found.get(model_id, {}),
                {name: ones for name, ones in chance[model_id].items() if ones},
                marked[1:] if marked and marked[0] == model_id else None,
            )
            drawing.clicked(
                figure,
                f"curves-{asked.number(model)}",
                f"Deletion and insertion curves of {model.spec.title}",
                partial(_step_of, model_id),
            )
            _areas(asked.number(model), found.get(model_id, {}), chance[model_id])
    if marked:
        _at_a_step(asked, found, marked)
    st.caption(
        "The area under deletion should be small and that under insertion large; shares are of the "
        "intact picture's probability. Random is the mean and the standard deviation of "
        f"{len(measurements.SEEDS)} draws. A map is better than chance if it is better than random "
        "order and than the order from the center outward, by more than 95 % of gaps between "
        "orders without meaning on this picture (Student's interval from the random orders); "
        "within that it is not distinguishable. A replaced patch is itself something to see, so "
        "compare maps with chance, not with 0 or 1. Of equally relevant patches the first in "
        "reading order goes first."
    )
    unknown(asked)


def _maps_picker(asked: Asked, model: Model) -> list[tuple[str, str, dict[str, Any]]]:
    """Which maps of a model are measured: those of its looks until others are chosen.

    Returns
    -------
    list of tuple
        A name that no other map of the model has, method and parameters.
    """
    model_id, offered = model.spec.id, {one.name: one.title for one in core.methods(model)}
    looks = [one for one in asked.choices if one.model is model and one.method is not None]
    listed = [look for look in map(Look.read, session.screen().maps) if look.model == model_id]
    for look in listed:
        if look.method not in offered:
            session.problem(f"maps has {look.text!r}, which {model.spec.title} does not offer.")
    wanted = {look.method: dict(look.parameters) for look in listed if look.method in offered}
    automatic = dict.fromkeys(one.method.name for one in looks if one.method)

    def choose(held: Sequence[str]) -> None:
        others = [one for one in map(Look.read, session.screen().maps) if one.model != model_id]
        kept = [
            next((one for one in listed if one.method == name), Look(model_id, name))
            for name in held
        ]
        session.change(maps=texts([*others, *kept]))

    st.multiselect(
        f"Maps of {plain(model.spec.title)}",
        list(offered),
        format_func=offered.__getitem__,
        max_selections=8,
        filter_mode="contains",
        select_all=False,
        help="A map that is chosen above keeps its parameters; others have their defaults.",
        **session.tied(f"maps-{asked.number(model)}", list(wanted or automatic), choose),
    )
    found: list[tuple[str, str, dict[str, Any]]] = []
    for name in wanted or automatic:
        own = [one for one in looks if one.method and one.method.name == name]
        for one in own:
            title = f"{offered[name]}, {one.own}" if one.own and len(own) > 1 else offered[name]
            found.append((title, name, one.values))
        if not own:
            method = core.find_method(name)
            values = look_values(f"maps.{name}", method, model, wanted.get(name, {}))
            found.append((offered[name], name, values))
    return found


def _areas(
    place: int,
    found: dict[str, Faithfulness],
    chance: dict[str, list[Faithfulness]],
) -> None:
    judged = {name: core.judged(one, chance) for name, one in found.items()}
    rows = [(name, [one]) for name, one in found.items()] + list(chance.items())
    figures_of = (
        "deletion_area",
        "deletion_share",
        "insertion_area",
        "insertion_share",
        "difference",
    )
    table = pd.DataFrame(
        [
            {"map": name}
            | {figure: np.mean([getattr(one, figure) for one in ones]) for figure in figures_of}
            | {"chance": _against_chance(judged[name]) if name in judged else ""}
            for name, ones in rows
            if ones
        ]
    )
    intact = next((ones[0].intact for _, ones in rows if ones), 1.0)
    if intact < FAINT:
        st.caption(
            f"The intact picture gives this class only {intact:.1%}, so shares say little here."
        )
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        key=f"areas-{place}",
        hide_index=True,
        row_height=28,
        column_config={
            "map": st.column_config.TextColumn("Map"),
            "deletion_area": number("Deletion", format="%.3f"),
            "insertion_area": number("Insertion", format="%.3f"),
            "deletion_share": number("÷ intact", format="%.2f", help="Deletion as share."),
            "insertion_share": number("÷ intact", format="%.2f", help="Insertion as share."),
            "difference": number(
                "Difference", format="%.2f", help="Insertion minus deletion, as shares."
            ),
            "chance": st.column_config.TextColumn(
                "Better than chance",
                help="Better than random order and than the order from the center outward, by more "
                "than the interval; how it compares with each is said.",
            ),
        },
    )


def _against_chance(judged: Judgment) -> str:
    """Whether a map beats chance, and how it compares with each order without meaning."""
    parts = [f"{one.title}: {one.verdict} (± {one.margin:.2f})" for one in judged.rivals]
    return f"{'yes' if judged.better else 'no'} · {' · '.join(parts)}"


def _marked(
    asked: Asked, found: dict[str, dict[str, Faithfulness]]
) -> tuple[str, str, str, int] | None:
    """Model, map, curve and step whose picture is shown; the last model's first to begin with."""
    known = {
        f"{model.spec.id}.{name}": (model.spec.id, name)
        for model in reversed(asked.models)
        for name in found.get(model.spec.id, {})
    }
    if not known:
        return None
    now = session.screen()
    if now.of is not None and now.of not in known:
        session.problem(
            f"of is {now.of!r}, which is not measured here; shown instead: {next(iter(known))}."
        )
    return *known.get(now.of or "", next(iter(known.values()))), now.curve, now.step


def _step_of(model_id: str, data: list[Any]) -> None:
    """Show the picture at the step of a curve that was clicked."""
    session.change(of=f"{model_id}.{data[0]}", curve=data[1], step=data[2])


def _at_a_step(
    asked: Asked, found: dict[str, dict[str, Faithfulness]], marked: tuple[str, str, str, int]
) -> None:
    model_id, name, curve, step = marked
    one = found[model_id][name]
    left, right = st.columns([1, 2], gap="medium")
    with left:
        picture = one.picture(step, curve)  # type: ignore[arg-type]
        st.image(picture, width="stretch", alt=f"The picture at step {step} of {curve}")
    with right:
        title = plain(core.find_spec(model_id).title)
        st.markdown(f"**{title}, {plain(name)}** · click a point of a curve")
        controls.segments("curve", "Curve", ("deletion", "insertion"))
        controls.slider("step", "Step", 0, one.steps, 1)
        share = one.fractions[step]
        word = "removed" if curve == "deletion" else "restored"
        st.metric(
            f"{asked.target}, {share:.0%} of the patches {word}", f"{getattr(one, curve)[step]:.1%}"
        )


# -- does it depend on what was learned -----------------------------------------------------------


def randomization(asked: Asked, display: Display) -> None:
    """Every chosen map as layer after layer of its model forgets what it learned."""
    columns = st.columns([6, 1], gap="medium", vertical_alignment="bottom")
    columns[0].caption(
        "Weights are drawn anew from the classifier down, each with the mean and the spread of "
        "what was learned, on a private copy. A map that stays the same does not depend on the "
        "model's weights; it may show edges of the picture instead (Adebayo 2018)."
    )
    with columns[1]:
        measure_button()
    if not session.screen().measured:
        return
    found, pairs = {}, []
    for number, choice in enumerate(asked.choices):
        one = measurements.learned(asked.scene, choice, asked.target, session.screen().seed)
        if isinstance(one, str):
            st.info(plain(f"{choice.model.spec.title}: {one}"), icon=":material/visibility_off:")
            continue
        name = ", ".join(filter(None, [choice.model.spec.title, one.original.title, choice.own]))
        found[name if name not in found else f"{name} ({number + 1})"] = one
        pairs.append((number, name, one))
    if not found:
        return
    drawing.chart(
        evidence_figures.correlations(found),
        "correlations",
        "Rank correlation with the original map over the depth of randomization",
    )
    for number, title, one in pairs:
        st.markdown(f"**{plain(title)}** · from the intact model on")
        maps = np.concatenate([one.original.relevance[None], one.relevance])
        names = ["intact", *one.depths]
        shape = (1, len(maps), *maps.shape[1:])
        limits = shared_limits(maps, display)
        figure = figures.mosaic(
            maps.reshape(shape),
            [""],
            [""] * len(maps),
            colors=display.colors,
            names=names,
            percentile=display.percentile,
            limits=limits,
            under=[cache.view(asked.scene)] * len(maps),
            opacity=display.opacity,
        )
        height = figures.mosaic_height(shape, "100cqi", named=True)
        drawing.sized(figure, f"depths-{number}", ", ".join(names), height)
        ends = ends_text(limits, display)
        said = [f"{ends[:1].upper()}{ends[1:]}.", _ceiling(one), *map(plain, one.original.notes)]
        st.caption(" ".join(filter(None, said)))
    st.caption(
        "A map that is zero everywhere: the class no longer depends on what the map reads. What is "
        "said of a map holds for the intact model."
    )


def _ceiling(one: Randomization) -> str:
    """How much two draws of a method agree where nothing was forgotten."""
    if one.ceiling is None:
        return ""
    return (
        f"{one.original.title} draws at random, and draws anew for each network: two draws on the "
        f"intact model correlate at {rows.number(one.ceiling)} (dashed), so no depth can be "
        "expected above that."
    )


# -- does it know the class -----------------------------------------------------------------------


def pointing(asked: Asked, display: Display) -> None:
    """Four pictures in one: is each class's map in its own quarter?"""
    pictures = _four()
    if len(pictures) != 4:
        st.info("Choose four pictures.", icon=":material/grid_view:")
        return
    for number, choice in enumerate(asked.choices):
        with st.spinner(f"Asking {choice.model.spec.title} …", show_time=True):
            found = measurements.in_a_grid(asked.scene, choice, pictures)
        if isinstance(found, str):
            st.info(plain(f"{choice.model.spec.title}: {found}"), icon=":material/visibility_off:")
            continue
        together, maps = found
        shares = [share for _, share in maps if not math.isnan(share)]
        mean = rows.number(float(np.mean(shares)) if shares else math.nan, "{:.0%}")
        st.markdown(
            f"**{plain(_title_of(choice, maps[0][0]))}** · {mean} in the right quarter "
            "on average; chance is 25 %"
        )
        rivals = [one.relevance for one, _ in maps]
        shown = [
            _quarter(one, share, place, rivals, display) for place, (one, share) in enumerate(maps)
        ]
        drawing.row(together, shown, display, f"pointing-{number}")
        for corner, (one, _) in zip(CORNERS, maps, strict=True):
            if one.notes:
                st.caption(f"**{corner.capitalize()}.** {plain(' '.join(one.notes))}")
    st.caption(
        "The share of a map's positive relevance in the quarter of the picture whose class it was "
        "asked for. The class is what the picture is known to show, else the model's first answer "
        "to it alone. In quarters pictures are half as large, which some models know less well."
    )


def _title_of(choice: Choice, made: Explanation) -> str:
    return ", ".join(filter(None, [choice.model.spec.title, made.title, choice.own]))


def _quarter(
    one: Explanation,
    share: float,
    place: int,
    rivals: Sequence[npt.NDArray[np.float32]],
    display: Display,
) -> figures.Panel:
    subtitle = f"{CORNERS[place]}: {rows.number(share, '{:.0%}')} of the map"
    unit, title = display.unit("relevance"), one.label or "no class"
    return rows.panel_of(one, one.relevance, rivals, display, title, subtitle, unit)


def _four() -> list[Picture]:
    """The four pictures: those of the screen, else the first that show different things."""
    wanted = session.screen().four
    by_id = offered_pictures(wanted, session.current().own)
    for name in wanted:
        if name not in by_id:
            session.problem(f"four has {name!r}, which is no picture here.")
    different: dict[str, str] = {}
    for picture in by_id.values():
        if picture.classes:
            different.setdefault(picture.classes[0], picture.id)
    shown = [name for name in wanted if name in by_id] or list(different.values())[:4]
    st.multiselect(
        "Four pictures",
        list(by_id),
        format_func=lambda name: by_id[name].name,
        max_selections=4,
        filter_mode="contains",
        select_all=False,
        **session.tied("four", shown, lambda held: session.change(four=tuple(held))),
    )
    return [by_id[name] for name in shown]
