"""The views of the Attention page. Each reads one recorded pass; none runs the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import streamlit as st

from core import PROJECTIONS, Attention, heatmaps
from dashboard import cache, collections, controls, figures, panels
from dashboard.controls import Display
from dashboard.state import Scene
from dashboard.text import plain

Patch = tuple[int, int] | None


def _layers(seen: Attention) -> list[str]:
    return [f"layer {i}" for i in range(seen.layers)]


def _heads(seen: Attention) -> list[str]:
    return [f"head {i}" for i in range(seen.heads)]


def _reader(seen: Attention, patch: Patch) -> str:
    if patch is not None:
        return f"patch in row {patch[0]}, column {patch[1]}"
    return seen.readout.text.removeprefix("the ")


def _query_picker(seen: Attention, scene: Scene, key: str) -> Patch:
    """The picture with a click target on every patch; returns the chosen query."""
    slot = f"_query-{key}-{scene.picture.digest}-{seen.grid}"
    chart_key = f"{key}-picture"

    def click() -> None:
        points = st.session_state[chart_key].selection.points
        if points:
            row, col = points[0]["customdata"][:2]
            st.session_state[slot] = (int(row), int(col))

    patch: Patch = st.session_state.get(slot)
    shown = figures.clickable(figures.picture(seen.view), seen.view, seen.grid)
    if patch is not None:
        figures.mark_patch(shown, seen.view, seen.grid, patch)
    shown.update_layout(height=panels.height_for(seen.view, 300, 8), margin={"b": 4})
    st.markdown(f"Query: **{_reader(seen, patch)}**")
    panels.chart(
        shown,
        chart_key,
        "The picture; click a patch to make it the query",
        on_select=click,
        selection_mode="points",
    )
    rows, cols = seen.grid
    st.caption(f"Click one of the {rows} × {cols} patches to make it the query.")
    if patch is not None and st.button(f"Back to the {_reader(seen, None)}", key=f"{key}-reset"):
        del st.session_state[slot]
        st.rerun()
    return patch


def _mosaic(
    maps: npt.NDArray[np.float32],
    rows: list[str],
    columns: list[str],
    display: Display,
    key: str,
    cell: int,
    *,
    colors: str | None = None,
) -> None:
    clip = (
        f", clipped at its {display.percentile:g}th percentile" if display.percentile < 100 else ""
    )
    limits = heatmaps.limits(maps, display.percentile) if display.shared else None
    unit = (
        f"one scale for all maps{clip}: {limits[0]:.2g} to {limits[1]:.2g}"
        if limits
        else f"each map from its own minimum to its maximum{clip}"
    )
    figure = figures.mosaic(
        maps,
        rows,
        columns,
        colors=colors or display.colors,
        percentile=display.percentile,
        unit=unit,
        limits=limits,
        cell=cell,
    )
    panels.chart(
        figure, key, f"Attention maps: {', '.join(rows[:3])} … by {', '.join(columns[:3])}"
    )


def all_layers(scene: Scene, seen: Attention, display: Display) -> None:
    """Layers × heads grid of one query, and the mass that no map shows."""
    left, right = st.columns([1, 3], gap="medium")
    with left:
        patch = _query_picker(seen, scene, "grid")
        maps = seen.mosaic(patch)
        _prefix_mass(seen, patch, 1.0 - maps.sum(axis=(2, 3)))
    with right:
        mean = maps.mean(axis=1, keepdims=True)
        _mosaic(
            np.concatenate([maps, mean], axis=1),
            _layers(seen),
            [*_heads(seen), "mean"],
            display,
            "grid-mosaic",
            84,
        )


def _prefix_mass(seen: Attention, patch: Patch, mass: npt.NDArray[np.float32]) -> None:
    if not seen.prefix:
        st.caption("This model has no class token or registers: no attention is hidden.")
        return
    st.markdown(f"**Attention on prefix tokens** · {mass.mean():.0%} in the mean")
    figure = figures.matrix(mass, _layers(seen), _heads(seen))
    panels.chart(figure, "prefix-mass", "Attention mass on prefix tokens by layer and head")
    st.caption(
        f"Share of the attention of the {_reader(seen, patch)} that falls on the {seen.prefix} "
        "prefix token(s): class token, registers. No map shows it. White is 0 %, darkest 100 %."
    )


def one_layer(scene: Scene, seen: Attention, display: Display) -> None:
    """One layer: every head, their mean, and the patches that hold most of the mass."""
    left, right = st.columns([1, 3], gap="medium")
    with left:
        layer = _layer_slider(seen, "one")
        mass = st.slider(
            "Mass of the mask",
            0.05,
            1.0,
            0.6,
            0.05,
            key="mass",
            persist_state="session",
            help="The smallest set of patches whose attention adds up to this share, per head.",
        )
        patch = _query_picker(seen, scene, "one")
    with right:
        maps = seen.maps(layer, patch)
        every = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
        names = [*_heads(seen), "mean"]
        st.markdown(f"**Layer {layer}, {_reader(seen, patch)}** · heads and their mean")
        _grid(every, names, display, "one-maps")
        _hidden(seen, 1.0 - float(maps.sum(axis=(1, 2)).mean()))
        masks = heatmaps.mass_mask(every, mass).astype(np.float32)
        st.markdown(f"**Smallest set of patches with {mass:.0%} of the attention on patches**")
        _grid(masks, names, display, "one-masks", masks=True)


def _grid(
    maps: npt.NDArray[np.float32], names: list[str], display: Display, key: str, masks: bool = False
) -> None:
    """Maps of one layer in rows of up to seven."""
    columns = min(7, len(maps))
    rows = -(-len(maps) // columns)
    padded = np.full((rows * columns, *maps.shape[1:]), np.nan, dtype=np.float32)
    padded[: len(maps)] = maps
    labels = [*names, *[""] * (rows * columns - len(names))]
    figure = figures.mosaic(
        padded.reshape(rows, columns, *maps.shape[1:]),
        [""] * rows,
        [""] * columns,
        colors="Greys_r" if masks else display.colors,
        names=labels,
        percentile=100.0 if masks else display.percentile,
        cell=126,
        unit="white: in the set" if masks else "each map from its minimum to its maximum",
        limits=(0.0, 1.0) if masks else None,
    )
    panels.chart(figure, key, "Masks per head" if masks else "Attention per head")


def _layer_slider(seen: Attention, key: str) -> int:
    last = seen.layers - 1
    return int(
        st.slider("Layer", 0, last, last, key=f"{key}-layer-{seen.layers}", persist_state="session")
    )


def _default_fusion(scene: Scene) -> str:
    """The head fusion that suits this model's rollout, from its catalog entry."""
    return str(scene.vit.defaults.get("rollout", {}).get("fusion", "mean"))


