"""The tab of the Attention page that sets several pictures side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from dashboard import (
    cache,
    controls,
    drawing,
    figures,
    gather,
    python_lines,
    several_pictures,
)
from dashboard.attention_parts import (
    beside,
    ends_text,
    layer_names,
    percent,
    readout_text,
    shared_limits,
)
from dashboard.attention_views import default_fusion, transformer
from dashboard.cache import Summary
from dashboard.display import Display
from dashboard.scene import Picture, Scene
from dashboard.text import in_figure, plain

FEW = 4
"""Layers that are shown when not all are."""

WIDE, TALL = 1040, 1040
"""Pixels that the maps may take."""


def several(scene: Scene, display: Display) -> None:
    """Pictures as columns, layers as rows, and what the model answers to each."""
    if scene.framing.fit == "whole":
        scene = replace(scene, framing=replace(scene.framing, fit="crop"))
        st.caption("Several pictures share one shape, so they are cropped here.")
    pictures = several_pictures.choose()
    if not pictures:
        st.info("None of these pictures can be read.", icon=":material/collections:")
        return
    vit = transformer(scene)
    with st.container(horizontal=True, gap="medium"):
        kind = controls.segments(
            "several_map",
            "Map",
            ("attention", "joint"),
            titles={"attention": "Mean of the heads", "joint": "Joint map"}.__getitem__,
        )
        layers = controls.segments(
            "several_layers",
            "Layers",
            ("few", "all"),
            titles={"few": f"{min(FEW, vit.depth)} of {vit.depth}", "all": "All"}.__getitem__,
        )
    fusion = default_fusion(vit) if kind == "joint" else None
    found = _summaries(vit.spec.id, scene, pictures, fusion)
    count = min(FEW, vit.depth) if layers == "few" else vit.depth
    rows = sorted({round((i + 1) * vit.depth / count) - 1 for i in range(count)})
    what = readout_text(vit.readout)
    st.caption(
        f"Joint attention of all layers up to the one named, {fusion} of the heads, nothing "
        f"discarded, read at {what}."
        if fusion
        else f"How much {what} attends to every patch, averaged over the heads of a layer."
    )
    for picture, summary in zip(pictures, found, strict=True):
        gather.also(picture)
        view = python_lines.view(picture, scene)
        attention = f"core.attention(models[{vit.spec.id!r}], {view}, given)"
        ending = f".joints({fusion!r})" if fusion else ".mosaic().mean(axis=1)"
        gather.array(f"{picture.id} {kind}", summary.maps, attention + ending)
    _figure(scene, pictures, found, rows, display)
    share = 1.0 - float(np.mean([summary.maps[rows].sum(axis=(1, 2)) for summary in found]))
    beside(vit, share, "on average over layers and pictures")
    _answers(pictures, found)


def _summaries(
    model_id: str, scene: Scene, pictures: list[Picture], fusion: str | None
) -> list[Summary]:
    progress = st.empty()
    found = []
    for i, picture in enumerate(pictures):
        progress.progress(
            i / len(pictures), f"Picture {i + 1} of {len(pictures)}: {plain(picture.name)}"
        )
        found.append(cache.summary(model_id, scene, picture, fusion))
    progress.empty()
    return found


def _figure(
    scene: Scene,
    pictures: list[Picture],
    found: list[Summary],
    rows: list[int],
    display: Display,
) -> None:
    """One figure, so that every map lies exactly under its picture."""
    maps = np.stack([summary.maps[rows] for summary in found], axis=1)
    limits = shared_limits(maps.reshape(-1, *maps.shape[2:]), display)
    above = np.full((1, *maps.shape[1:]), np.nan, dtype=np.float32)
    cell = min(160, WIDE // len(pictures), TALL // (len(rows) + 1))
    letters = max(8, cell // 7)
    views = [cache.view(scene, picture) for picture in pictures]
    heads = [
        f"{in_figure(_cut(picture.name, letters))}<br>{_first(summary, letters)}"
        for picture, summary in zip(pictures, found, strict=True)
    ]
    every = np.concatenate([above, maps])
    figure = figures.mosaic(
        every,
        ["", *(layer_names(max(rows) + 1)[row] for row in rows)],
        heads,
        colors=display.colors,
        percentile=display.percentile,
        limits=limits,
        under=views,
    )
    figure.update_xaxes(tickfont={"size": 11})
    names = ", ".join(picture.name for picture in pictures)
    drawing.sized(
        figure,
        "several",
        f"Attention in {len(rows)} layers under each of: {names}",
        figures.mosaic_height(every.shape, "100cqi", cell=cell, top=18),
    )
    text = ends_text(limits, display)
    st.caption(f"{text[:1].upper()}{text[1:]}.")


def _cut(text: str, letters: int) -> str:
    """Text of at most so many letters."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _first(summary: Summary, letters: int) -> str:
    """The most probable class, as markup of a figure."""
    if not summary.answers:
        return ""
    name, probability = summary.answers[0]
    return f"<b>{in_figure(_cut(name, letters - 5))} {percent(probability)}</b>"


def _answers(pictures: list[Picture], found: list[Summary]) -> None:
    """The five most probable classes of each picture, as one table."""
    if not any(summary.answers for summary in found):
        st.caption("This model was trained without classes, so it gives no answers.")
        return
    import pandas as pd

    table = pd.DataFrame(
        [
            {"Picture": picture.name}
            | {
                f"{place + 1}.": f"{name} {percent(probability)}"
                for place, (name, probability) in enumerate(summary.answers)
            }
            for picture, summary in zip(pictures, found, strict=True)
        ]
    )
    st.markdown("**What the model answers** · most probable first")
    st.dataframe(table, hide_index=True, row_height=30, key="several-answers")
