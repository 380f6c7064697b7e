"""How figures are taken: interleaved calls, medians, one row of the table for each target."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

ROUNDS = 15
WARM_UP = 2


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what, against
        What was measured, and what it is divided by (or "absolute").
    value : float
        The figure that the target is about.
    unit : str
        "×" for a ratio, else the unit of the value.
    reach : float or None
        The target; ``None`` where there is none.
    at_most : bool
        Whether the target is an upper limit.
    details : dict of str to float
        Absolute figures behind the value, in the unit that their name says.
    note : str
        What a reader must know.
    reason : str
        Why the target is missed, where it is.
    repeats : int
        How often each call was timed; 1 for what was measured once.
    """

    what: str
    against: str
    value: float
    unit: str = "×"
    reach: float | None = None
    at_most: bool = True
    details: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    reason: str = ""
    repeats: int = 1

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; ``None`` where there is none."""
        if self.reach is None:
            return None
        return self.value <= self.reach if self.at_most else self.value >= self.reach


def synchronize() -> None:
    """Wait for the accelerator, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


Clock = Callable[[], float]


def seconds(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Time of one call, by default wall time."""
    synchronize()
    started = clock()
    call()
    synchronize()
    return clock() - started


def medians(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    clock: Clock = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that a busy moment hits all alike."""
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, clock))
    return {name: statistics.median(values) for name, values in times.items()}


def milliseconds(times: Mapping[str, float]) -> dict[str, float]:
    """The same in ms, rounded, with the unit in the name."""
    return {f"{name} ms": round(1000 * value, 2) for name, value in times.items()}
