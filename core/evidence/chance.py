"""Comparison of a map with orders that do not depend on the model, on one picture.

One picture gives one number per map, insertion minus deletion; its random variation is estimated
from random orders on the same picture, model and class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from core.errors import ParameterError
from core.evidence.faithfulness import Faithfulness

LEVEL = 0.95
"""Share of pairs of uninformative orders whose gap lies within the stated margin."""

FEWEST_ORDERS = 5
"""Fewest random orders from which their spread is estimated."""

Verdict = Literal["better", "not distinguishable", "worse"]

TITLES = {
    "random": "random order",
    "center": "from the center outward",
    "edges": "edges (Sobel)",
}
"""Titles of the maps of `core.baseline_maps`, for users."""


@dataclass(frozen=True)
class Rival:
    """One order that does not depend on the model, and how a map compares with it.

    Attributes
    ----------
    name : str
        ``"random"``, ``"center"`` or ``"edges"``.
    difference : float
        Its insertion minus deletion, as shares of the intact probability; of random orders the
        mean.
    margin : float
        Half the width of the interval: the map's difference minus this one's has to lie outside
        ±margin to count.
    verdict : str
        ``"better"``, ``"not distinguishable"`` or ``"worse"``.
    """

    name: str
    difference: float
    margin: float
    verdict: Verdict

    @property
    def title(self) -> str:
        """The title of this order, for users."""
        return TITLES[self.name]


@dataclass(frozen=True)
class Judgment:
    """Whether a map beats chance on one picture.

    Attributes
    ----------
    difference : float
        The map's insertion minus deletion, as shares of the intact probability.
    rivals : tuple of Rival
        Random order, center and edges, as far as the picture has them.
    orders : int
        Number of random orders from which the interval is computed.
    """

    difference: float
    rivals: tuple[Rival, ...]
    orders: int

    @property
    def better(self) -> bool:
        """Whether it is better than random order and than from the center outward."""
        return all(one.verdict == "better" for one in self.rivals if one.name != "edges")

    @property
    def interval(self) -> str:
        """The definition of the interval, in one sentence."""
        return (
            f"A gap counts if it is wider than {LEVEL:.0%} of the gaps between uninformative "
            f"orders on this picture (Student's interval from {self.orders} random orders)."
        )


def judged(found: Faithfulness, baselines: Mapping[str, Sequence[Faithfulness]]) -> Judgment:
    """Compare a map with orders that do not depend on the model.

    With the standard deviation ``s`` of the ``n`` random orders' differences and the quantile ``t``
    of Student's distribution with ``n - 1`` degrees of freedom, the margin is ``t·s·√(1 + 1/n)``
    against their mean, which is the prediction interval of one more such order, and ``t·s·√2``
    against a single order, the interval of the difference of two uninformative orders.

    Parameters
    ----------
    found
        Curves of the map.
    baselines
        Curves of `core.baseline_maps`, by name, of the same picture, model, class, fill, grid and
        steps: at least `FEWEST_ORDERS` of ``"random"``, and one or none of ``"center"`` and of
        ``"edges"``.

    Raises
    ------
    ParameterError
        Too few random orders, an unknown baseline, or curves of another picture, model or setting.
    """
    random = baselines.get("random", ())
    if len(random) < FEWEST_ORDERS:
        raise ParameterError(
            f"{len(random)} random orders were given, expected at least {FEWEST_ORDERS}: fewer "
            "do not determine the range of chance."
        )
    if unknown := baselines.keys() - TITLES:
        raise ParameterError(
            f"The baseline {min(unknown)!r} is unknown; give some of {', '.join(TITLES)}."
        )
    for one in (one for ones in baselines.values() for one in ones):
        if _measured(one) != _measured(found):
            raise ParameterError(
                "A baseline was measured on another picture, model, class, fill, grid or number "
                "of steps than the map; measure both alike."
            )
    count = len(random)
    spread = float(np.std([one.difference for one in random], ddof=1))
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * spread  # Student's quantile
    rivals = []
    for name in TITLES:
        if ones := baselines.get(name):
            mean = float(np.mean([one.difference for one in ones]))
            margin = reach * math.sqrt(1 + 1 / (count if name == "random" else 1))
            gap = found.difference - mean
            verdict: Verdict = "not distinguishable"
            if abs(gap) > margin:
                verdict = "better" if gap > 0 else "worse"
            rivals.append(Rival(name, mean, margin, verdict))
    return Judgment(found.difference, tuple(rivals), count)


def _measured(one: Faithfulness) -> tuple[object, ...]:
    """Properties that two pairs of curves must share to be compared."""
    return (
        one.picture_digest,
        one.view.size,
        one.model_id,
        one.weights_digest,
        one.target,
        one.fill,
        one.seed,
        one.grid,
        one.steps,
    )
