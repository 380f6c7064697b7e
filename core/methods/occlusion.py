"""Occlusion (Zeiler & Fergus 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ParameterError
from core.fills import on_pixels
from core.methods import cells
from core.methods.parameters import number
from core.methods.registry import Relevance, method
from core.recording.batches import portions
from core.recording.recording import Recording
from core.recording.run import Needs, run
from core.targets import Target, of_each


@dataclass(frozen=True)
class OcclusionParameters:
    """Windows and fill."""

    patch: int = cells.patch_parameter()
    window: int = number(
        4, 1, 8, 1, "Window", "Side of the square that is replaced, in cells of the map."
    )
    stride: int = number(
        2, 1, 8, 1, "Stride", "Step from one window to the next in cells, at most the window."
    )
    # A blurred window still shows large things; the mean color is also the paper's choice.
    fill: str = cells.fill_parameter("Fill", "What the window is replaced with.", "mean")


_DIFFERENCE = (
    "For two classes, a place shows how far the difference of the two logits falls without it, "
    "not the change of a log-probability."
)


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Starts of windows along an axis; the last one ends at the edge, if necessary off the stride.

    Both ``window`` and ``length`` are in cells.
    """
    last = max(0, length - window)
    return sorted({*range(0, last, stride), last})


def _windows(grid: tuple[int, int], window: int, stride: int) -> Tensor:
    """Cells (windows, rows, cols) that each window covers, row by row."""
    rows, cols = grid
    tops, lefts = (_starts(length, window, stride) for length in grid)
    windows = torch.zeros(len(tops), len(lefts), rows, cols, dtype=torch.bool)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            windows[i, j, top : top + window, left : left + window] = True
    return windows.flatten(0, 1)


@method(
    "occlusion",
    title="Occlusion",
    order=80,
    serves=("cnn", "vit", "pixels"),
    class_specific=True,
    signed=True,
    meaning="How far the logarithm of the class's probability falls when this place is replaced; "
    "negative where the class gains. For a class rather than another: how far the difference of "
    "their logits falls.",
    caveat="A replaced window is itself visible to the model, and a class that two places show "
    "equally loses little without either. Needs one pass per window.",
    source="Zeiler & Fergus 2014, arXiv 1311.2901",
    parameters=OcclusionParameters,
    needs=lambda model, parameters: Needs(),
    passes=lambda recording, parameters: math.prod(
        len(_starts(length, parameters.window, parameters.stride))
        for length in cells.grid_of(recording, parameters.patch)
    ),
)
def occlusion(
    recording: Recording, targets: Sequence[Target], parameters: OcclusionParameters
) -> Relevance:
    """``mean_{windows over the cell} log p_c(x) − log p_c(x without window)``.

    For a class ``a`` rather than another ``b`` it is the decrease of ``y_a − y_b``. Softmax keeps
    that difference, ``log p_a − log p_b = y_a − y_b``, so the map is that of ``a`` less that of
    ``b``.
    """
    if parameters.stride > parameters.window:
        raise ParameterError(
            f"stride is {parameters.stride}, which leaves cells between windows of "
            f"{parameters.window} uncovered; choose a stride of at most the window."
        )
    model, pixels, size = recording.model, recording.pixels, recording.size
    grid = cells.grid_of(recording, parameters.patch)
    windows = _windows(grid, parameters.window, parameters.stride).to(pixels.device)
    filling = cells.filling(recording, parameters.fill)
    assert recording.logits is not None  # otherwise the method is not offered

    def score(target: Target, logits: Tensor) -> Tensor:
        return target.score(logits, model.answer, log=True)

    intact = of_each(targets, recording.logits.float(), score)
    drops = pixels.new_zeros(len(recording) * len(windows))
    for places in portions(model, size, len(drops)):
        picture, window = places // len(windows), places % len(windows)
        before = pixels[picture]
        without = torch.where(on_pixels(windows[window], size)[:, None], filling[picture], before)
        answers = run(model, cells.laid_out(without), Needs()).output.float()
        left = of_each([targets[place] for place in picture.tolist()], answers, score)
        # Batches of other sizes may differ in rounding; without a change of pixels the decrease is
        # zero.
        changed = (without != before).flatten(1).any(1)
        drops[places] = torch.where(changed, intact[picture] - left, 0.0)
    covered = windows.float()
    maps = torch.einsum("bw,wrc->brc", drops.view(len(recording), -1), covered)
    return Relevance(
        maps / covered.sum(dim=0),
        if_zero="The picture equals its fill, so nothing was removed, or the class's "
        "probability does not depend on it.",
        remarks=tuple(_DIFFERENCE if target.is_difference else "" for target in targets),
    )
