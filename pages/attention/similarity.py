"""Similarity of a model's features at a chosen patch and elsewhere, and components as colors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from core import representations
from dashboard import cache, figures, measurements
from dashboard.display import Display
from dashboard.features import tap_title
from dashboard.view import Figure, Maker
from pages.attention.every_patch import EveryPatch, PanelMaps, small_enough
from pages.attention.parts import THREE_QUARTERS, Float, Grid, Query, fitted, query
from pages.attention.sides import Features, TwoSides, chosen_sides, coarse, side, titles
from pages.attention.words import percent


@dataclass(frozen=True, eq=False, kw_only=True)
class Similarity(TwoSides):
    """Content of the tab.

    Attributes
    ----------
    cosines, components
        Similarity to the chosen patch, and principal components as colors; ``None`` if no model
        has features.
    followed
        Similarity to all patches; ``None`` if that is too much for a browser.
    """

    query: Query
    cosines: Figure | None
    components: Figure | None
    followed: EveryPatch | None


def similarity(make: Maker, display: Display) -> Similarity:
    """Similarity to a patch, for two models."""
    models = [cache.model(name) for name in chosen_sides(make)]
    view, grid = cache.view(make.looked_at), measurements.grid_of(make.looked_at)
    asked = query(make, view, grid, None)
    sides = tuple(side(make, model, models) for model in models)
    found = [one.found for one in sides if one.found is not None]
    cosines = components = None
    if found and asked.patch is not None:
        places = [_place(asked.patch, grid, one.grid) for one in found]
        maps = [
            representations.cosine_map(one.values, place)
            for one, place in zip(found, places, strict=True)
        ]
        panels, colored = [], []
        for one, place, values in zip(found, places, maps, strict=True):
            panels.append(_cosine(make, one, place, values, maps, display))
            colored.append(_components(make, one, view))
        cosines = _cosines(make, found, places, panels, view, display)
        components = _colors(make, colored, view)
    return Similarity(
        titles=titles(make),
        sides=sides,
        query=asked,
        cosines=cosines,
        components=components,
        followed=_followed(asked, cosines, found),
    )


def _followed(asked: Query, cosines: Figure | None, found: Sequence[Features]) -> EveryPatch | None:
    if cosines is None or asked.figure is None or not small_enough(*(one.grid for one in found)):
        return None
    panels = {
        number: PanelMaps(one.grid, representations.cosine_matrix(one.values))
        for number, one in enumerate(found)
    }
    return EveryPatch(cosines.key, asked.figure.key, asked.grid, panels)


def _cosine(
    make: Maker,
    found: Features,
    place: tuple[int, int],
    values: Float,
    maps: Sequence[Float],
    display: Display,
) -> figures.Panel:
    low, high = display.limits(values, maps)
    rows, cols = found.grid
    code = f"representations.cosine_map({found.code}, {place!r})"
    make.array(f"{found.model.spec.id} {found.tap.name} cosine", values, code)
    return figures.Panel(
        f"{tap_title(found.tap.name)} · cosine",
        f"to row {place[0]}, column {place[1]} of {rows} × {cols} places",
        coarse(values)[0],
        low,
        high,
        display.unit("cosine"),
        absolute=True,
    )


def _components(make: Maker, found: Features, view: Image.Image) -> figures.Panel:
    components, shares = representations.principal_components(found.values)
    code = f"representations.principal_components({found.code})[0]"
    make.array(f"{found.model.spec.id} {found.tap.name} components", components, code)
    return figures.Panel(
        f"{tap_title(found.tap.name)} · components",
        f"{' + '.join(percent(share) for share in shares)} of the variance",
        image=figures.from_colors(representations.component_colors(components), view),
    )


def _cosines(
    make: Maker,
    found: Sequence[Features],
    places: Sequence[tuple[int, int]],
    panels: Sequence[figures.Panel],
    view: Image.Image,
    display: Display,
) -> Figure:
    figure = figures.linked(
        view, panels, opacity=make.screen.shared.opacity, colors=display.colors, smooth=False
    )
    for i, (one, place) in enumerate(zip(found, places, strict=True)):
        figures.mark_patch(figure, view, one.grid, place, i)
    alt = "; ".join(f"{panel.title} {panel.subtitle}" for panel in panels)
    alt = f"Similarity to the chosen patch over the picture. {alt}"
    return fitted(make, "cosines", figure, alt, view, len(panels), THREE_QUARTERS)


def _colors(make: Maker, panels: Sequence[figures.Panel], view: Image.Image) -> Figure:
    figure = figures.linked(view, panels, bars=False)
    alt = "; ".join(f"{panel.title}: {panel.subtitle}" for panel in panels)
    alt = f"Principal components of the features as colors. {alt}"
    return fitted(make, "components", figure, alt, view, len(panels), THREE_QUARTERS)


def _place(patch: tuple[int, int], grid: Grid, other: Grid) -> tuple[int, int]:
    """The place of a patch's center in another grid over the same picture."""
    row, col = (int((i + 0.5) * n / m) for i, m, n in zip(patch, grid, other, strict=True))
    return row, col
