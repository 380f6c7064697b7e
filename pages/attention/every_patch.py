"""Maps of all patches, for a chart that follows the pointer. Independent of Streamlit."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pages.attention.parts import Float, Grid

MOST_BYTES = 2**20
"""Most bytes of maps that are sent to the browser for one chart."""

STEPS = 2**15 - 1
"""Steps of 16-bit numbers between zero and the largest value."""


@dataclass(frozen=True, eq=False)
class PanelMaps:
    """The maps of all places in one panel.

    Attributes
    ----------
    grid
        Rows and columns.
    values : (places, places)
        In each row the map of one place.
    """

    grid: Grid
    values: Float

    @property
    def packed(self) -> dict[str, Any]:
        """The maps as 16-bit numbers, for a browser."""
        peak = float(np.abs(self.values).max()) or 1.0
        whole = np.round(self.values / peak * STEPS).astype("<i2")
        return {
            "rows": self.grid[0],
            "cols": self.grid[1],
            "step": peak / STEPS,
            "values": base64.b64encode(whole.tobytes()).decode(),
        }


@dataclass(frozen=True, eq=False)
class EveryPatch:
    """The maps of all patches for the panels of a chart.

    Attributes
    ----------
    chart
        Key of the chart, a figure of `dashboard.figures.linked`.
    query
        Key of the picture whose patches are pointed at.
    grid
        Rows and columns of its patches.
    panels
        By number of the panel.
    """

    chart: str
    query: str
    grid: Grid
    panels: Mapping[int, PanelMaps]


def small_enough(*grids: Grid) -> bool:
    """Whether the maps of all patches of these grids are small enough to be sent."""
    return sum(2 * (rows * cols) ** 2 for rows, cols in grids) <= MOST_BYTES
