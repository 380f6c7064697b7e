"""One channel of a model beside one of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dashboard import cache, figures
from dashboard.display import Display
from dashboard.features import channel_of, tap_title
from dashboard.view import Figure, Maker
from pages.attention.parts import Float, Mosaic, fitted, mosaic
from pages.attention.sides import Features, Side, TwoSides, chosen_sides, coarse, side, titles

STRONGEST = 6
"""Number of small channel maps."""


@dataclass(frozen=True, eq=False)
class Channel:
    """A channel of a model with features.

    Attributes
    ----------
    note
        Note on the map; may be empty.
    strongest
        The channels with the most contrast, that one first.
    maps
        Maps of the strongest.
    """

    side: Side
    found: Features
    number: int
    note: str
    strongest: tuple[int, ...]
    maps: Mosaic


@dataclass(frozen=True, eq=False, kw_only=True)
class Channels(TwoSides):
    """Content of the tab.

    Attributes
    ----------
    channels
        Channels of the sides with features.
    figure
        ``None`` if no side has any.
    """

    channels: tuple[Channel, ...]
    figure: Figure | None


def channels(make: Maker, display: Display) -> Channels:
    """A channel of each of two models, over the picture."""
    models = [cache.model(name) for name in chosen_sides(make)]
    sides = tuple(side(make, model, models) for model in models)
    chosen = [
        (one, one.found, channel_of(one.feature, one.found.tap, _best(one.found)[0], make.problem))
        for one in sides
        if one.found is not None
    ]
    if not chosen:
        return Channels(titles=titles(make), sides=sides, channels=(), figure=None)
    view = cache.view(make.looked_at)
    shown, notes = [figures.Panel("Picture", "as the models see it")], []
    maps = [found.values[number] for _, found, number in chosen]
    for (_, found, number), values in zip(chosen, maps, strict=True):
        panel, note = _panel(found, number, values, maps, display)
        name = f"{found.model.spec.id} {found.tap.name} channel {number}"
        make.array(name, values, f"{found.code}[{number}]")
        shown.append(panel)
        notes.append(note)
    figure = figures.linked(
        view,
        shown,
        opacity=make.screen.shared.opacity,
        colors=display.colors,
        smooth=False,
    )
    alt = "; ".join(f"{panel.title}: {panel.subtitle}" for panel in shown)
    alt = f"The picture and channels over it. {alt}"
    return Channels(
        titles=titles(make),
        sides=sides,
        figure=fitted(make, "channels", figure, alt, view, len(shown)),
        channels=tuple(
            Channel(
                one,
                found,
                number,
                note,
                _best(found),
                _strongest(make, one, found, number, view, display),
            )
            for (one, found, number), note in zip(chosen, notes, strict=True)
        ),
    )


def _panel(
    found: Features, number: int, values: Float, maps: list[Float], display: Display
) -> tuple[figures.Panel, str]:
    small, note = coarse(values)
    signed = bool(values.min() < 0)
    rivals = maps if signed else [m for m in maps if m.min() >= 0]
    low, high = display.limits(values, rivals, signed)
    rows, cols = found.grid
    panel = figures.Panel(
        f"{tap_title(found.tap.name)} · channel {number}",
        f"{found.tap.meaning}, {rows} × {cols} places",
        small,
        low,
        high,
        display.unit("activation"),
        signed,
    )
    return panel, note


def _best(found: Features) -> tuple[int, ...]:
    return tuple(int(i) for i in found.order[:STRONGEST])


def _strongest(
    make: Maker,
    one: Side,
    found: Features,
    number: int,
    view: Image.Image,
    display: Display,
) -> Mosaic:
    """The channels with the most contrast, small."""
    best = _best(found)
    maps = np.stack([coarse(found.values[i])[0] for i in best])
    return mosaic(
        make,
        f"strongest-{one.feature.key}",
        maps,
        [str(i) for i in best],
        display,
        f"The {len(best)} channels of {found.tap.name} with the most contrast",
        marked=best.index(number) if number in best else None,
        columns=3,
        under=view,
        opacity=make.screen.shared.opacity,
        signed=bool(maps.min() < 0),
        width="(100cqi - 4rem) / 3",
    )
