"""Color ranges of many small maps, as numbers and text. Independent of Streamlit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core import heatmaps
from dashboard.display import Display
from dashboard.text import ordinal


def shared_limits(maps: npt.NDArray[np.float32], display: Display) -> tuple[float, float] | None:
    """Ends of one scale for all maps (count, rows, cols), if chosen."""
    if not display.shared:
        return None
    ends = [heatmaps.limits(tile, display.percentile) for tile in maps]
    return min(low for low, _ in ends), max(high for _, high in ends)


def ends_text(limits: tuple[float, float] | None, display: Display) -> str:
    """Text on the ends of the colors, shared or not."""
    if limits is None:
        return _scaling(display)
    clip = f"; each clipped at its {ordinal(display.percentile)} percentile"
    shared = f"one scale for all maps, from {limits[0]:.2g} to {limits[1]:.2g}"
    return shared + (clip if display.percentile < 100 else "")


def _scaling(display: Display) -> str:
    """Text on the ends of the colors if each map has its own."""
    if display.percentile < 100:
        top = f"its {ordinal(display.percentile)} percentile (all above it has the last color)"
    else:
        top = "its maximum"
    return f"each map from its minimum to {top}"