def joint_maps(scene: Scene, seen: Attention, display: Display) -> None:
    """The rollout product, stopped after every layer."""
    left, middle, _ = st.columns([2, 2, 3])
    with left:
        fusion = st.segmented_control(
            "Head fusion",
            ("mean", "max", "min"),
            default=_default_fusion(scene),
            key=f"joint-fusion-{scene.vit.id}",
            persist_state="session",
            required=True,
        )
    with middle:
        discard = st.slider(
            "Discard ratio", 0.0, 1.0, 0.0, 0.05, key="joint-discard", persist_state="session"
        )
    joints = seen.joints(fusion or "mean", discard)
    st.markdown(
        f"**Joint attention after each layer** · {fusion} fusion, discard {discard:g} · the "
        f"product of all layers up to that one, read at the {_reader(seen, None)}"
    )
    _grid(joints, _layers(seen), display, "joint-mosaic")
    _hidden(seen, 1.0 - float(joints[-1].sum()), "after the last layer")


def _hidden(seen: Attention, share: float, when: str = "in the mean over heads") -> None:
    if seen.prefix:
        st.caption(f"{share:.0%} of the mass falls on prefix tokens ({when}) and is not shown.")


def projections(scene: Scene, seen: Attention, display: Display) -> None:
    """Channels of queries, keys and values at each patch."""
    left, right = st.columns([1, 3], gap="medium")
    with left:
        layer = _layer_slider(seen, "projection")
        head = st.slider("Head", 0, seen.heads - 1, 0, key="projection-head")
        last = seen.channels - 1
        first = st.slider("First channel", 0, max(0, last - 6), 0, key="projection-channel")
        st.image(seen.view, width="stretch", caption="What the model sees")
    with right:
        channels = list(range(first, min(first + 7, seen.channels)))
        maps = np.stack(
            [[seen.projection(kind, layer, head, c) for c in channels] for kind in PROJECTIONS]
        )
        st.markdown(f"**Layer {layer}, head {head}** · channels through a sigmoid")
        figure = figures.mosaic(
            maps,
            list(PROJECTIONS),
            [f"channel {c}" for c in channels],
            colors="Greys_r",
            unit="bright: positive, dark: negative, mid-gray: zero",
            limits=(0.0, 1.0),
            cell=126,
        )
        panels.chart(figure, "projection-mosaic", "Query, key and value channels at each patch")


def several(scene: Scene, seen: Attention, display: Display) -> None:
    """Several pictures as columns against layers as rows, each with its top 5."""
    if scene.framing.fit == "whole":
        scene = replace(scene, framing=replace(scene.framing, fit="crop"))
        st.caption("Several pictures share one grid, so they are cropped here.")
    pictures = collections.choose(scene)
    if not pictures:
        st.info("Choose at least one picture.", icon=":material/collections:")
        return
    shown = st.segmented_control(
        "Map",
        ("mean of heads", "joint map"),
        default="mean of heads",
        key="several-map",
        persist_state="session",
        required=True,
    )
    fusion = _default_fusion(scene)
    if shown == "joint map":
        st.caption(f"Joint maps with {fusion} fusion and nothing discarded.")
    progress = st.progress(0.0, "Reading attention …")
    columns, predictions, hidden = [], [], []
    for i, picture in enumerate(pictures):
        attention = cache.attention(scene, picture)
        joint = shown == "joint map"
        maps = attention.joints(fusion) if joint else attention.mosaic().mean(axis=1)
        columns.append(maps)
        predictions.append(attention.prediction)
        hidden.append(1.0 - float(maps.sum(axis=(1, 2)).mean()))
        progress.progress(
            (i + 1) / len(pictures), f"{i + 1} of {len(pictures)}: {plain(picture.name)}"
        )
    progress.empty()
    for place, picture in zip(st.columns(len(pictures)), pictures, strict=True):
        place.image(cache.view(scene, picture), width="stretch", caption=plain(picture.name))
    maps = np.stack(columns, axis=1)
    _mosaic(
        maps,
        _layers(seen),
        [p.name for p in pictures],
        display,
        "several-mosaic",
        max(60, 640 // len(pictures)),
    )
    _hidden(seen, float(np.mean(hidden)), "in the mean over layers and pictures")
    places = st.columns(len(pictures))
    for i, (place, prediction) in enumerate(zip(places, predictions, strict=True)):
        with place:
            if prediction is not None:
                controls.top_classes(prediction, f"several-top-{i}", selectable=False)
