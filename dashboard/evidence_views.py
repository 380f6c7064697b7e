"""Tabs of the Evidence page: each asks both models one question about the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st
from PIL import Image

import core
from core import CHANGES, FILLS, Explanation, Faithfulness, Model, Prediction, heatmaps
from dashboard import cache, controls, evidence_figures, figures, measurements, panels, screen
from dashboard.collections import offered_pictures
from dashboard.controls import Choice, Display
from dashboard.scene import Picture, Scene
from dashboard.text import plain

Mask = npt.NDArray[np.bool_]

TAKEN = {
    "vit": "Top of the ViT's map",
    "cnn": "Top of the CNN's map",
    "patches": "Patches you choose",
}
"""What can be taken away; the other changes are of the picture as a whole."""

PERCENT = st.column_config.NumberColumn(format="percent")


@dataclass(frozen=True, eq=False)
class Asked:
    """What the page asks about: the pair's maps, the class, what replaces what is removed."""

    scene: Scene
    choices: tuple[Choice, Choice]
    target: str
    fill: str

    @property
    def models(self) -> list[Model]:
        """Those of the pair that know the class."""
        return [c.model for c in self.choices if self.target in c.model.labels]

    def index(self, model: Model) -> int:
        """Of the class in a model's labels."""
        return controls.index_of(model, self.target)


def fill_picker() -> str:
    """Choose what replaces what is removed."""
    return str(
        controls.select(
            "fill",
            "Replaced by",
            list(FILLS),
            format_func={
                "blur": "blurred picture",
                "mean": "mean color",
                "black": "black",
                "noise": "noise",
            }.__getitem__,
            help="The same for both models: "
            + "; ".join(f"**{name}**: {text}" for name, text in FILLS.items()),
        )
    )


def unknown(asked: Asked) -> None:
    """Say which of the models cannot be asked for the class."""
    for choice in asked.choices:
        if choice.model not in asked.models:
            st.info(
                plain(f"{choice.model.spec.title} knows no class {asked.target!r}: not asked."),
                icon=":material/block:",
            )


# -- take it away ---------------------------------------------------------------------------------


def removal(asked: Asked) -> None:
    """Take parts away, or change the picture as a whole, and see both answers."""
    scene = asked.scene
    left, right = st.columns([2, 3], gap="medium")
    with left:
        titles = TAKEN | {name: change.title for name, change in CHANGES.items()}
        change = str(
            controls.select(
                "change",
                "What is changed",
                list(titles),
                format_func=titles.__getitem__,
                help="The first three take parts away, the others change the picture as a whole. "
                "Both models always get the same picture.",
            )
        )
        seed = screen.current().seed
        if change in TAKEN:
            removed = _removed(asked, change)
            if removed is None:
                return
            shown = core.without(cache.view(scene), removed, asked.fill, seed)
            _patches(scene, shown, removed)
        else:
            strength = _strength(change, cache.view(scene))
            if change in ("shuffle", "drop"):
                seed = controls.number("seed", "Seed", 0, 9999)
            shown = core.changed(
                cache.view(scene), change, strength, seed, measurements.grid_of(scene)
            )
            st.image(shown, width="stretch", alt="The changed picture, as both models get it")
    with right:
        answers = []
        with st.spinner("Asking both models …"):
            for model in asked.models:
                model_id = model.spec.id
                before = cache.recording(model_id, scene).predictions()[0]
                if change in TAKEN:
                    after = measurements.taken_away(scene, model_id, removed, asked.fill, seed)
                else:
                    after = measurements.changed(scene, model_id, change, strength, seed)
                answers.append((model, before, after))
        for column, (model, before, after) in zip(
            st.columns(2, gap="medium"), answers, strict=False
        ):
            with column:
                _before_and_after(model, before, after, asked.target)
        if change not in TAKEN:
            found = {
                model.spec.title: measurements.robustness(
                    scene, model.spec.id, change, asked.index(model), seed
                )
                for model in asked.models
            }
            figure = evidence_figures.strengths(found, CHANGES[change].meaning, strength)
            st.markdown(f"**{plain(asked.target)}** as the change grows")
            panels.chart(figure, "strengths", "Probability of the class over the strength")
            st.caption(
                "Hollow: the first answer is no longer that of the whole picture. One draw for "
                "each strength; another seed moves the curve."
            )
    unknown(asked)


