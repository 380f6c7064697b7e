"""RISE: randomized input sampling (Petsiuk et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.methods import cells
from core.methods.parameters import number
from core.methods.registry import Relevance, method
from core.recording.batches import portions
from core.recording.recording import Recording
from core.recording.run import Needs, run


@dataclass(frozen=True)
class RiseParameters:
    """How many masks of which kind."""

    patch: int = cells.patch_parameter()
    count: int = number(
        500, 1, 8000, 1, "Masks", "How many random masks are tried; more are slower and quieter."
    )
    mask_cells: int = number(
        8, 2, 16, 1, "Mask cells", "Cells of a mask along each side; fewer make larger blots."
    )
    keep: float = number(
        0.5, 0.05, 0.95, 0.05, "Kept", "Probability that a cell of a mask leaves the picture as is."
    )
    fill: str = cells.fill_parameter("Fill", "What the picture is mixed with where masked.")
    seed: int = number(0, 0, 9999, 1, "Seed", "Another seed draws other masks.")


class _Masks:
    """Random masks, drawn at once and enlarged when they are asked for."""

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
        """Shares (masks, height, width) of the picture that some of the masks keep, in [0, 1]."""
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
    serves=("cnn", "vit"),
    class_specific=True,
    meaning="The class's mean probability over random masks that leave this place as it is.",
    caveat="Only differences count: a place that means nothing has the mean of all masks. What is "
    "smaller than a cell of the masks is smeared, and few masks leave noise.",
    source="Petsiuk et al. 2018, arXiv 1806.07421",
    parameters=RiseParameters,
    needs=lambda model, parameters: Needs(),
)
def rise(recording: Recording, targets: Sequence[int], parameters: RiseParameters) -> Relevance:
    """``1/(n·p) Σ_i p_c(x ⊙ m_i + fill ⊙ (1 − m_i)) · m_i``, averaged over the pixels of a cell.

    A mask is a grid of cells kept with probability ``p``, enlarged bilinearly to one cell more than
    the picture and cut out at random, so that every pixel's mean over masks is ``p``. Dividing by
    ``n·p``, not by the sum of the masks drawn, leaves the estimate without bias.
    """
    model, pixels, size = recording.model, recording.pixels, recording.size
    grid = cells.grid_of(recording, parameters.patch)
    filling = cells.filling(recording, parameters.fill)
    chosen = torch.tensor(list(targets), device=pixels.device, dtype=torch.int64)
    masks, count = _Masks(size, parameters), parameters.count
    total = pixels.new_zeros(len(recording), *grid)
    for places in portions(model, size, len(recording) * count):
        picture, kept = places // count, masks(places % count)
        mixed = filling[picture].lerp(pixels[picture], kept[:, None])
        answers = run(model, cells.laid_out(mixed), Needs()).output.float().softmax(-1)
        scores = answers.gather(1, chosen[picture, None])[:, :, None]
        total.index_add_(0, picture, scores * cells.sums(kept, grid))
    area = cells.sums(pixels.new_ones(size), grid)
    return Relevance(
        total / (count * parameters.keep * area),
        if_zero="The class has no probability under any mask.",
    )
