"""Tabs of the Attention page that show attention itself. None runs the network for a choice."""

from __future__ import annotations

import numpy as np
import streamlit as st

from core import Attention, ModelError, VisionTransformer, heatmaps
from dashboard import cache, controls, figures, gather, panels, screen
from dashboard.attention_parts import (
    THREE_QUARTERS,
    Float,
    Patch,
    beside,
    chosen_patch,
    ends_text,
    grid_of_maps,
    layer_names,
    layer_slider,
    percent,
    prefix_names,
    prefix_text,
    query_picker,
    reader,
    shared_limits,
)
from dashboard.controls import Display
from dashboard.pointer import pointed_patches
from dashboard.scene import Scene
from dashboard.text import ordinal

MOST_TOKENS = 1500
"""Tokens up to which a whole attention matrix is sent to the browser."""


# -- layers × heads -------------------------------------------------------------------------------


def all_layers(scene: Scene, display: Display) -> None:
    """All layers and heads for one query, and the attention that no map shows."""
    attention, model = _attention(scene)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        patch = query_picker(attention.view, attention.grid, attention.readout)
        maps = attention.mosaic(patch)
        gather.array("attention layers heads", maps, f"attention.mosaic({patch!r})")
        _prefix_table(model, patch, 1.0 - maps.sum(axis=(2, 3)))
    with right:
        _every_map(attention, maps, patch, display)


NONE_HAS_ATTENTION = (
    "None of the models has attention that this page shows; add a vision transformer at the side, "
    "or look at Channels or Patch similarity."
)


def transformers(scene: Scene) -> dict[str, VisionTransformer]:
    """The models of a scene that have attention, by id."""
    opened = map(cache.model, scene.ids)
    return {model.spec.id: model for model in opened if isinstance(model, VisionTransformer)}


def transformer(scene: Scene) -> VisionTransformer:
    """The one whose attention is shown: the first until another is chosen.

    Raises
    ------
    ModelError
        None of the models has attention.
    """
    offered = transformers(scene)
    if not offered:
        limits = [model.limits for model in map(cache.model, scene.ids) if model.limits]
        raise ModelError(" ".join([NONE_HAS_ATTENTION, *limits]))
    wanted = screen.current().transformer
    if wanted is not None and wanted not in offered:
        screen.problem(
            f"transformer is {wanted!r}, which is not among the vision transformers shown (m); "
            f"shown instead: {next(iter(offered))}."
        )
    found = offered.get(wanted or "", next(iter(offered.values())))
    gather.attended(found.spec.id)
    return found


def _attention(scene: Scene) -> tuple[Attention, VisionTransformer]:
    model = transformer(scene)
    with st.spinner("Running the ViT …", show_time=True):
        return cache.attention(model.spec.id, scene), model


