"""Tabs of the Attention page that set two models side by side: channels, patch similarity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from core import (
    Model,
    ModelError,
    ParallaxError,
    Tap,
    VisionTransformer,
    heatmaps,
    representations,
)
from dashboard import cache, controls, figures, gather, measurements, panels, screen
from dashboard.attention_parts import THREE_QUARTERS, Float, grid_of_maps, percent, query_picker
from dashboard.controls import Display
from dashboard.scene import Scene
from dashboard.text import plain

MOST_CELLS = 56
"""Rows or columns up to which a map is drawn as it is."""

STRONGEST = 6
"""Channels that are shown small."""


@dataclass(frozen=True, eq=False)
class Features:
    """All channels of a tap of one model, (channels, rows, cols)."""

    model: Model
    tap: Tap
    values: Float

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of places."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def code(self) -> str:
        """The expression that makes them; see `dashboard.python_lines`."""
        return f"core.features(models[{self.model.spec.id!r}], view, {self.tap.name!r}, given)"

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """Channels, the one with the largest mean of absolute values first."""
        return representations.by_activity(self.values)


def _features(scene: Scene, model: Model, tap: str) -> Features:
    with st.spinner(f"Reading {tap} of {plain(model.spec.title)} …", show_time=True):
        return Features(model, model.tap(tap), cache.features(model.spec.id, scene, tap))


def _first_tap(model: Model, beside: Sequence[Model], view: Image.Image) -> str:
    """What is shown of a model at first.

    Of one with blocks what leaves the last; else the stage whose places are about as many as the
    patches of a model beside it, or the last stage where none has any.
    """
    if not model.taps:
        raise ModelError(model.limits)
    if isinstance(model, VisionTransformer):
        return last_output(model)
    size = (view.height, view.width)
    grids = [other.grid(size) for other in beside if isinstance(other, VisionTransformer)]
    stages = [layer.name for layer in model.layers]
    if not grids:
        return stages[-1]
    patches = np.prod(grids[0])
    return min(stages, key=lambda s: abs(np.log(np.prod(model.grid_of(s, size)) / patches)))


def _sides(scene: Scene) -> list[Model]:
    """Choose the two models whose features are shown: the first two, until others are."""
    ids, titles = scene.ids, {spec.id: spec.title for spec in scene.models}
    wanted = screen.current().sides
    for name in wanted:
        if name not in ids:
            screen.problem(f"sides has {name!r}, which is not among the models shown (m).")
    shown = [name for name in dict.fromkeys(wanted) if name in ids] or list(ids[:2])
    if len(ids) > 2:
        st.multiselect(
            "Models",
            list(ids),
            format_func=titles.__getitem__,
            max_selections=2,
            filter_mode="contains",
            select_all=False,
            help="Two of the models, side by side.",
            **screen.tied("sides", shown, lambda held: screen.change(sides=tuple(held))),
        )
    return [cache.model(name) for name in shown]


def _tried(act: Callable[[], Features]) -> Features | None:
    """Features, or in their place a sentence that says why there are none."""
    try:
        return act()
    except ParallaxError as error:
        st.info(plain(str(error)), icon=":material/visibility_off:")
        return None


def _coarse(values: Float) -> tuple[Float, str]:
    """A map small enough to draw, and a sentence if it had to be made smaller."""
    rows, cols = values.shape
    shrink = max(rows, cols) / MOST_CELLS
    if shrink <= 1:
        return values, ""
    size = (max(1, round(rows / shrink)), max(1, round(cols / shrink)))
    note = f"Drawn at {size[0]} × {size[1]} of {rows} × {cols} places."
    return heatmaps.resize(values, size), note


# -- channels -------------------------------------------------------------------------------------


def channels(scene: Scene, display: Display) -> None:
    """Any channel of one model beside any channel of another."""
    models = _sides(scene)
    view = cache.view(scene)
    sides: list[tuple[Features, int, controls.Feature]] = []
    left, *places = st.columns(1 + len(models), gap="medium")
    with left:
        st.caption(
            "Each map is one channel: how strongly one feature is present at every place. Red is "
            "positive, blue negative, and zero lies in the middle of the colors; channels that "
            "are never negative use the colors chosen under Display."
        )
        opacity = controls.slider("opacity", "Opacity of the maps", 0.0, 1.0, 0.05)
    for place, model in zip(places, models, strict=True):
        with place:
            feature, tap = _tap(scene, model, models, view)
            if found := _tried(lambda: _features(scene, model, tap)):  # noqa: B023 - called at once
                strongest = int(found.order[0])
                number = controls.channel_picker(feature, "Channel", found.tap, strongest)
                sides.append((found, number, feature))
    if not sides:
        return
    shown, notes = [figures.Panel("Picture", "as the models see it")], []
    maps = [found.values[channel] for found, channel, _ in sides]
    for (found, channel, _), values in zip(sides, maps, strict=True):
        small, note = _coarse(values)
        name = f"{found.model.spec.id} {found.tap.name} channel {channel}"
        gather.array(name, values, f"{found.code}[{channel}]")
        signed = bool(values.min() < 0)
        rivals = maps if signed else [m for m in maps if m.min() >= 0]
        low, high = display.limits(values, rivals, signed)
        rows, cols = found.grid
        shown.append(
            figures.Panel(
                f"{_name(found.tap)} · channel {channel}",
                f"{found.tap.meaning}, {rows} × {cols} places",
                small,
                low,
                high,
                display.unit("activation"),
                signed,
            )
        )
        notes.append(note)
    figure = figures.linked(
        view,
        shown,
        opacity=opacity,
        colors=display.colors,
        smooth=False,
    )
    alt = "; ".join(f"{panel.title}: {panel.subtitle}" for panel in shown)
    panels.fitted(figure, "channels", f"The picture and channels over it. {alt}", view, len(shown))
    places = st.columns(len(shown), gap="medium")[1:]
    for place, (found, channel, feature), note in zip(places, sides, notes, strict=True):
        with place:
            if note:
                st.caption(note)
            _strongest(found, channel, feature, view, display, opacity)


def _tap(
    scene: Scene, model: Model, beside: Sequence[Model], view: Image.Image
) -> tuple[controls.Feature, str]:
    """Choose the layer of a model."""
    feature = controls.feature_of(scene.ids.index(model.spec.id), model)
    word = "Block" if isinstance(model, VisionTransformer) else "Layer"
    label = f"{word} of {plain(model.spec.title)}"
    return feature, controls.tap_picker(feature, label, _first_tap(model, beside, view))


def last_output(vit: VisionTransformer) -> str:
    """The tap that the page begins with: what leaves the last block."""
    return f"{vit.layers[-1].name}.output"


def _name(tap: Tap) -> str:
    block, _, part = tap.name.rpartition(".")
    if part in controls.PARTS and block:
        return f"{block.replace('.', ' ').capitalize()}, {controls.PARTS[part]}"
    return controls.stage_title(tap.name).capitalize()


def _strongest(
    found: Features,
    channel: int,
    feature: controls.Feature,
    view: Image.Image,
    display: Display,
    opacity: float,
) -> None:
    """The most active channels, small; a click chooses one."""
    best = [int(i) for i in found.order[:STRONGEST]]
    maps = np.stack([_coarse(found.values[i])[0] for i in best])
    st.markdown("**Most active channels** · click one")
    grid_of_maps(
        maps,
        [str(i) for i in best],
        display,
        f"strongest-{feature.key}",
        f"The {len(best)} most active channels of {found.tap.name}",
        act=lambda index: feature.choose(found.tap.name, best[index]),
        marked=best.index(channel) if channel in best else None,
        columns=3,
        under=view,
        opacity=opacity,
        signed=bool(maps.min() < 0),
        width="(100cqi - 4rem) / 3",
    )


# -- similarity -----------------------------------------------------------------------------------


def similarity(scene: Scene, display: Display) -> None:
    """How alike a model represents a chosen patch and every other, and the same as colors."""
    models = _sides(scene)
    view = cache.view(scene)
    grid = measurements.grid_of(scene)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        patch = query_picker(view, grid, None)
        assert patch is not None
        opacity = controls.slider("opacity", "Opacity of the maps", 0.0, 1.0, 0.05)
    with right:
        found = []
        for place, model in zip(st.columns(len(models), gap="medium"), models, strict=True):
            with place:
                _, tap = _tap(scene, model, models, view)
                found.append(_tried(lambda: _features(scene, model, tap)))  # noqa: B023
        _alike([f for f in found if f is not None], patch, grid, view, display, opacity)


def _alike(
    sides: list[Features],
    patch: tuple[int, int],
    grid: tuple[int, int],
    view: Image.Image,
    display: Display,
    opacity: float,
) -> None:
    if not sides:
        return
    places = [_place(patch, grid, found.grid) for found in sides]
    maps = [
        representations.cosine_map(f.values, place) for f, place in zip(sides, places, strict=True)
    ]
    shown, colored = [], []
    for found, place, values in zip(sides, places, maps, strict=True):
        low, high = display.limits(values, maps)
        rows, cols = found.grid
        small, _ = _coarse(values)
        name = f"{found.model.spec.id} {found.tap.name}"
        code = f"representations.cosine_map({found.code}, {place!r})"
        gather.array(f"{name} cosine", values, code)
        shown.append(
            figures.Panel(
                f"{_name(found.tap)} · cosine",
                f"to row {place[0]}, column {place[1]} of {rows} × {cols} places",
                small,
                low,
                high,
                display.unit("cosine"),
                absolute=True,
            )
        )
        components, shares = representations.principal_components(found.values)
        code = f"representations.principal_components({found.code})[0]"
        gather.array(f"{name} components", components, code)
        colored.append(
            figures.Panel(
                f"{_name(found.tap)} · components",
                f"{' + '.join(percent(share) for share in shares)} of the variance",
                image=figures.from_colors(representations.component_colors(components), view),
            )
        )
    figure = figures.linked(view, shown, opacity=opacity, colors=display.colors, smooth=False)
    for i, (found, place) in enumerate(zip(sides, places, strict=True)):
        figures.mark_patch(figure, view, found.grid, place, i)
    alt = "; ".join(f"{panel.title} {panel.subtitle}" for panel in shown)
    what = f"Similarity to the chosen patch over the picture. {alt}"
    panels.fitted(figure, "cosines", what, view, len(shown), width=THREE_QUARTERS)
    st.caption(
        "Cosine between the features of the outlined place and those of every other: 1 is the "
        "same direction, 0 unrelated. On another grid the place is the one that holds the middle "
        "of the chosen patch."
    )
    figure = figures.linked(view, colored, bars=False)
    alt = "; ".join(f"{panel.title}: {panel.subtitle}" for panel in colored)
    what = f"Principal components of the features as colors. {alt}"
    panels.fitted(figure, "components", what, view, len(colored), width=THREE_QUARTERS)
    st.caption(
        "The first three principal components of the same features as red, green and blue: places "
        "of one color are represented alike. Each component runs from its 1st to its 99th "
        "percentile; colors of two models have nothing to do with each other."
    )


def _place(
    patch: tuple[int, int], grid: tuple[int, int], other: tuple[int, int]
) -> tuple[int, int]:
    """Where the middle of a patch lies in another grid over the same picture."""
    row, col = (int((i + 0.5) * n / m) for i, m, n in zip(patch, grid, other, strict=True))
    return row, col