def _removed(asked: Asked, change: str) -> Mask | None:
    """The patches that are taken away, or a sentence in their place."""
    grid = measurements.grid_of(asked.scene)
    if change == "patches":
        mask = screen.current().mask
        if mask is None or mask.shape == grid:
            return np.zeros(grid, bool) if mask is None else mask
        screen.problem(
            f"removed is for {mask.shape[0]} × {mask.shape[1]} patches, but this picture has "
            f"{grid[0]} × {grid[1]}; nothing is taken away."
        )
        return np.zeros(grid, bool)
    share = float(
        controls.slider(
            "top",
            "Share that is taken away",
            0.01,
            1.0,
            0.01,
            help="The patches of the highest relevance; of equal ones the first in reading order.",
        )
    )
    choice = asked.choices[0 if change == "cnn" else 1]
    found = panels.made(choice, asked.scene, asked.target)
    if isinstance(found, str):
        st.info(plain(found), icon=":material/visibility_off:")
        return None
    values = heatmaps.resize(found.relevance, grid)
    st.caption(f"{found.title} of {found.label or 'no class'}, {choice.model.spec.title}.")
    return heatmaps.top_area(values, share)


def _patches(scene: Scene, shown: Image.Image, removed: Mask) -> None:
    """The picture as the models get it; a click, a box or the keyboard changes what is removed."""
    rows, cols = removed.shape
    figure = figures.clickable(figures.picture(shown), shown, (rows, cols))
    figure.update_layout(dragmode="select", margin={"b": 4})

    def write(mask: Mask) -> None:
        screen.change(change="patches", removed=screen.current().of_mask(mask))

    def pick() -> None:
        places = [p["customdata"] for p in screen.held("patches-figure").selection.points]
        if not places:
            return
        mask, index = removed.copy(), tuple(np.array(places, int)[:, :2].T)
        mask[index] = not mask[index].all()
        write(mask)

    panels.sized(
        figure,
        "patches",
        f"The picture without {int(removed.sum())} of its {removed.size} patches",
        f"(100cqi - 2rem) * {0.4 * shown.height / shown.width:.4f} + 8px",
        on_select=pick,
        selection_mode=("points", "box"),
    )
    st.caption(
        f"{int(removed.sum())} of {removed.size} patches are taken away. Click a patch to take it "
        "away or put it back; drag a box over several."
    )
    row, col = screen.current().patch or (rows // 2, cols // 2)
    row, col = min(row, rows - 1), min(col, cols - 1)
    boxes = st.columns([1, 1, 2], gap="small", vertical_alignment="bottom")
    boxes[0].number_input(
        "Row",
        0,
        rows - 1,
        **screen.tied("patch-row", row, lambda held: screen.change(query=f"r{held}c{col}")),
    )
    boxes[1].number_input(
        "Column",
        0,
        cols - 1,
        **screen.tied("patch-column", col, lambda held: screen.change(query=f"r{row}c{held}")),
    )

    def toggle() -> None:
        mask = removed.copy()
        mask[row, col] = not mask[row, col]
        write(mask)

    boxes[2].button(
        "Put it back" if removed[row, col] else "Take it away",
        key="patch-toggle",
        width="stretch",
        on_click=toggle,
    )
    st.button(
        "Put everything back",
        key="patch-clear",
        icon=":material/restart_alt:",
        disabled=not removed.any(),
        on_click=lambda: write(np.zeros_like(removed)),
    )


def _strength(change: str, view: Image.Image) -> float:
    """Choose how far the picture is changed."""
    known = CHANGES[change]
    options = [s for s in known.strengths if s <= known.highest(view)]
    wanted = screen.current().strength
    value = wanted if wanted in options else options[len(options) // 2]
    if wanted is not None and wanted not in options:
        screen.problem(f"strength is {wanted:g}, which {known.title!r} does not offer here.")
    found: float = st.select_slider(
        f"{known.meaning[:1].upper()}{known.meaning[1:]}",
        options,
        format_func=lambda s: f"{s:.3g}",
        **screen.bound("strength", value),
    )
    return found


def _before_and_after(model: Model, before: Prediction, after: Prediction, target: str) -> None:
    index = controls.index_of(model, target)
    was, now = before.probability(index), after.probability(index)
    st.metric(
        f"{model.spec.title} · {target}",
        f"{now:.1%}",
        f"{100 * (now - was):+.1f} points",
        help="Probability of the class in the changed picture, and its change.",
    )
    names = list(dict.fromkeys([*after.labels, *before.labels]))
    table = pd.DataFrame(
        {
            "class": [f"{'● ' if name == target else ''}{name}" for name in names],
            "before": [before.probability(model.labels.index(name)) for name in names],
            "after": [after.probability(model.labels.index(name)) for name in names],
        }
    ).sort_values("after", ascending=False, kind="stable")
    bar: dict[str, Any] = {"min_value": 0.0, "max_value": 1.0, "format": "percent"}
    st.dataframe(
        table,
        key=f"answers-{model.spec.family}",
        hide_index=True,
        row_height=28,
        column_config={
            "class": st.column_config.TextColumn("Class"),
            "before": st.column_config.NumberColumn("Before", format="percent", width=72),
            "after": st.column_config.ProgressColumn("After", width=92, **bar),
        },
    )


# -- is the map true ------------------------------------------------------------------------------


def curves(asked: Asked) -> None:
    """Deletion and insertion curves of chosen maps of both models, beside chance."""
    columns = st.columns([3, 3, 1], gap="medium", vertical_alignment="bottom")
    chosen = {}
    for column, choice in zip(columns, asked.choices, strict=False):
        with column:
            chosen[choice.model.spec.id] = _maps_picker(choice)
    with columns[2]:
        _measure_button()
    if not screen.current().measured:
        st.info(
            "Patches are removed in the order of a map (deletion) or put back into the replaced "
            "picture (insertion), and the class's probability is read at each of "
            f"{measurements.STEPS} steps. Press **Measure**.",
            icon=":material/science:",
        )
        return
    found: dict[str, dict[str, Faithfulness]] = {}
    chance: dict[str, dict[str, list[Faithfulness]]] = {}
    for choice in asked.choices:
        model = choice.model
        if model not in asked.models:
            continue
        for name in chosen[model.spec.id]:
            params = choice.values if choice.method and choice.method.name == name else {}
            one = measurements.curves(
                asked.scene, model.spec.id, name, asked.index(model), params, asked.fill
            )
            if isinstance(one, str):
                st.info(plain(f"{model.spec.title}: {one}"), icon=":material/visibility_off:")
            else:
                found.setdefault(model.spec.id, {})[core.find_method(name).title] = one
        chance[model.spec.id] = measurements.chance(
            asked.scene, model.spec.id, asked.index(model), asked.fill
        )
    marked = _marked(asked, found)
    for column, model in zip(st.columns(2, gap="medium"), asked.models, strict=False):
        model_id = model.spec.id
        with column:
            st.markdown(f"**{model.spec.title}** · {plain(asked.target)}")
            figure = evidence_figures.both_curves(
                found.get(model_id, {}),
                {name: ones for name, ones in chance[model_id].items() if ones},
                marked[1:] if marked and marked[0] == model.spec.family else None,
            )
            panels.clicked(
                figure,
                f"curves-{model.spec.family}",
                f"Deletion and insertion curves of {model.spec.title}",
                lambda data, family=model.spec.family: screen.change(
                    of=f"{family}.{data[0]}", curve=data[1], step=data[2]
                ),
            )
            _areas(model, found.get(model_id, {}), chance[model_id])
    if marked:
        _at_a_step(asked, found, marked)
    st.caption(
        "The area under deletion should be small and that under insertion large; shares are of the "
        "intact picture's probability. Random is the mean and the standard deviation of "
        f"{len(measurements.SEEDS)} draws. A replaced patch is itself something to see, so compare "
        "maps with chance, not with 0 or 1. Of equally relevant patches the first in reading order "
        "goes first."
    )
    unknown(asked)


def _maps_picker(choice: Choice) -> list[str]:
    """Which maps of a model are measured: the chosen one until others are."""
    model, field = choice.model, f"{choice.model.spec.family}_maps"
    offered = {method.name: method.title for method in core.methods(model)}
    automatic = [choice.method.name] if choice.method else []
    wanted = getattr(screen.current(), field)
    for name in wanted:
        if name not in offered:
            screen.problem(f"{field} has {name!r}, which {model.spec.title} does not offer.")
    shown = [name for name in wanted if name in offered] or automatic
    st.multiselect(
        f"Maps of {model.spec.title}",
        list(offered),
        format_func=offered.__getitem__,
        max_selections=8,
        filter_mode="contains",
        select_all=False,
        help="The map that is chosen above keeps its parameters; others have their defaults.",
        **screen.tied(field, shown, lambda held: screen.change(**{field: tuple(held)})),
    )
    return shown


def _measure_button() -> None:
    measured = screen.current().measured
    st.button(
        "Stop" if measured else "Measure",
        key="measure",
        type="secondary" if measured else "primary",
        icon=":material/stop:" if measured else ":material/play_arrow:",
        width="stretch",
        help="Ends what is computed; what is finished stays known." if measured else None,
        on_click=lambda: screen.change(measured=not measured),
    )


def _areas(
    model: Model,
    found: dict[str, Faithfulness],
    chance: dict[str, list[Faithfulness]],
) -> None:
    rows = [(name, [one]) for name, one in found.items()] + list(chance.items())
    figures_of = (
        "deletion_area",
        "insertion_area",
        "deletion_share",
        "insertion_share",
        "difference",
    )
    table = pd.DataFrame(
        [
            {"map": name}
            | {figure: np.mean([getattr(one, figure) for one in ones]) for figure in figures_of}
            for name, ones in rows
            if ones
        ]
    )
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        key=f"areas-{model.spec.family}",
        hide_index=True,
        row_height=28,
        column_config={
            "map": st.column_config.TextColumn("Map"),
            "deletion_area": number("Deletion", format="%.3f"),
            "insertion_area": number("Insertion", format="%.3f"),
            "deletion_share": number("Deletion, share", format="%.2f"),
            "insertion_share": number("Insertion, share", format="%.2f"),
            "difference": number(
                "Difference", format="%.2f", help="Insertion minus deletion, as shares."
            ),
        },
    )


def _marked(
    asked: Asked, found: dict[str, dict[str, Faithfulness]]
) -> tuple[str, str, str, int] | None:
    """Family, map, curve and step whose picture is shown; the ViT's first map to begin with."""
    known = {
        f"{model.spec.family}.{name}": (model.spec.family, name)
        for model in reversed(asked.models)
        for name in found.get(model.spec.id, {})
    }
    if not known:
        return None
    now = screen.current()
    if now.of is not None and now.of not in known:
        screen.problem(
            f"of is {now.of!r}, which is not measured here; shown instead: {next(iter(known))}."
        )
    return *known.get(now.of or "", next(iter(known.values()))), now.curve, now.step


def _at_a_step(
    asked: Asked, found: dict[str, dict[str, Faithfulness]], marked: tuple[str, str, str, int]
) -> None:
    family, name, curve, step = marked
    model = next(model for model in asked.models if model.spec.family == family)
    one = found[model.spec.id][name]
    left, right = st.columns([1, 2], gap="medium")
    with left:
        picture = one.picture(step, curve)  # type: ignore[arg-type]
        st.image(picture, width="stretch", alt=f"The picture at step {step} of {curve}")
    with right:
        st.markdown(f"**{model.spec.title}, {plain(name)}** · click a point of a curve")
        controls.segments("curve", "Curve", ("deletion", "insertion"))
        controls.slider("step", "Step", 0, one.steps, 1)
        share = one.fractions[step]
        word = "removed" if curve == "deletion" else "restored"
        st.metric(
            f"{asked.target}, {share:.0%} of the patches {word}", f"{getattr(one, curve)[step]:.1%}"
        )


# -- does it depend on what was learned -----------------------------------------------------------


def randomization(asked: Asked, display: Display) -> None:
    """Maps of both models as layer after layer forgets what it learned."""
    columns = st.columns([6, 1], gap="medium", vertical_alignment="bottom")
    columns[0].caption(
        "Weights are drawn anew from the classifier down, each with the mean and the spread of "
        "what was learned, on a private copy. A map that stays the same does not depend on the "
        "model's weights; it may show edges of the picture instead (Adebayo 2018)."
    )
    with columns[1]:
        _measure_button()
    if not screen.current().measured:
        return
    found, pairs = {}, []
    for choice in asked.choices:
        one = measurements.learned(asked.scene, choice, asked.target, screen.current().seed)
        if isinstance(one, str):
            st.info(plain(f"{choice.model.spec.title}: {one}"), icon=":material/visibility_off:")
            continue
        found[f"{choice.model.spec.title}, {one.original.title}"] = one
        pairs.append((choice.model, one))
    if not found:
        return
    panels.chart(
        evidence_figures.correlations(found),
        "correlations",
        "Rank correlation with the original map over the depth of randomization",
    )
    for model, one in pairs:
        st.markdown(f"**{model.spec.title}, {one.original.title}** · from the whole model on")
        maps = np.concatenate([one.original.relevance[None], one.relevance])
        names = ["intact", *one.depths]
        shape = (1, len(maps), *maps.shape[1:])
        figure = figures.mosaic(
            maps.reshape(shape),
            [""],
            [""] * len(maps),
            colors=display.colors,
            names=names,
            percentile=display.percentile,
            under=[cache.view(asked.scene)] * len(maps),
            opacity=display.opacity,
        )
        height = figures.mosaic_height(shape, "100cqi", named=True)
        panels.sized(figure, f"depths-{model.spec.family}", ", ".join(names), height)
    st.caption(
        "Each map has its own scale. A map that is zero everywhere: the class no longer depends on "
        "what the map reads."
    )


# -- does it know the class -----------------------------------------------------------------------


def pointing(asked: Asked, display: Display) -> None:
    """Four pictures in one: is each class's map in its own quarter?"""
    pictures = _four()
    if len(pictures) != 4:
        st.info("Choose four pictures.", icon=":material/grid_view:")
        return
    for choice in asked.choices:
        with st.spinner(f"Asking {choice.model.spec.title} …", show_time=True):
            found = measurements.in_a_grid(asked.scene, choice, pictures)
        if isinstance(found, str):
            st.info(plain(f"{choice.model.spec.title}: {found}"), icon=":material/visibility_off:")
            continue
        together, maps = found
        mean = float(np.nanmean([share for _, share in maps]))
        st.markdown(
            f"**{choice.model.spec.title}, {maps[0][0].title}** · {mean:.0%} in the right quarter "
            "on average; chance is 25 %"
        )
        shown = [_quarter(one, share, place, display) for place, (one, share) in enumerate(maps)]
        panels.row(together, shown, display, f"pointing-{choice.model.spec.family}")
    st.caption(
        "The share of a map's positive relevance in the quarter of the picture whose class it was "
        "asked for. The class is what the picture is known to show, else the model's first answer "
        "to it alone. In quarters pictures are half as large, which some models know less well."
    )


def _quarter(one: Explanation, share: float, place: int, display: Display) -> figures.Panel:
    corner = ("upper left", "upper right", "lower left", "lower right")[place]
    low, high = display.limits(one.relevance)
    signed = bool(one.signed and one.relevance.min() < 0)
    if signed:
        high = float(np.percentile(np.abs(one.relevance), display.percentile)) or 1.0
        low = -high
    return figures.Panel(
        one.label or "no class",
        f"{corner}: {panels.number(share, '{:.0%}')} of the map",
        one.relevance,
        low,
        high,
        display.unit("relevance"),
        signed,
    )


def _four() -> list[Picture]:
    """The four pictures: those of the screen, else the first of different classes."""
    wanted = screen.current().four
    by_id = offered_pictures(wanted)
    for name in wanted:
        if name not in by_id:
            screen.problem(f"four has {name!r}, which is no picture here.")
    automatic: dict[str, str] = {}
    for picture in by_id.values():
        if len(picture.classes) == 1:
            automatic.setdefault(picture.classes[0], picture.id)
    shown = [name for name in wanted if name in by_id] or list(automatic.values())[:4]
    st.multiselect(
        "Four pictures",
        list(by_id),
        format_func=lambda name: by_id[name].name,
        max_selections=4,
        filter_mode="contains",
        select_all=False,
        **screen.tied("four", shown, lambda held: screen.change(four=tuple(held))),
    )
    return [by_id[name] for name in shown]
