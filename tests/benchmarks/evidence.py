"""Evidence against the bare batched passes that it cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import core
from core.models import Model
from core.recording.batches import ON_CPU
from tests.benchmarks.speed import GIVEN, TARGET, pair, ratio, view_of
from tests.benchmarks.timing import Row

STEPS = 16


def passes(model: Model, view: Any, count: int) -> Callable[[], object]:
    """So many bare passes over one picture, `ON_CPU` at a time."""
    pixels = torch.cat([model.normalize(view)] * count)
    pixels = pixels.contiguous(memory_format=torch.channels_last)  # as ours are; a third faster

    def call() -> object:
        with torch.inference_mode():
            return [model.module(part) for part in pixels.split(ON_CPU)]

    return call


def curves(model: Model, view: Any, steps: int = STEPS) -> core.Faithfulness:
    """Deletion and insertion of a random order."""
    relevance = np.random.default_rng(0).random((16, 16))
    return core.faithfulness(model, view, relevance, TARGET, framing=GIVEN, steps=steps)


def rows(rounds: int) -> list[Row]:
    """A pair of curves, and occlusion."""
    found = []
    some = max(3, rounds // 3)
    for model in pair():
        view = view_of(model)
        size = (view.height, view.width)
        needed = 2 * STEPS  # both ends of both curves are the same two pictures
        found.append(
            ratio(
                f"deletion and insertion, {STEPS} steps, one image, {model.spec.title}",
                f"the {needed} bare passes that they need, {ON_CPU} at a time",
                1.15,
                lambda model=model, view=view: curves(model, view),
                passes(model, view, needed),
                some,
                "the picture is fitted, filled and put together anew for every batch",
            )
        )
        windows = core.removal_grid(model, size)
        needed = 1 + (windows[0] - 1) * (windows[1] - 1)  # of two cells, at a stride of one
        found.append(
            ratio(
                f"occlusion, {needed - 1} windows, one image, {model.spec.title}",
                f"the {needed} bare passes that it needs, {ON_CPU} at a time",
                1.15,
                lambda model=model, view=view: core.explain(
                    model, view, "occlusion", TARGET, framing=GIVEN, window=2, stride=1
                ),
                passes(model, view, needed),
                some,
                "the picture is put together anew for every batch",
            )
        )
    return found
