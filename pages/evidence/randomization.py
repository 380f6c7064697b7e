"""Maps of models that are randomized layer by layer. Independent of Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core import Randomization
from dashboard import cache, figures, measurements, rows
from dashboard.display import Display
from dashboard.scales import ends_text, shared_limits
from dashboard.text import plain
from dashboard.view import Figure, Maker
from pages.evidence import charts
from pages.evidence.asked import Asked
from pages.evidence.options import Options


@dataclass(frozen=True, eq=False)
class Depths:
    """A map at every depth to which its model is randomized.

    Attributes
    ----------
    title
        Of the model and the map.
    figure
        The map of the intact model first.
    note
        What a reader must know about the maps, as Markdown.
    """

    title: str
    figure: Figure
    note: str


@dataclass(frozen=True, eq=False)
class Randomized:
    """Every chosen map, with its model randomized layer by layer.

    Attributes
    ----------
    measured
        Whether models were randomized; otherwise the fields below are empty.
    without
        Why maps are not available, one sentence each.
    correlations
        Over the depth.
    """

    measured: bool = False
    without: tuple[str, ...] = ()
    correlations: Figure | None = None
    depths: tuple[Depths, ...] = ()


def randomization(make: Maker, asked: Asked) -> Randomized:
    """Randomize the model of every look, on request."""
    if not make.screen.of(Options).measured:
        return Randomized()
    found: dict[str, tuple[int, Randomization]] = {}
    without = []
    for number, choice in enumerate(asked.choices):
        one = measurements.learned(make, choice, asked.classes, make.screen.shared.seed)
        if isinstance(one, str):
            without.append(f"{choice.model.spec.title}: {one}")
            continue
        name = ", ".join(filter(None, [choice.model.spec.title, one.original.title, choice.own]))
        found[name if name not in found else f"{name} ({number + 1})"] = number, one
    if not found:
        return Randomized(measured=True, without=tuple(without))
    correlations = Figure(
        "correlations",
        charts.correlations({name: one for name, (_, one) in found.items()}),
        "Rank correlation with the original map over the depth of randomization",
    )
    return Randomized(
        measured=True,
        without=tuple(without),
        correlations=make.show(correlations),
        depths=tuple(_depths(make, number, name, one) for name, (number, one) in found.items()),
    )


def _depths(make: Maker, number: int, title: str, one: Randomization) -> Depths:
    display = Display.of(make.screen)
    maps = np.concatenate([one.original.relevance[None], one.relevance])
    names = ["intact", *one.depths]
    shape = (1, len(maps), *maps.shape[1:])
    limits = shared_limits(maps, display)
    figure = figures.mosaic(
        maps.reshape(shape),
        [""],
        [""] * len(maps),
        colors=display.colors,
        names=names,
        percentile=display.percentile,
        limits=limits,
        under=[cache.view(make.looked_at)] * len(maps),
        opacity=display.opacity,
    )
    height = f"calc({figures.mosaic_height(shape, '100cqi', named=True)})"
    shown = Figure(f"depths-{number}", figure, ", ".join(names), height, "100%")
    ends = ends_text(limits, display)
    said = [f"{ends[:1].upper()}{ends[1:]}.", _ceiling(one), *map(plain, one.original.notes)]
    return Depths(title, make.show(shown), " ".join(filter(None, said)))


def _ceiling(one: Randomization) -> str:
    """A sentence on the agreement of two draws on the intact model."""
    if one.ceiling is None:
        return ""
    return (
        f"{one.original.title} uses random draws, made again for each network: two draws on the "
        f"intact model correlate at {rows.number(one.ceiling)} (dashed), so no higher value "
        "can be expected at any depth."
    )