def _every_map(attention: Attention, maps: Float, patch: Patch, display: Display) -> None:
    shown = np.concatenate([maps, maps.mean(axis=1, keepdims=True)], axis=1)
    rows = layer_names(attention.layers)
    columns = [*layer_names(attention.heads, "head"), "mean"]
    limits = shared_limits(shown.reshape(-1, *attention.grid), display)
    figure = figures.mosaic(
        shown,
        rows,
        columns,
        colors=display.colors,
        percentile=display.percentile,
        limits=limits,
    )
    texts = [
        f"{row}, {column}: {_peak(tile)}<br>click to see it large"
        for row, tiles in zip(rows, shown, strict=True)
        for column, tile in zip(columns, tiles, strict=True)
    ]
    figures.openable(figure, shown.shape, texts, size=80)
    heads = attention.heads

    def open_map(number: int) -> None:
        layer, head = divmod(number, heads + 1)
        screen.change(tab="layer", layer=layer, head=None if head == heads else head)

    st.caption(
        f"How much {reader(attention.readout, patch)} attends to every patch, in each layer (from "
        "top to bottom) and head (from left to right). Click a map to see it large."
    )
    panels.clicked(
        figure,
        "grid-maps",
        f"Attention of {reader(attention.readout, patch)} in {attention.layers} layers and "
        f"{heads} heads, with the mean over the heads in the last column",
        lambda data: open_map(int(data[0])),
        figures.mosaic_height(
            shown.shape, THREE_QUARTERS, cell=max(40, min(84, 1080 // attention.layers))
        ),
    )
    text = ends_text(limits, display)
    st.caption(f"{text[:1].upper()}{text[1:]}.")


def _peak(tile: Float) -> str:
    row, col = np.unravel_index(int(tile.argmax()), tile.shape)
    return f"most at row {row}, column {col} ({tile.max():.1%})"


def _prefix_table(model: VisionTransformer, patch: Patch, shares: Float) -> None:
    """How much falls on tokens without a place, per layer and head."""
    if not model.prefix:
        st.caption("This model has patches only, so the maps show all of its attention.")
        return
    names = prefix_text(model)
    st.markdown(f"**Attention to the {names}** · {percent(shares.mean())} on average")
    figure = figures.matrix(shares, layer_names(model.depth), layer_names(model.heads, "head"))
    panels.chart(figure, "prefix-table", f"Share of the attention to the {names} by layer and head")
    st.caption(
        f"Columns are heads. The lightest color is 0 %, the darkest 100 %. This share of what "
        f"{reader(model.readout, patch)} attends to has no place in the picture, so the maps leave "
        "it out."
    )


# -- one layer ------------------------------------------------------------------------------------


def one_layer(scene: Scene, display: Display) -> None:
    """One layer: a head or their mean large, all of them small, and the patches that matter."""
    attention, model = _attention(scene)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        layer = layer_slider(attention)
        head = _head_picker(attention)
        whole = controls.toggle(
            "matrix",
            "Matrix",
            help="How much every token attends to every other, instead of one query's map.",
        )
        patch = query_picker(attention.view, attention.grid, attention.readout, by_click=not whole)
        if whole:
            pointed_patches(attention.view, attention.grid, attention.prefix, "attention-matrix")
        else:
            mass = controls.slider(
                "mass",
                "Attention in the mask",
                0.05,
                1.0,
                0.05,
                help="The mask is the smallest set of patches that holds this share of the "
                "attention to patches.",
            )
            opacity = controls.slider("opacity", "Opacity of the maps", 0.0, 1.0, 0.05)
    with right:
        if whole:
            _matrix(attention, model, layer, head, patch, display)
        else:
            _one_query(attention, model, layer, head, patch, display, mass, opacity)


def _head_picker(attention: Attention) -> int | None:
    """Choose a head; none is the mean over all."""
    wanted = screen.current().head
    if wanted is not None and wanted >= attention.heads:
        screen.problem(
            f"head is {wanted}, but this model has heads 0 to {attention.heads - 1}; shown "
            "instead: the mean over the heads."
        )
        wanted = None
    mean = -1  # a select box takes None for "nothing chosen"
    st.selectbox(
        "Head",
        [mean, *range(attention.heads)],
        format_func=lambda head: "mean of the heads" if head == mean else f"head {head}",
        filter_mode="contains",
        **screen.bound(
            "head",
            mean if wanted is None else wanted,
            lambda held: None if held == mean else held,
        ),
    )
    return wanted


def _one_query(
    attention: Attention,
    model: VisionTransformer,
    layer: int,
    head: int | None,
    patch: Patch,
    display: Display,
    mass: float,
    opacity: float,
) -> None:
    maps = attention.maps(layer, patch)
    gather.array(f"attention layer {layer}", maps, f"attention.maps({layer}, {patch!r})")
    every = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
    heads = attention.heads
    names = [*layer_names(heads, "head"), "mean"]
    number = heads if head is None else head
    chosen = every[number]
    masks = heatmaps.mass_mask(every, mass)
    gather.array(
        f"masks layer {layer}",
        masks[:heads],
        f"heatmaps.mass_mask(attention.maps({layer}, {patch!r}), {mass!r})",
    )
    low, high = display.limits(chosen, list(every))
    what = f"layer {layer}, " + ("mean of the heads" if head is None else f"head {head}")
    figure = figures.linked(
        attention.view,
        [
            figures.Panel(
                what.capitalize(),
                f"attention of {reader(attention.readout, patch)}",
                chosen,
                low,
                high,
                display.unit("attention"),
            ),
            figures.Panel(
                "Mask",
                f"{int(masks[number].sum())} of {chosen.size} patches hold {percent(mass)}",
                image=figures.cut_out(attention.view, masks[number]),
            ),
        ],
        opacity=opacity,
        colors=display.colors,
        smooth=False,
    )
    if patch is not None:
        for panel in (0, 1):
            figures.mark_patch(figure, attention.view, attention.grid, patch, panel)
    panels.fitted(
        figure,
        "large-map",
        f"{what}: attention over the picture, and its mask",
        attention.view,
        2,
        width=THREE_QUARTERS,
    )
    beside(model, 1.0 - float(chosen.sum()), what)

    def open_head(index: int) -> None:
        screen.change(head=None if index == heads else index)

    st.markdown("**All heads of this layer** · click one to see it large")
    grid_of_maps(
        every,
        names,
        display,
        "small-maps",
        f"Attention of the {heads} heads of layer {layer} and their mean, over the picture",
        act=open_head,
        marked=number,
        under=attention.view,
        opacity=opacity,
    )
    st.markdown(
        f"**Masks** · the smallest set of patches with {percent(mass)} of each head's attention"
    )
    grid_of_maps(
        masks.astype(np.float32),
        names,
        display,
        "small-masks",
        f"Masks of the {heads} heads of layer {layer} and of their mean",
        act=open_head,
        marked=number,
        under=attention.view,
        shade=True,
        unit="dark: not in the set",
    )


def _matrix(
    attention: Attention,
    model: VisionTransformer,
    layer: int,
    head: int | None,
    patch: Patch,
    display: Display,
) -> None:
    rows, cols = attention.grid
    tokens = attention.prefix + rows * cols
    title = f"layer {layer}, " + ("mean of the heads" if head is None else f"head {head}")
    st.markdown(f"**{title.capitalize()}** · {tokens} × {tokens} tokens")
    if tokens > MOST_TOKENS:
        st.info(
            f"The matrix has {tokens} × {tokens} cells, more than a browser shows well; choose a "
            "smaller size.",
            icon=":material/grid_off:",
        )
        return
    heads = range(attention.heads) if head is None else [head]
    values = np.mean([attention.matrix(layer, one) for one in heads], axis=0)
    gather.array(
        f"matrix layer {layer}",
        values,
        f"np.mean([attention.matrix({layer}, head) for head in {list(heads)!r}], axis=0)",
    )
    prefix = prefix_names(model)
    names = prefix + [f"row {row}, column {col}" for row in range(rows) for col in range(cols)]
    step = max(1, -(-rows // 5))
    ticks = {attention.prefix + row * cols: f"row {row}" for row in range(0, rows, step)}
    if prefix:
        ticks[0] = prefix[0] if len(prefix) == 1 else f"{prefix[0]} …"
        ticks.pop(attention.prefix)
    marked = None
    if patch is not None:
        marked = attention.prefix + patch[0] * cols + patch[1]
    elif attention.readout.is_plain:
        marked = 0
    figure = figures.attention_matrix(
        values,
        names,
        ticks,
        high=float(np.percentile(values, display.percentile)),
        colors=display.colors,
        unit=f"attention · from 0 to {_end(display)}",
        marked=marked,
    )
    panels.sized(
        figure,
        "attention-matrix",
        f"Attention from every token to every token: {title}, each row sums to 1",
        f"min({THREE_QUARTERS} - 6rem, 640px) + 130px",  # names of rows beside, of columns above
    )
    st.caption(
        "Each row is one query and adds up to 100 %. Point at a cell to read which token attends "
        "to which and how much; drag to zoom in, double-click to zoom out. Tokens are in this "
        f"order: {', '.join([*prefix, 'then'])} the patches row by row."
        + (" The outlined row is the query chosen on the left." if marked is not None else "")
    )


def _end(display: Display) -> str:
    if display.percentile < 100:
        return f"the {ordinal(display.percentile)} percentile"
    return "the largest value"


# -- joint maps -----------------------------------------------------------------------------------


def default_fusion(model: VisionTransformer) -> str:
    """The fusion of heads that suits this model's rollout, from its catalog entry."""
    return str(model.spec.defaults.get("rollout", {}).get("fusion", "mean"))


def joint_maps(scene: Scene, display: Display) -> None:
    """The rollout product after every layer, one of them large."""
    attention, model = _attention(scene)
    chosen_patch(attention.grid)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        layer = layer_slider(attention)
        fusion = controls.select(
            "fusion",
            "Head fusion",
            ("mean", "max", "min"),
            default_fusion(model),
            help="How the heads of a layer become one map before the layers are multiplied.",
        )
        cut = controls.slider(
            "discard",
            "Discard",
            0.0,
            0.99,
            0.01,
            help="Share of the smallest attention values of each layer that are set to zero.",
        )
        opacity = controls.slider("opacity", "Opacity of the maps", 0.0, 1.0, 0.05)
        st.caption(
            f"Joint maps are read at {reader(attention.readout, None)}, which the classifier "
            "reads; a chosen patch plays no part here."
        )
    joints = attention.joints(fusion, cut)
    gather.array("joint attention", joints, f"attention.joints({fusion!r}, {cut!r})")
    with right:
        low, high = display.limits(joints[layer], list(joints))
        figure = figures.linked(
            attention.view,
            [
                figures.Panel("Picture", "as the ViT sees it"),
                figures.Panel(
                    f"Layers 0 to {layer}" if layer else "Layer 0",
                    f"{fusion} of the heads, {percent(cut)} discarded",
                    joints[layer],
                    low,
                    high,
                    display.unit("joint attention"),
                ),
            ],
            opacity=opacity,
            colors=display.colors,
            smooth=False,
        )
        panels.fitted(
            figure,
            "large-joint",
            f"The picture and the joint attention of layers 0 to {layer}",
            attention.view,
            2,
            width=THREE_QUARTERS,
        )
        beside(model, 1.0 - float(joints[layer].sum()), f"after layer {layer}")
        st.markdown("**After every layer** · click one to see it large")
        grid_of_maps(
            joints,
            [f"after {name}" for name in layer_names(attention.layers)],
            display,
            "small-joints",
            f"Joint attention after each of {attention.layers} layers, over the picture",
            act=lambda index: screen.change(layer=index),
            marked=layer,
            columns=6,
            under=attention.view,
            opacity=opacity,
        )
