"""Pictures as columns, layers as rows, and the answers for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import core
from core import ImageError, VisionTransformer
from dashboard import cache, figures, python_lines, settings, waiting
from dashboard.cache import Summary
from dashboard.display import Display
from dashboard.scales import ends_text, shared_limits
from dashboard.scene import Picture, Scene
from dashboard.several_pictures import named_pictures, offered_pictures
from dashboard.text import in_figure
from dashboard.view import Figure, Maker
from pages.attention.joint import default_fusion
from pages.attention.options import Options
from pages.attention.words import layer_names, outside, percent, readout_text, sentence

MOST = 8
"""Most pictures shown."""

FIRST = 4
"""Default pictures."""

FEW = 4
"""Number of layers shown if not all."""

WIDE, TALL = 1040, 1040
"""Height available for the maps in pixels."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures shown.

    Attributes
    ----------
    source
        Whether they are drawn from the operator's folder; ``None`` without such a folder.
    unreadable
        Sentences on unreadable pictures.
    """

    shown: tuple[Picture, ...]
    source: bool | None = None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Maps:
    """Attention in some layers, for each picture.

    Attributes
    ----------
    ends
        A sentence on the ends of the colors.
    outside
        Attention outside the maps; empty if there is none.
    summaries
        One for each picture.
    """

    figure: Figure
    ends: str
    outside: str
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, eq=False)
class Several:
    """Content of the tab.

    Attributes
    ----------
    cropped
        Whether the pictures are cropped although the fit “whole” is chosen.
    depth
        Number of layers of the model.
    what
        Meaning of each map, as a sentence.
    maps
        ``None`` if no picture can be read.
    """

    cropped: bool
    pictures: Pictures
    depth: int
    what: str
    maps: Maps | None


def several(make: Maker, model: VisionTransformer, display: Display) -> Several:
    """One pass of the model over each of the pictures."""
    now, scene = make.screen, make.looked_at
    cropped = scene.framing.fit == "whole"
    if cropped:
        scene = replace(scene, framing=replace(scene.framing, fit="crop"))
    pictures = _pictures(make)
    fusion = default_fusion(model) if now.of(Options).several_map == "joint" else None
    reader = readout_text(model.readout)
    what = (
        f"Joint attention of all layers up to the one named, {fusion} of the heads, nothing "
        f"discarded, read at {reader}."
        if fusion
        else f"How much {reader} attends to every patch, averaged over the heads of a layer."
    )
    return Several(
        cropped,
        pictures,
        model.depth,
        what,
        _maps(make, model, scene, pictures.shown, fusion, display) if pictures.shown else None,
    )


# -- pictures -------------------------------------------------------------------------------------


def _pictures(make: Maker) -> Pictures:
    """Up to eight pictures of the screen."""
    folder, chosen = settings.pictures(), make.screen.of(Options)
    if folder is not None and chosen.draw is not None:
        return _drawn(folder, chosen.drawn, chosen.draw)
    if chosen.draw is not None:
        make.problem("No folder of pictures to draw from is configured here; draw is ignored.")
    return Pictures(_chosen(make), None if folder is None else False)


def _chosen(make: Maker) -> tuple[Picture, ...]:
    """Samples and uploaded pictures named in the address."""
    wanted = make.screen.of(Options).several
    chosen = named_pictures("several", wanted, make.problem)
    return tuple(chosen.values()) or tuple(offered_pictures().values())[:FIRST]


def _drawn(folder: Path, count: int, seed: int) -> Pictures:
    """Pictures drawn with a seed; each is captioned with its category."""
    found, unreadable = [], []
    for file in core.draw(folder, count, seed):
        try:
            data = file.path.read_bytes()
            found.append(cache.from_bytes(data, file.title, trusted=True))
            cache.own_pictures().put(file.title, data)  # for saving and export
        except (ImageError, OSError) as error:
            unreadable.append(str(error))
    return Pictures(tuple(found), True, tuple(unreadable))


# -- maps -----------------------------------------------------------------------------------------


def _maps(
    make: Maker,
    model: VisionTransformer,
    scene: Scene,
    pictures: Sequence[Picture],
    fusion: str | None,
    display: Display,
) -> Maps:
    chosen = make.screen.of(Options)
    found: list[Summary] = []
    with waiting.counted("Pictures", len(pictures)) as report:
        for picture in pictures:
            report(len(found))
            found.append(cache.summary(model.spec.id, scene, picture, fusion))
    count = min(FEW, model.depth) if chosen.several_layers == "few" else model.depth
    rows = sorted({round((i + 1) * model.depth / count) - 1 for i in range(count)})
    for picture, summary in zip(pictures, found, strict=True):
        make.also(picture)
        view = python_lines.view(picture, scene)
        attention = f"core.attention(models[{model.spec.id!r}], {view}, given)"
        ending = f".joints({fusion!r})" if fusion else ".mosaic().mean(axis=1)"
        make.array(f"{picture.id} {chosen.several_map}", summary.maps, attention + ending)
    figure, ends = _figure(make, scene, pictures, found, rows, display)
    share = 1.0 - float(np.mean([summary.maps[rows].sum(axis=(1, 2)) for summary in found]))
    said = outside(model, share, "on average over layers and pictures")
    return Maps(figure, ends, said, tuple(found))


def _figure(
    make: Maker,
    scene: Scene,
    pictures: Sequence[Picture],
    found: Sequence[Summary],
    rows: list[int],
    display: Display,
) -> tuple[Figure, str]:
    """One figure, so that every map is aligned with its picture; and the ends of its colors."""
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
    height = figures.mosaic_height(every.shape, "100cqi", cell=cell, top=18)
    alt = f"Attention in {len(rows)} layers under each of: {names}"
    kept = make.show(Figure("several", figure, alt, f"calc({height})"))
    return kept, sentence(ends_text(limits, display))


def _cut(text: str, letters: int) -> str:
    """A text shortened to at most ``letters`` characters."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _first(summary: Summary, letters: int) -> str:
    """The most probable class, as markup of a figure."""
    if not summary.answers:
        return ""
    name, probability = summary.answers[0]
    return f"<b>{in_figure(_cut(name, letters - 5))} {percent(probability)}</b>"
