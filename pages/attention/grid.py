"""All layers and heads for one query, and the attention outside the maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core import Attention, VisionTransformer
from dashboard import figures
from dashboard.display import Display
from dashboard.scales import ends_text, shared_limits
from dashboard.view import Figure, Maker
from pages.attention.parts import THREE_QUARTERS, Float, Mosaic, Query, attention_of, query
from pages.attention.words import layer_names, percent, prefix_text, reader, sentence


@dataclass(frozen=True, eq=False)
class PrefixTable:
    """Share of attention to tokens without a place, per layer and head.

    Attributes
    ----------
    names
        Names of these tokens.
    share
        On average, as text.
    """

    names: str
    share: str
    figure: Figure


@dataclass(frozen=True, eq=False)
class EveryMap:
    """Content of the tab.

    Attributes
    ----------
    reader
        The query, in words.
    prefix
        ``None`` for a model with patches only.
    """

    query: Query
    reader: str
    heads: int
    prefix: PrefixTable | None
    maps: Mosaic


def every_map(make: Maker, model: VisionTransformer, display: Display) -> EveryMap:
    """Attention of one query in all layers and heads."""
    attention = attention_of(make, model)
    asked = query(make, attention.view, attention.grid, attention.readout)
    maps = attention.mosaic(asked.patch)
    make.array("attention layers heads", maps, f"attention.mosaic({asked.patch!r})")
    whose = reader(attention.readout, asked.patch)
    return EveryMap(
        query=asked,
        reader=whose,
        heads=attention.heads,
        prefix=_prefix_table(make, model, 1.0 - maps.sum(axis=(2, 3))),
        maps=_maps(make, attention, maps, whose, display),
    )


def _maps(make: Maker, attention: Attention, maps: Float, whose: str, display: Display) -> Mosaic:
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
        f"{row}, {column}: {_peak(tile)}<br>click to enlarge it"
        for row, tiles in zip(rows, shown, strict=True)
        for column, tile in zip(columns, tiles, strict=True)
    ]
    figures.openable(figure, shown.shape, texts, size=80)
    cell = max(40, min(84, 1080 // attention.layers))
    return make.show(
        Mosaic(
            "grid-maps",
            figure,
            f"Attention of {whose} in {attention.layers} layers and {attention.heads} heads, with "
            "the mean over the heads in the last column",
            f"calc({figures.mosaic_height(shown.shape, THREE_QUARTERS, cell=cell)})",
            ends=sentence(ends_text(limits, display)),
        )
    )


def _peak(tile: Float) -> str:
    row, col = np.unravel_index(int(tile.argmax()), tile.shape)
    return f"most at row {row}, column {col} ({tile.max():.1%})"


def _prefix_table(make: Maker, model: VisionTransformer, shares: Float) -> PrefixTable | None:
    if not model.prefix:
        return None
    names = prefix_text(model)
    figure = figures.matrix(shares, layer_names(model.depth), layer_names(model.heads, "head"))
    alt = f"Share of the attention to the {names} by layer and head"
    kept = make.show(Figure("prefix-table", figure, alt))
    return PrefixTable(names, percent(float(shares.mean())), kept)
