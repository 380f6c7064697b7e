"""How maps are drawn, as the screen has it. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from core import Explanation, heatmaps
from dashboard.screen import Screen


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

    @classmethod
    def of(cls, now: Screen, *, overlay: bool = True) -> Self:
        """What a screen says.

        Parameters
        ----------
        overlay
            Whether maps lie over pictures.
        """
        return cls(
            now.shared.opacity if overlay else 1.0,
            now.shared.colors,
            now.shared.scale == "shared",
            now.shared.clip,
            now.shared.smooth and overlay,
            now.shared.spikes if overlay else "keep",
            now.shared.blend,
            now.shared.against,
        )

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
