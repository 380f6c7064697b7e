"""How far the models look. Independent of Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

import core
from core import Model, VisionTransformer
from dashboard import cache, figures, python_lines
from dashboard.cache import key_of, results
from dashboard.view import Figure, Maker
from pages.representation import charts
from pages.representation.asked import GIVEN, Asked, short
from pages.representation.fields import OF_FIELDS, fields
from pages.representation.options import Options


@dataclass(frozen=True, eq=False)
class Field:
    """The effective receptive field of one layer, drawn on the picture.

    Attributes
    ----------
    title
        Of the model.
    said
        The layer, and how far it reaches.
    """

    title: str
    said: str
    figure: Figure


@dataclass(frozen=True, eq=False)
class Reach:
    """How far each layer looks.

    Attributes
    ----------
    distances
        ``None`` until it was asked for.
    fields
        One for each model.
    without
        Why there is none, one sentence each.
    """

    distances: Figure | None
    fields: tuple[Field, ...]
    without: tuple[str, ...]


def reach(make: Maker, of: Asked) -> Reach:
    """Distance of attention, and receptive fields."""
    without: list[str] = []
    chart = _distances(make, of, without)
    drawn = []
    for number, model in enumerate(of.models):
        try:
            drawn.append(_field(make, of, number, model))
        except core.UnsupportedMethod as error:
            without.append(str(error))
    return Reach(chart, tuple(drawn), tuple(dict.fromkeys(without)))


def _distances(make: Maker, of: Asked, without: list[str]) -> Figure | None:
    heads, reached = {}, {}
    for model in of.models:
        title = model.spec.title
        one = of.found(
            [model],
            ("fields", OF_FIELDS),
            f"Receptive fields of {title}",
            partial(fields, model),
        )
        if isinstance(one, str):
            without.append(one)
        elif one is not None:
            reached[title] = ([short(tap) for tap in one.layers], one.distances)
            make.array(
                f"receptive field distance {model.spec.id}",
                one.distances,
                "np.array([one.distance for one in core.receptive_fields("
                f"models[{model.spec.id!r}], images={of.code(OF_FIELDS)}, framing=given)], "
                "np.float32)",
            )
        if not isinstance(model, VisionTransformer):
            continue
        distance = of.found(
            [model],
            ("attention distance",),
            f"Distance of attention in {title}",
            partial(core.attention_distance, model, framing=GIVEN),
        )
        if isinstance(distance, str):
            without.append(distance)
        elif distance is not None:
            names = [short(layer.name) for layer in model.layers]
            heads[title] = (names, distance.values, distance.uniform)
            make.array(
                f"attention distance {model.spec.id}",
                distance.values,
                f"core.attention_distance(models[{model.spec.id!r}], {of.code()}, given).values",
            )
    if not heads and not reached:
        return None
    figure = charts.distances(heads, reached, charts.colors(of.models))
    alt = "Mean distance in pixels over depth: heads of attention and receptive fields"
    return make.show(Figure("distances", figure, alt, "440px"))


def _field(make: Maker, of: Asked, number: int, model: Model) -> Field:
    """The field of a layer at the chosen depth, on the picture of the scene."""
    taps = core.depth_taps(model)
    tap = taps[round(make.screen.of(Options).receptive_layer * (len(taps) - 1))]
    view = cache.view(of.scene)
    found = results().get(
        key_of(model.spec.id, of.scene, "receptive field", tap),
        lambda: core.receptive_field(model, tap, view, GIVEN),
    )
    make.array(
        f"receptive field {tap} {model.spec.id}",
        found.values,
        f"core.receptive_field(models[{model.spec.id!r}], {tap!r}, "
        + (python_lines.view(of.scene.picture, of.scene) if of.cropped else "view")
        + ", given).values",
    )
    high = float(np.percentile(found.values, 99.5)) or float(found.values.max())
    figure = figures.overlay(
        view,
        found.values,
        low=0.0,
        high=high,
        unit="|∂ central unit / ∂ pixel|",
        opacity=0.9,
        fades=True,
    )
    title = model.spec.title
    alt = f"Effective receptive field of {short(tap)} of {title}, over the picture"
    kept = make.show(Figure(f"receptive-field-{number}", figure, alt, "calc(47cqi + 44px)"))
    said = (
        f"{short(tap)}: half of the influence lies within {found.side(0.5)} × {found.side(0.5)} "
        f"pixels, 90 % within {found.side(0.9)} × {found.side(0.9)}"
    )
    return Field(title, said, kept)
