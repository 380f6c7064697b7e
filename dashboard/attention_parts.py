"""What the tabs of the Attention page share: words, the query, mosaics that open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from core import Attention, Readout, VisionTransformer, heatmaps
from dashboard import controls, drawing, figures, session
from dashboard.display import Display
from dashboard.text import ordinal

Float = npt.NDArray[np.float32]
Patch = tuple[int, int] | None
Grid = tuple[int, int]

THREE_QUARTERS = "(100cqi - 2rem) * 0.75"
"""Width of the wider of two columns of 1 to 3, with a medium gap, in the page."""

_TOKENS = {
    "cls_token": "class token",
    "class_token": "class token",
    "class_embedding": "class token",
    "dist_token": "distillation token",
    "distillation_token": "distillation token",
    "reg_token": "register",
    "register_tokens": "register",
}
"""Parameters that hold tokens before the patches, as the libraries name them, in their order."""


# -- words ----------------------------------------------------------------------------------------


def prefix_names(model: VisionTransformer) -> list[str]:
    """One name for each token before the patches, such as ``class token`` or ``register 2``.

    Read off the parameters that hold them; where these do not add up, tokens are only numbered.
    """
    counts: dict[str, int] = {}
    held = {name.rpartition(".")[2]: p for name, p in model.module.named_parameters()}
    for parameter, name in _TOKENS.items():
        if parameter in held:
            tokens = held[parameter].numel() // held[parameter].shape[-1]
            counts[name] = counts.get(name, 0) + tokens
    if sum(counts.values()) != model.prefix:
        return [f"token {i} before the patches" for i in range(model.prefix)]
    return [
        name if count == 1 else f"{name} {i + 1}"
        for name, count in counts.items()
        for i in range(count)
    ]


def prefix_text(model: VisionTransformer) -> str:
    """The tokens before the patches in a few words: ``class token and 4 registers``."""
    kinds = [name.rstrip("0123456789 ") for name in prefix_names(model)]
    if any(kind.startswith("token ") for kind in kinds):
        return f"{model.prefix} tokens before the patches"
    parts = [
        kind if kinds.count(kind) == 1 else f"{kinds.count(kind)} {kind}s"
        for kind in dict.fromkeys(kinds)
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def readout_text(readout: Readout) -> str:
    """What the classifier reads, in a few words."""
    return readout.text.partition(",")[0]


def reader(readout: Readout, patch: Patch) -> str:
    """Whose attention is shown."""
    if patch is None:
        return readout_text(readout)
    return f"the patch in row {patch[0]}, column {patch[1]}"


def layer_names(count: int, word: str = "layer") -> list[str]:
    """``layer 0``, ``layer 1`` …"""
    return [f"{word} {i}" for i in range(count)]


def scaling(display: Display, each: str = "each map") -> str:
    """In words, what the ends of the colors are."""
    if display.percentile < 100:
        top = f"its {ordinal(display.percentile)} percentile (all above it has the last color)"
    else:
        top = "its maximum"
    return f"{each} from its minimum to {top}"


def percent(share: float) -> str:
    """A share for a sentence: ``36 %``."""
    return f"{100 * share:.0f} %"


# -- the query ------------------------------------------------------------------------------------


def chosen_patch(grid: Grid) -> Patch:
    """The query of the screen, if the grid has it; else a problem and none."""
    patch = session.screen().patch
    if patch is None:
        return None
    rows, cols = grid
    if patch[0] < rows and patch[1] < cols:
        return patch
    session.problem(
        f"query is row {patch[0]}, column {patch[1]}, but this picture has {rows} × {cols} "
        "patches counted from 0; no patch is chosen."
    )
    return None


def _write(row: int, col: int) -> None:
    session.change(query=f"r{row}c{col}")


def query_picker(
    view: Image.Image, grid: Grid, readout: Readout | None, *, by_click: bool = True
) -> Patch:
    """Choose the query by a click on the picture or by keyboard; it is outlined.

    Parameters
    ----------
    readout
        What stands in for a patch until one is chosen; ``None`` where only patches serve, which
        gives the one in the middle.
    by_click
        Whether the picture is drawn, to be clicked.

    Returns
    -------
    tuple of int or None
        Row and column; ``None`` for the readout.
    """
    rows, cols = grid
    middle = (rows // 2, cols // 2)
    picked = chosen_patch(grid)
    patch = picked or (middle if readout is None else None)
    if readout is not None:
        names = {"readout": readout_text(readout), "patch": "one patch"}

        def switch(name: str | None) -> None:
            if name == "patch":
                _write(*middle)
            else:
                session.change(query=None)

        st.radio(
            "Whose attention",
            list(names),
            format_func=lambda name: names[name][:1].upper() + names[name][1:],
            help="“One patch” begins with the one in the middle."
            + (" A click on the picture chooses the patch you click." if by_click else ""),
            **session.tied("query-kind", "readout" if patch is None else "patch", switch),
        )
    if patch is not None:
        row, col = patch
        left, right = st.columns(2, gap="small")
        left.number_input(
            "Row", 0, rows - 1, **session.tied("query-row", row, lambda held: _write(held, col))
        )
        right.number_input(
            "Column",
            0,
            cols - 1,
            **session.tied("query-column", col, lambda held: _write(row, held)),
        )
    if not by_click:
        return patch
    figure = figures.clickable(figures.picture(view), view, grid)
    if patch is not None:
        figures.mark_patch(figure, view, grid, patch)
    figure.update_layout(margin={"b": 4})
    marked = f"; row {patch[0]}, column {patch[1]} is outlined" if patch else ""
    drawing.clicked(
        figure,
        f"query-{session.screen().tab}",
        f"The picture in {rows} × {cols} patches{marked}",
        lambda data: _write(int(data[0]), int(data[1])),
        f"(100cqi - 2rem) * {0.25 * view.height / view.width:.4f} + 8px",
    )
    st.caption(f"Click one of the {rows} × {cols} patches to choose it.")
    return patch


# -- mosaics --------------------------------------------------------------------------------------


def grid_of_maps(
    maps: Float,
    names: Sequence[str],
    display: Display,
    key: str,
    alt: str,
    *,
    act: Callable[[int], None],
    marked: int | None = None,
    columns: int = 7,
    under: Image.Image | None = None,
    opacity: float = 1.0,
    shade: bool = False,
    signed: bool = False,
    unit: str = "",
    width: str = THREE_QUARTERS,
) -> None:
    """Maps with a title each, in rows; a click on one calls ``act`` with its number.

    Parameters
    ----------
    maps : (count, rows, cols)
    under
        A picture to draw beneath each.
    shade
        The maps are masks: darken where they are 0.
    signed
        Zero belongs into the middle of the colors.
    unit
        What the colors are; by default what `Display` says.
    width
        Of the column, as a length of CSS.
    """
    count, rows, cols = maps.shape
    columns = min(columns, count)
    lines = -(-count // columns)
    padded = np.full((lines * columns, rows, cols), np.nan, dtype=np.float32)
    padded[:count] = maps
    colors, limits = display.colors, None
    if shade:
        limits = (0.0, 1.0)
    elif signed:  # the middle of the scale has to be zero in each map
        colors = "RdBu_r"
        ends = np.percentile(np.abs(maps), display.percentile, axis=(1, 2))
        ends = np.maximum(ends.max() if display.shared else ends, 1e-12)
        padded[:count] = (maps / np.reshape(np.broadcast_to(ends, count), (-1, 1, 1)) + 1) / 2
        limits = (0.0, 1.0)
    else:
        limits = shared_limits(maps, display)
    if signed:
        whose = "all maps together" if display.shared else "each map"
        unit = (
            f"zero is in the middle; the ends are the {ordinal(display.percentile)} percentile of "
            f"the absolute values of {whose}"
        )
    unit = unit or ends_text(limits, display)
    shape = (lines, columns, rows, cols)
    figure = figures.mosaic(
        padded.reshape(shape),
        [""] * lines,
        [""] * columns,
        colors=colors,
        names=[*names, *[""] * (lines * columns - count)],
        percentile=display.percentile,
        limits=limits,
        under=[under] * count,
        opacity=opacity,
        shade=shade,
    )
    texts = [f"{name}: click to see it large" for name in names]
    figures.openable(figure, shape, texts, named=True, size=100, marked=marked)
    height = figures.mosaic_height(shape, width, named=True)
    drawing.clicked(figure, key, alt, lambda data: act(int(data[0])), height)
    st.caption(f"{unit[:1].upper()}{unit[1:]}.")


def layer_slider(attention: Attention) -> int:
    """Choose a layer, the last to begin with."""
    last = attention.layers - 1
    return int(controls.slider("layer", "Layer", 0, last, 1, last))


def shared_limits(maps: Float, display: Display) -> tuple[float, float] | None:
    """Ends of one scale for all maps (count, rows, cols), if that is wanted."""
    if not display.shared:
        return None
    ends = [heatmaps.limits(tile, display.percentile) for tile in maps]
    return min(low for low, _ in ends), max(high for _, high in ends)


def ends_text(limits: tuple[float, float] | None, display: Display) -> str:
    """In words, what the ends of the colors are, shared or not."""
    if limits is None:
        return scaling(display)
    clip = f"; each clipped at its {ordinal(display.percentile)} percentile"
    shared = f"one scale for all maps, from {limits[0]:.2g} to {limits[1]:.2g}"
    return shared + (clip if display.percentile < 100 else "")


def beside(model: VisionTransformer, share: float, when: str = "on average over heads") -> None:
    """What no map shows: how much falls on tokens that have no place in the picture."""
    if model.prefix:
        st.caption(f"Not in the maps: {percent(share)} goes to the {prefix_text(model)} ({when}).")
