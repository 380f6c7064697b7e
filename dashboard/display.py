"""Display options of maps, from the screen. Independent of Streamlit."""

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
    """Display options of maps, which do not affect computations."""

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
        """The options of a screen.

        Parameters
        ----------
        overlay
            Whether maps are overlaid on pictures.
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
        """Ends of the color scale of a map, shared with the others if chosen.

        Parameters
        ----------
        signed
            Zero is the middle of the scale.
        from_zero
            The scale begins at zero; values below it have no color.
        """
        rivals = others if self.shared and others else [relevance]
        if signed:
            high = max(float(np.percentile(np.abs(v), self.percentile)) for v in rivals) or 1.0
            return -high, high
        if from_zero:
            positive = [np.maximum(values, 0) for values in rivals]
            # If fewer values are positive than are clipped, the largest value is the end.
            highs = [np.percentile(v, self.percentile) or v.max() for v in positive]
            return 0.0, float(max(highs)) or 1.0
        ends = [heatmaps.limits(values, self.percentile) for values in rivals]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def replaces_spikes(self, explanation: Explanation) -> bool:
        """Whether isolated bright patches of a map are replaced by their neighbors' median."""
        outshine = explanation.params.get("fusion") in ("mean", "max")
        return self.spikes == "replace" or (self.spikes == "auto" and outshine)

    def unit(self, what: str) -> str:
        """Title of a color bar: the value, the scale and the clipping."""
        scale = "shared scale" if self.shared else "own scale"
        clip = f" · top {100 - self.percentile:g} % clipped" if self.percentile < 100 else ""
        return f"{what} · {scale}{clip}"
