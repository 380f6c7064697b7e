"""Widgets for the display of maps."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from dashboard import session
from dashboard.controls.fields import segments, select, slider, toggle
from dashboard.display import Display
from dashboard.figures import SEQUENTIAL


def display(
    sharing: str, *, overlay: bool = True, width: Literal["stretch", "content"] = "stretch"
) -> Display:
    """Opacity, colors, scale, clipping and smoothing, folded into a popover.

    Parameters
    ----------
    sharing
        Meaning of a shared scale on this page.
    overlay
        Whether maps are overlaid on pictures; if not, opacity and smoothing are not offered.
    width
        Width of the button.
    """
    with st.popover("Display", icon=":material/palette:", width=width):
        if overlay:
            segments(
                "blend",
                "Map and picture",
                ("overlay", "brightness"),
                help="“Overlay” lays the map over the picture in colors; “brightness” shows the "
                "picture itself, scaled in brightness by the map.",
            )
            slider("opacity", "Opacity of the overlay", 0.0, 1.0, 0.05)
        select("colors", "Colors", SEQUENTIAL)
        if overlay:
            toggle(
                "against",
                "Show evidence against",
                help="In maps with negative values, red then marks evidence for the class and blue "
                "evidence against it. Otherwise only evidence for the class is colored.",
            )
        segments("scale", "Scale", ("own", "shared"), help=sharing)
        slider(
            "clip",
            "Clip at percentile",
            80.0,
            100.0,
            0.5,
            help="Values above it share the brightest color, so that one patch does not darken all "
            "others. 100 clips nothing.",
        )
        if overlay:
            toggle("smooth", "Smooth between patches")
            segments(
                "spikes",
                "Isolated bright patches",
                ("auto", "replace", "keep"),
                help="Up to three adjacent patches of a ViT whose values far exceed those "
                "around them can be replaced by the median of their neighbors. “Auto” does so in "
                "rollout with mean and max fusion, where such patches dominate the map.",
            )
    return Display.of(session.screen(), overlay=overlay)
