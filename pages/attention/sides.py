"""Two models whose features are set side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

import core
from core import Model, ParallaxError, Tap, VisionTransformer, heatmaps, representations
from dashboard import cache
from dashboard.features import Feature, feature_of, tap_of
from dashboard.view import Maker
from pages.attention.options import Options
from pages.attention.parts import Float, Grid

MOST_CELLS = 56
"""Rows or columns up to which a map is drawn as it is."""


@dataclass(frozen=True, eq=False)
class Features:
    """All channels of a tap of one model, (channels, rows, cols)."""

    model: Model
    tap: Tap
    values: Float

    @property
    def grid(self) -> Grid:
        """Rows and columns of places."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def code(self) -> str:
        """The expression that makes them; see `dashboard.python_lines`."""
        return f"core.features(models[{self.model.spec.id!r}], view, {self.tap.name!r}, given)"

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """Channels, the one with the largest mean of absolute values first."""
        return representations.by_activity(self.values)


@dataclass(frozen=True, eq=False)
class Side:
    """One of the models.

    Attributes
    ----------
    tap
        Name of the one that is shown.
    found
        ``None`` where there are no features.
    refusal
        Why there are none.
    """

    feature: Feature
    tap: str
    found: Features | None
    refusal: str = ""

    @property
    def model(self) -> Model:
        """Whose features they are."""
        return self.feature.model


def chosen_sides(make: Maker) -> list[str]:
    """Ids of the models whose features are shown: the first two, until others are chosen."""
    ids, wanted = make.looked_at.ids, make.screen.of(Options).sides
    for name in wanted:
        if name not in ids:
            make.problem(f"sides has {name!r}, which is not among the models shown (m).")
    return [name for name in dict.fromkeys(wanted) if name in ids] or list(ids[:2])


def titles(make: Maker) -> dict[str, str]:
    """Of all models that can be chosen, by id."""
    return {spec.id: spec.title for spec in make.looked_at.models}


def side(make: Maker, model: Model, beside: Sequence[Model]) -> Side:
    """The features of a model at the tap that is chosen, or why there are none.

    Parameters
    ----------
    beside
        All models that are shown.
    """
    number = make.looked_at.ids.index(model.spec.id)
    feature = feature_of(make.screen, number, model, make.problem)
    if not model.taps:
        return Side(feature, "", None, model.limits)
    first = _first_tap(model, beside, cache.view(make.looked_at))
    tap = tap_of(feature, first, make.problem)
    try:
        recorded = make.recording(model.spec.id, core.Needs([tap]))
        values = core.features(recorded.model, recorded, tap)
    except ParallaxError as error:
        return Side(feature, tap, None, str(error))
    return Side(feature, tap, Features(model, model.tap(tap), values))


def _first_tap(model: Model, beside: Sequence[Model], view: Image.Image) -> str:
    """What is shown of a model at first.

    Of one with blocks what leaves the last; else the stage whose places are about as many as the
    patches of a model beside it, or the last stage where none has any.
    """
    if isinstance(model, VisionTransformer):
        return f"{model.layers[-1].name}.output"
    size = (view.height, view.width)
    grids = [other.grid(size) for other in beside if isinstance(other, VisionTransformer)]
    stages = [layer.name for layer in model.layers]
    if not grids:
        return stages[-1]
    patches = np.prod(grids[0])
    return min(stages, key=lambda s: abs(np.log(np.prod(model.grid_of(s, size)) / patches)))


def coarse(values: Float) -> tuple[Float, str]:
    """A map small enough to draw, and a sentence if it had to be made smaller."""
    rows, cols = values.shape
    shrink = max(rows, cols) / MOST_CELLS
    if shrink <= 1:
        return values, ""
    size = (max(1, round(rows / shrink)), max(1, round(cols / shrink)))
    note = f"Drawn at {size[0]} × {size[1]} of {rows} × {cols} places."
    return heatmaps.resize(values, size), note


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoSides:
    """What a tab with models side by side shows.

    Attributes
    ----------
    titles
        Of all models that can be chosen, by id.
    """

    titles: Mapping[str, str]
    sides: tuple[Side, ...]
