"""How maps are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import streamlit as st

from core import (
    Explanation,
    heatmaps,
)
from dashboard import screen
from dashboard.controls.fields import segments, select, slider, toggle
from dashboard.figures import SEQUENTIAL


@dataclass(frozen=True)
class Display:
    """How maps are shown; never part of what is computed."""

    opacity: float
    colors: str
    shared: bool
    percentile: float
    smooth: bool
    spikes: str = "keep"
    blend: str = "overlay"
    against: bool = False

    def limits(
        self,
        relevance: npt.NDArray[np.float32],
        others: Sequence[npt.NDArray[np.float32]] = (),
        signed: bool = False,
        from_zero: bool = False,
    ) -> tuple[float, float]:
        """Ends of the color scale of a map, shared with the others if the reader wants that.

        Parameters
        ----------
        signed
            Zero belongs into the middle.
        from_zero
            The scale begins at zero; what is below has no color.
        """
        rivals = others if self.shared and others else [relevance]
        if signed:
            high = max(float(np.percentile(np.abs(v), self.percentile)) for v in rivals) or 1.0
            return -high, high
        if from_zero:
            positive = [np.maximum(values, 0) for values in rivals]
            # Where less is positive than is clipped, the largest value is the end.
            highs = [np.percentile(v, self.percentile) or v.max() for v in positive]
            return 0.0, float(max(highs)) or 1.0
        ends = [heatmaps.limits(values, self.percentile) for values in rivals]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def replaces_spikes(self, explanation: Explanation) -> bool:
        """Whether isolated bright patches of a map are shown as their neighbors are."""
        outshine = explanation.params.get("fusion") in ("mean", "max")
        return self.spikes == "replace" or (self.spikes == "auto" and outshine)

    def unit(self, what: str) -> str:
        """Title of a color bar: the value, the scale and the clipping."""
        scale = "shared scale" if self.shared else "own scale"
        clip = f" · top {100 - self.percentile:g} % clipped" if self.percentile < 100 else ""
        return f"{what} · {scale}{clip}"


def display(
    sharing: str, *, overlay: bool = True, width: Literal["stretch", "content"] = "stretch"
) -> Display:
    """Opacity, colors, scale, clipping and smoothing, folded into a popover.

    Parameters
    ----------
    sharing
        What a shared scale means on this page.
    overlay
        Whether maps lie over pictures here; without, opacity and smoothing are not offered.
    width
        Whether the button fills its place.
    """
    now = screen.current()
    with st.popover("Display", icon=":material/palette:", width=width):
        if overlay:
            segments(
                "blend",
                "Map and picture",
                ("overlay", "brightness"),
                help="“Overlay” lays the map over the picture in colors; “brightness” shows the "
                "picture itself, as bright as the map.",
            )
            slider("opacity", "Opacity of the overlay", 0.0, 1.0, 0.05)
        select("colors", "Colors", SEQUENTIAL)
        if overlay:
            toggle(
                "against",
                "Show what speaks against",
                help="Maps with negative values get red for what speaks for the class and blue for "
                "what speaks against it. Otherwise only what speaks for it is colored.",
            )
        segments("scale", "Scale", ("own", "shared"), help=sharing)
        slider(
            "clip",
            "Clip at percentile",
            80.0,
            100.0,
            0.5,
            help="Values above it share the brightest color, so that one patch cannot darken all "
            "others. 100 clips nothing.",
        )
        if overlay:
            toggle("smooth", "Smooth between patches")
            segments(
                "spikes",
                "Isolated bright patches",
                ("auto", "replace", "keep"),
                help="Up to three patches of a ViT side by side that stand out far beyond those "
                "around them can be shown as the median of those. “Auto” replaces them in rollout "
                "with mean and max fusion, where a few of them outshine the rest.",
            )
    return Display(
        now.opacity if overlay else 1.0,
        now.colors,
        now.scale == "shared",
        now.clip,
        now.smooth and overlay,
        now.spikes if overlay else "keep",
        now.blend,
        now.against,
    )
