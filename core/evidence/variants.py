"""Answers for many variants of pictures, in shared batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import progress
from core.models import Model
from core.numerics import own_state
from core.recording.batches import portion
from core.recording.run import Needs, run

Numbers = npt.NDArray[np.float64]


class Variants(Protocol):
    """Variants of one view, created only when their batch runs."""

    @property
    def view(self) -> Image.Image:
        """The unchanged view; all variants have its size."""

    def __len__(self) -> int: ...

    def inputs(self, model: Model, part: slice) -> Tensor:
        """Model input of consecutive variants: (variants, 3, height, width)."""


def answers(model: Model, jobs: Sequence[Variants]) -> Iterator[tuple[int, Numbers]]:
    """Logits of all variants of all jobs; variants of equally large views share passes.

    Only the variants of one pass exist at a time; see
    `core.recording.batches.portion`.

    Yields
    ------
    place, logits : int, (variants, classes) float64
        The job's index in ``jobs``, as soon as the logits of all of its variants are known.

    Raises
    ------
    ImageError, BusyError, Stopped
    """
    found: dict[int, list[Numbers]] = {}
    for batch in progress.steps(_batches(model, jobs)):
        with own_state():
            pixels = torch.cat([jobs[place].inputs(model, part) for place, part in batch])
            logits = run(model, pixels, Needs()).output.double().cpu().numpy()
            del pixels
        for place, part in batch:
            found.setdefault(place, []).append(logits[: part.stop - part.start])
            logits = logits[part.stop - part.start :]
            if part.stop == len(jobs[place]):
                yield place, np.concatenate(found.pop(place))


def _batches(model: Model, jobs: Sequence[Variants]) -> list[list[tuple[int, slice]]]:
    """Which variants of which job share a pass."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, job in enumerate(jobs):
        groups.setdefault((job.view.height, job.view.width), []).append(place)
    batches: list[list[tuple[int, slice]]] = []
    for size, places in groups.items():
        most, room = portion(model, size), 0
        for place in places:
            start = 0
            while start < len(jobs[place]):
                if not room:
                    batches.append([])
                    room = most
                stop = min(len(jobs[place]), start + room)
                batches[-1].append((place, slice(start, stop)))
                room -= stop - start
                start = stop
    return batches
