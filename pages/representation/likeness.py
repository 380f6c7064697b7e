"""Which layers are alike, and which pictures are near each other. Independent of Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

import core
from core import LayerSimilarity
from dashboard.scene import Picture
from dashboard.text import in_figure
from dashboard.view import Figure, Maker
from pages.representation import charts
from pages.representation.asked import GIVEN, NEIGHBORS, Asked, focus, percent, short


@dataclass(frozen=True, eq=False)
class Likeness:
    """Similarity of all layers.

    Attributes
    ----------
    figure
        All layers of both models against all.
    said
        What stands out, as sentences.
    """

    figure: Figure
    said: tuple[str, ...]


def likeness(make: Maker, of: Asked) -> Likeness | str | None:
    """CKA of all layers of the models."""
    found = of.found(
        of.models,
        ("cka",),
        "Similarity of layers",
        partial(core.cka, of.models, framing=GIVEN),
    )
    if found is None or isinstance(found, str):
        return found
    every = ", ".join(f"models[{model.spec.id!r}]" for model in of.models)
    make.array(
        "cka",
        np.stack([found.values, found.shuffled]),
        f"np.stack([(found := core.cka([{every}], {of.code()}, given)).values, found.shuffled])",
    )
    titles = [model.spec.title for model in of.models]
    names = [[short(tap) for tap in taps] for taps in found.layers]
    figure = charts.squares(found.values, found.shuffled, names, titles, "CKA")
    kept = make.show(
        Figure(
            "likeness",
            figure,
            f"Similarity of all layers of {' and '.join(titles)}, as a heat map",
            "min(92cqi, 680px)",
            "800px",
        )
    )
    return Likeness(kept, _said(found, names, titles))


def _said(found: LayerSimilarity, names: list[list[str]], titles: list[str]) -> tuple[str, ...]:
    """The pair that is most alike, the last layers, and chance."""
    said = []
    if len(names) == 2:
        between, chance = found.between(), found.chance()
        row, col = np.unravel_index(int(between.argmax()), between.shape)
        said = [
            f"Most alike: {names[0][row]} of {titles[0]} and {names[1][col]} of {titles[1]}, "
            f"{between[row, col]:.2f} (shuffled pictures: below {chance[row, col]:.2f}).",
            f"The last layers: {between[-1, -1]:.2f} (shuffled: below {chance[-1, -1]:.2f}).",
        ]
    off = found.shuffled[~np.eye(len(found.shuffled), dtype=bool)]
    said.append(
        f"Over {found.pictures} pictures; two layers of different pictures stay below "
        f"{float(np.median(off)):.2f} in 19 of 20 shuffles (median over all pairs of layers)."
    )
    return tuple(said)


@dataclass(frozen=True, eq=False)
class Near:
    """The nearest pictures of one, in one model.

    Attributes
    ----------
    title
        Of the model.
    pictures
        The nearest first.
    common
        Whether each is also among those of the other model.
    """

    title: str
    pictures: tuple[Picture, ...]
    common: tuple[bool, ...]


@dataclass(frozen=True, eq=False)
class Nearby:
    """Nearest pictures.

    Attributes
    ----------
    at
        Place in the set of the picture that is looked at.
    overlap, chance
        Share of common neighbors in what the classifiers read, and that of random neighbors;
        the first is ``None`` of one model.
    by_depth
        Overlap of all layers; ``None`` of one model.
    """

    at: int
    sides: tuple[Near, ...]
    overlap: float | None
    chance: float
    by_depth: Figure | None


def nearby(make: Maker, of: Asked) -> Nearby | str | None:
    """The five nearest pictures of each picture, in each model."""
    found = of.found(
        of.models,
        ("neighbors", NEIGHBORS),
        "Nearest pictures",
        partial(core.neighbors, of.models, k=NEIGHBORS, framing=GIVEN),
    )
    if found is None or isinstance(found, str):
        return found
    every = ", ".join(f"models[{model.spec.id!r}]" for model in of.models)
    code = f"core.neighbors([{every}], {of.code()}, {NEIGHBORS}, given)"
    for number, model in enumerate(of.models):
        name = f"nearest {model.spec.id}"
        make.array(name, found.nearest[number], f"{code}.nearest[{number}]")
    at = focus(make, of)
    chosen = [nearest[-1, at].tolist() for nearest in found.nearest]
    sides = tuple(
        Near(
            model.spec.title,
            tuple(of.pictures[place] for place in own),
            tuple(len(chosen) > 1 and all(place in other for other in chosen) for place in own),
        )
        for model, own in zip(of.models, chosen, strict=True)
    )
    if len(of.models) == 1:
        return Nearby(at, sides, None, found.chance, None)
    overlap = found.overlap()
    make.array("overlap", overlap, f"{code}.overlap()")
    return Nearby(at, sides, float(overlap[-1, -1]), found.chance, _by_depth(make, of, overlap))


def _by_depth(make: Maker, of: Asked, overlap: charts.Float) -> Figure:
    rows, columns = ([*map(short, core.depth_taps(model)), "classifier"] for model in of.models)
    titles = [in_figure(model.spec.title) for model in of.models]
    texts = [
        [
            f"{titles[0]}, {row}<br>{titles[1]}, {column}<br><b>{percent(overlap[i, j])} common</b>"
            for j, column in enumerate(columns)
        ]
        for i, row in enumerate(rows)
    ]
    figure = charts.table(overlap, rows, columns, texts, float(overlap.max()))
    figure.update_xaxes(title=titles[1])
    figure.update_yaxes(title=titles[0])
    alt = "Share of common neighbors for every pair of layers"
    return make.show(Figure("neighbors-by-depth", figure, alt, "380px", "820px"))
