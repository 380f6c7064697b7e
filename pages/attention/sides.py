"""Features of two models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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
"""Most rows or columns of a map drawn at full resolution."""


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
        """The expression for them; see `dashboard.python_lines`."""
        return f"core.features(models[{self.model.spec.id!r}], view, {self.tap.name!r}, given)"

    @cached_property
    def order(self) -> npt.NDArray[np.intp]:
        """Channels by contrast over the places, the most first."""
        return representations.by_contrast(self.values)


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two models.

    Attributes
    ----------
    tap
        Name of the current tap.
    found
        ``None`` without features.
    refusal
        Why there are none.
    """

    feature: Feature
    tap: str
    found: Features | None
    refusal: str = ""

    @property
    def model(self) -> Model:
        """The model of the features."""
        return self.feature.model


def chosen_sides(make: Maker) -> list[str]:
    """Ids of the models shown, by default the first two."""
    ids, wanted = make.looked_at.ids, make.screen.of(Options).sides
    for name in wanted:
        if name not in ids:
            make.problem(f"sides has {name!r}, which is not among the models shown (m).")
    return [name for name in dict.fromkeys(wanted) if name in ids] or list(ids[:2])


def titles(make: Maker) -> dict[str, str]:
    """Titles of all available models, by id."""
    return {spec.id: spec.title for spec in make.looked_at.models}


def side(make: Maker, model: Model, beside: Sequence[Model]) -> Side:
    """The features of a model at the chosen tap, or why there are none.

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
    """The default tap of a model.

    With blocks, the output of the last one; otherwise the stage whose number of places is closest
    to the patches of another model shown, or the last stage.
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
    """A map reduced to a drawable size, and a sentence if it was reduced."""
    rows, cols = values.shape
    shrink = max(rows, cols) / MOST_CELLS
    if shrink <= 1:
        return values, ""
    size = (max(1, round(rows / shrink)), max(1, round(cols / shrink)))
    note = f"Drawn at {size[0]} × {size[1]} of {rows} × {cols} places."
    return heatmaps.resize(values, size), note


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoSides:
    """Content of a tab with two models side by side.

    Attributes
    ----------
    titles
        Titles of all available models, by id.
    """

    titles: Mapping[str, str]
    sides: tuple[Side, ...]
