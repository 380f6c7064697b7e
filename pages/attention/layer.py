"""One layer: one head or the mean enlarged, all heads small, and masks of patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from core import Attention, VisionTransformer, heatmaps
from dashboard import figures
from dashboard.choices import within
from dashboard.display import Display
from dashboard.text import ordinal
from dashboard.view import Figure, Maker
from pages.attention.every_patch import EveryPatch, PanelMaps, small_enough
from pages.attention.options import Options
from pages.attention.parts import (
    THREE_QUARTERS,
    Float,
    Mosaic,
    Query,
    attention_of,
    fitted,
    mosaic,
    query,
)
from pages.attention.words import (
    Patch,
    head_text,
    layer_names,
    outside,
    percent,
    prefix_names,
    reader,
)

LARGE = "large-map"
"""Key of the enlarged map."""

MOST_TOKENS = 1500
"""Most tokens for which a full attention matrix is sent to the browser."""


@dataclass(frozen=True, eq=False)
class OneQuery:
    """Maps of one query.

    Attributes
    ----------
    large
        One map and its mask over the picture.
    outside
        Attention outside the map; empty if there is none.
    mass
        Share of the attention in each mask, as text.
    followed
        Attention of all patches; ``None`` if that is too much for a browser.
    """

    large: Figure
    outside: str
    maps: Mosaic
    mass: str
    masks: Mosaic
    followed: EveryPatch | None


@dataclass(frozen=True, eq=False)
class Matrix:
    """Attention from every token to every token.

    Attributes
    ----------
    figure
        ``None`` if there are too many tokens for a browser.
    note
        How to read it, or why it is not drawn.
    """

    title: str
    tokens: int
    figure: Figure | None
    note: str


@dataclass(frozen=True, eq=False)
class OneLayer:
    """Content of the tab.

    Attributes
    ----------
    view
        The view of the model.
    layers, heads
        Number of layers and heads.
    layer, head
        The current layer and head; ``None`` is the mean over the heads.
    prefix
        Tokens before the patches.
    """

    query: Query
    view: Image.Image
    layers: int
    layer: int
    heads: int
    head: int | None
    prefix: int
    shown: OneQuery | Matrix


def one_layer(make: Maker, model: VisionTransformer, display: Display) -> OneLayer:
    """Attention in the chosen layer: of one query, or of all as a matrix."""
    now, attention = make.screen, attention_of(make, model)
    layer = chosen_layer(make, attention)
    head = _chosen_head(make, attention)
    matrix = now.of(Options).matrix
    asked = query(make, attention.view, attention.grid, attention.readout, by_click=not matrix)
    shown: OneQuery | Matrix
    if matrix:
        shown = _matrix(make, attention, model, layer, head, asked.patch, display)
    else:
        shown = _one_query(make, attention, model, layer, head, asked, display)
    return OneLayer(
        query=asked,
        view=attention.view,
        layers=attention.layers,
        layer=layer,
        heads=attention.heads,
        head=head,
        prefix=attention.prefix,
        shown=shown,
    )


def chosen_layer(make: Maker, attention: Attention) -> int:
    """The layer of the screen, by default the last."""
    last = attention.layers - 1
    return int(within(make.screen, "layer", 0, last, make.problem, last))


def _chosen_head(make: Maker, attention: Attention) -> int | None:
    """The head of the screen; ``None`` is the mean over the heads."""
    wanted = make.screen.of(Options).head
    if wanted is not None and wanted >= attention.heads:
        make.problem(
            f"head is {wanted}, but this model has heads 0 to {attention.heads - 1}; shown "
            "instead: the mean over the heads."
        )
        return None
    return wanted


def _one_query(
    make: Maker,
    attention: Attention,
    model: VisionTransformer,
    layer: int,
    head: int | None,
    asked: Query,
    display: Display,
) -> OneQuery:
    patch = asked.patch
    mass, opacity = make.screen.of(Options).mass, make.screen.shared.opacity
    maps = attention.maps(layer, patch)
    make.array(f"attention layer {layer}", maps, f"attention.maps({layer}, {patch!r})")
    every = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
    heads = attention.heads
    names = [*layer_names(heads, "head"), "mean"]
    number = heads if head is None else head
    chosen = every[number]
    masks = heatmaps.mass_mask(every, mass)
    make.array(
        f"masks layer {layer}",
        masks[:heads],
        f"heatmaps.mass_mask(attention.maps({layer}, {patch!r}), {mass!r})",
    )
    low, high = display.limits(chosen, list(every))
    what = head_text(layer, head)
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
    alt = f"{what}: attention over the picture, and its mask"
    return OneQuery(
        large=fitted(make, LARGE, figure, alt, attention.view, 2, THREE_QUARTERS),
        outside=outside(model, 1.0 - float(chosen.sum()), what),
        maps=mosaic(
            make,
            "small-maps",
            every,
            names,
            display,
            f"Attention of the {heads} heads of layer {layer} and their mean, over the picture",
            marked=number,
            under=attention.view,
            opacity=opacity,
        ),
        mass=percent(mass),
        masks=mosaic(
            make,
            "small-masks",
            masks.astype(np.float32),
            names,
            display,
            f"Masks of the {heads} heads of layer {layer} and of their mean",
            marked=number,
            under=attention.view,
            shade=True,
            unit="dark: not in the set",
        ),
        followed=_followed(attention, layer, head, asked),
    )


def _followed(
    attention: Attention, layer: int, head: int | None, asked: Query
) -> EveryPatch | None:
    if asked.figure is None or not small_enough(attention.grid):
        return None
    patches = _mean_matrix(attention, layer, head)[attention.prefix :, attention.prefix :]
    panels = {0: PanelMaps(attention.grid, patches)}
    return EveryPatch(LARGE, asked.figure.key, attention.grid, panels)


def _mean_matrix(attention: Attention, layer: int, head: int | None) -> Float:
    """Attention from every token to every token, of a head or of the mean over them."""
    heads = range(attention.heads) if head is None else [head]
    found: Float = np.mean([attention.matrix(layer, one) for one in heads], axis=0)
    return found


def _matrix(
    make: Maker,
    attention: Attention,
    model: VisionTransformer,
    layer: int,
    head: int | None,
    patch: Patch,
    display: Display,
) -> Matrix:
    rows, cols = attention.grid
    tokens = attention.prefix + rows * cols
    title = head_text(layer, head)
    if tokens > MOST_TOKENS:
        note = (
            f"The matrix has {tokens} × {tokens} cells, too many for a browser; choose a "
            "smaller size."
        )
        return Matrix(title, tokens, None, note)
    heads = range(attention.heads) if head is None else [head]
    values = _mean_matrix(attention, layer, head)
    make.array(
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
    kept = make.show(
        Figure(
            "attention-matrix",
            figure,
            f"Attention from every token to every token: {title}, each row sums to 1",
            # names of rows at the side, of columns above
            f"calc(min({THREE_QUARTERS} - 6rem, 640px) + 130px)",
        )
    )
    note = (
        "Each row is one query and adds up to 100 %. Point at a cell to see which token attends "
        "to which and how much; drag to zoom in, double-click to zoom out. Tokens are in this "
        f"order: {', '.join([*prefix, 'then'])} the patches row by row."
        + (" The outlined row is the query chosen on the left." if marked is not None else "")
    )
    return Matrix(title, tokens, kept, note)


def _end(display: Display) -> str:
    if display.percentile < 100:
        return f"the {ordinal(display.percentile)} percentile"
    return "the largest value"
