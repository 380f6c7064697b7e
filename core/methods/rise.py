"""RISE: randomized input sampling (Petsiuk et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.methods import cells
from core.methods.parameters import choice, number
from core.methods.registry import Relevance, method
from core.recording.batches import portions
from core.recording.recording import Recording
from core.recording.run import Needs, run
from core.targets import Target, of_each

AT_ONCE = 32
"""Masks that are enlarged together where no network runs."""

SAME = 1e-12
"""Variance of the share kept below which all masks count as equal at a cell."""


@dataclass(frozen=True)
class RiseParameters:
    """Number and kind of masks, and the definition of the map."""

    definition: str = choice(
        "centered",
        ("centered", "paper"),
        "Definition",
        "“centered”: how much more probable the class is where the place is kept; zero means no "
        "influence. “paper”: the published mean of probability times mask, which also shows how "
        "often each place was kept.",
    )
    patch: int = cells.patch_parameter()
    count: int = number(
        500,
        1,
        8000,
        1,
        "Masks",
        "How many random masks are tried; more are slower and reduce noise.",
    )
    mask_cells: int = number(
        8, 2, 16, 1, "Mask cells", "Cells of a mask along each side; fewer give coarser masks."
    )
    keep: float = number(
        0.5,
        0.05,
        0.95,
        0.05,
        "Kept",
        "Probability that a cell of a mask leaves the picture as it is.",
    )
    fill: str = cells.fill_parameter("Fill", "What masked places are mixed with.")
    seed: int = number(0, 0, 9999, 1, "Seed", "Another seed draws other masks.")


_DIFFERENCE = (
    "For two classes, a place shows how much larger the difference of the two logits is where it "
    "is kept, not a probability."
)


class _Masks:
    """Random masks, drawn at once and enlarged on request."""

    def __init__(self, size: tuple[int, int], parameters: RiseParameters) -> None:
        generator = torch.Generator().manual_seed(parameters.seed)
        count, across = parameters.count, parameters.mask_cells
        self.size = size
        self.cell = [math.ceil(side / across) for side in size]
        shape = (count, 1, across, across)
        self.coarse = (
            torch.rand(shape, generator=generator, dtype=torch.float32) < parameters.keep
        ).float()
        self.shifts = torch.stack(
            [
                torch.randint(side, (count,), generator=generator, dtype=torch.int64)
                for side in self.cell
            ],
            dim=1,
        )

    def __call__(self, places: Tensor) -> Tensor:
        """Shares (masks, height, width) of the picture kept by the given masks, in [0, 1]."""
        chosen = places.cpu()
        (height, width), across = self.size, self.coarse.shape[-1]
        large = functional.interpolate(
            self.coarse[chosen].to(places.device),
            size=[(across + 1) * side for side in self.cell],
            mode="bilinear",
            align_corners=False,
        )[:, 0]
        shifts = self.shifts[chosen].tolist()
        return torch.stack(
            [
                one[top : top + height, left : left + width]
                for one, (top, left) in zip(large, shifts, strict=True)
            ]
        )


@method(
    "rise",
    title="RISE",
    order=81,
    serves=("cnn", "vit", "pixels"),
    class_specific=True,
    signed=True,
    has_zero=lambda parameters: parameters.definition == "centered",
    earlier={"definition": "paper"},
    meaning="How much more probable the class is under random masks that leave this place as it "
    "is; negative where the class gains by the mask. For a class rather than another: how much "
    "larger the difference of their logits.",
    caveat="Details smaller than a mask cell are blurred, and few masks leave noise. By the "
    "paper's definition only differences are meaningful: it includes the mean probability times "
    "how often each place was kept.",
    source="Petsiuk et al. 2018, arXiv 1806.07421",
    parameters=RiseParameters,
    needs=lambda model, parameters: Needs(),
    passes=lambda recording, parameters: parameters.count,
)
def rise(recording: Recording, targets: Sequence[Target], parameters: RiseParameters) -> Relevance:
    """``Σ_i (p_i − p̄)(m_i − m̄) / Σ_i (m_i − m̄)²`` at each cell, or the paper's sum.

    ``p_i`` is the class's probability for ``x ⊙ m_i + fill ⊙ (1 − m_i)``, and ``m_i`` the share of
    the cell that mask ``i`` keeps: the slope of a regression line, in probability from
    nothing kept to all. The paper uses ``1/(n·p) Σ_i p_i · m_i``, which at a few hundred masks
    shows the masks' own mean more than the answers.

    For a class ``a`` rather than another ``b`` the difference of their logits, ``y_a − y_b``,
    replaces the probability in both.

    A mask is a grid of cells kept with probability ``p``, enlarged bilinearly to one cell more than
    the picture and cut out at random, so that every pixel's mean over masks is ``p``.
    """
    model, pixels, size = recording.model, recording.pixels, recording.size
    filling = cells.filling(recording, parameters.fill)
    masks, count = _Masks(size, parameters), parameters.count
    remarks = tuple(_DIFFERENCE if target.is_difference else "" for target in targets)

    def score(target: Target, logits: Tensor) -> Tensor:
        return target.score(logits, model.answer)

    scores = torch.zeros(len(recording) * count, dtype=torch.float64)
    for places in portions(model, size, len(scores)):
        picture, kept = places // count, masks(places % count)
        mixed = filling[picture].lerp(pixels[picture], kept[:, None])
        answers = run(model, cells.laid_out(mixed), Needs()).output.float()
        asked = [targets[place] for place in picture.tolist()]
        scores[places.cpu()] = of_each(asked, answers, score).double().cpu()
    by_picture = scores.view(len(recording), count)
    if parameters.definition == "paper":
        weighted, _, _ = _sums(masks, by_picture, cells.grid_of(recording, parameters.patch))
        return Relevance(
            (weighted / (count * parameters.keep)).float(),
            if_zero="The class has no probability under any mask.",
            remarks=remarks,
        )
    # Set equal answers exactly to their mean, so that no rounding error remains.
    centered = by_picture - by_picture.mean(dim=1, keepdim=True)
    weighted, kept_sum, squares = _sums(masks, centered, cells.grid_of(recording, parameters.patch))
    rest = centered.sum(dim=1)[:, None, None] * kept_sum / count
    spread = squares - kept_sum.square() / count
    slopes = (weighted - rest) / torch.where(spread > count * SAME, spread, torch.inf)
    return Relevance(
        slopes.float(),
        if_zero="A single mask cannot be compared with others; choose more masks."
        if count == 1
        else "The class's probability does not depend on what these masks keep.",
        remarks=remarks,
    )


def _sums(masks: _Masks, scores: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over masks of score times share kept, share kept, and its square, of each cell.

    Parameters
    ----------
    scores : (batch, masks) float64

    Returns
    -------
    weighted : (batch, rows, cols) float64
    kept, squares : (rows, cols) float64
    """
    area = cells.sums(torch.ones(masks.size, dtype=torch.float64), grid)
    weighted = torch.zeros(len(scores), *grid, dtype=torch.float64)
    kept, squares = torch.zeros(grid, dtype=torch.float64), torch.zeros(grid, dtype=torch.float64)
    for places in torch.split(torch.arange(scores.shape[1], dtype=torch.int64), AT_ONCE):
        shares = cells.sums(masks(places), grid).double() / area
        weighted += torch.einsum("bm,mrc->brc", scores[:, places], shares)
        kept += shares.sum(dim=0)
        squares += shares.square().sum(dim=0)
    return weighted, kept, squares
