"""Methods that change pixels or ask for gradients at them, slowly and in double precision.

Nothing here uses the application's own arithmetic: pictures are blurred, cut into cells and masked
again, the bare library network answers one input after the other.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from tests.support.builders import BRIEF, PATCH, VITS, Built, answer

Array = npt.NDArray[np.float64]
CELL_OF_A_CNN = 14


def view_of(case: Built, pixels: Tensor) -> Array:
    """The 8-bit picture (height, width, 3) that standardized pixels were made of."""
    given = case.model.preprocessing
    unit = pixels.permute(1, 2, 0).numpy() * np.array(given.std) + np.array(given.mean)
    return np.round(unit * 255)


def standardized(case: Built, view: Array) -> Tensor:
    """Model input (3, height, width) in double precision."""
    given = case.model.preprocessing
    return torch.from_numpy((view / 255 - given.mean) / given.std).permute(2, 0, 1)


def fill_of(view: Array, fill: str) -> Array:
    """What replaces parts of a picture, 8 bits."""
    if fill == "blur":
        blur = ImageFilter.GaussianBlur(min(view.shape[:2]) / 16)
        return np.asarray(Image.fromarray(view.astype(np.uint8)).filter(blur), dtype=np.float64)
    if fill == "black":
        return np.zeros_like(view)
    colors = view.reshape(-1, 3)
    if fill == "mean":
        return np.tile(np.round(colors.mean(axis=0)), (*view.shape[:2], 1))
    noise = np.random.default_rng(0).standard_normal(view.shape)
    return np.clip(np.round(colors.mean(axis=0) + colors.std(axis=0) * noise), 0, 255)


def edges(length: int, parts: int) -> list[int]:
    """Where cells begin and end along a side, halves rounded up."""
    return [math.floor(i * length / parts + 0.5) for i in range(parts + 1)]


def cells_of(case: Built, view: Array, patch: int | None) -> tuple[list[int], list[int]]:
    """Edges of rows and of columns."""
    patch = patch or (PATCH if case.name in VITS else CELL_OF_A_CNN)
    rows, cols = (max(1, round(side / patch)) for side in view.shape[:2])
    return edges(view.shape[0], rows), edges(view.shape[1], cols)


def places(cells: tuple[list[int], list[int]]) -> Iterator[tuple[int, int]]:
    """Rows and columns of a grid."""
    return itertools.product(range(len(cells[0]) - 1), range(len(cells[1]) - 1))


def block(values: Array, cells: tuple[list[int], list[int]], row: int, col: int) -> Array:
    """The pixels of one cell, as a view into ``values`` (height, width, ...)."""
    return values[cells[0][row] : cells[0][row + 1], cells[1][col] : cells[1][col + 1]]


def reduced(
    values: Array, cells: tuple[list[int], list[int]], how: Callable[[Array], float]
) -> Array:
    """A value of each cell's pixels."""
    result = np.empty((len(cells[0]) - 1, len(cells[1]) - 1))
    for row, col in places(cells):
        result[row, col] = how(block(values, cells, row, col))
    return result


def network(case: Built) -> Callable[[Tensor], Tensor]:
    """The bare network in double precision: (3, height, width) to (classes,)."""
    module = copy.deepcopy(case.bare).double()
    return lambda pixels: answer(module, pixels[None])[0]


def occlusion(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    patch: int | None = None,
    window: int = BRIEF["occlusion"]["window"],
    stride: int = BRIEF["occlusion"]["stride"],
    fill: str = "mean",
) -> Array:
    """Every window in turn: how far log p falls, and for each cell the mean over its windows."""
    ask, maps = network(case), []
    for one, target in zip(pixels, targets, strict=True):
        view = view_of(case, one)
        cells, replaced = cells_of(case, view, patch), fill_of(view, fill)
        intact = ask(standardized(case, view)).log_softmax(0)[target]
        rows, cols = len(cells[0]) - 1, len(cells[1]) - 1
        found: dict[tuple[int, int], list[float]] = {}
        for top, left in itertools.product(
            *[
                {min(start, max(0, n - window)) for start in range(0, n, stride)}
                for n in (rows, cols)
            ]
        ):
            without = view.copy()
            covered = [
                (row, col)
                for row in range(top, min(top + window, rows))
                for col in range(left, min(left + window, cols))
            ]
            for row, col in covered:
                block(without, cells, row, col)[:] = block(replaced, cells, row, col)
            left_over = ask(standardized(case, without)).log_softmax(0)[target]
            for place in covered:
                found.setdefault(place, []).append(float(intact - left_over))
        maps.append([[np.mean(found[row, col]) for col in range(cols)] for row in range(rows)])
    return np.array(maps)


def stretch(length: int, cells: int) -> Array:
    """Weights (length, cells) of bilinear enlargement, pixel centers at halves, edges repeated."""
    weights = np.zeros((length, cells))
    for place in range(length):
        position = min(max((place + 0.5) * cells / length - 0.5, 0), cells - 1)
        low = min(int(position), cells - 2)
        weights[place, low] += 1 - (position - low)
        weights[place, low + 1] += position - low
    return weights


def rise_masks(
    size: tuple[int, int], count: int, across: int, keep: float, seed: int
) -> Iterator[Array]:
    """Masks (height, width) from the same random numbers as the application's."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 1, across, across), generator=generator) < keep
    cell = [math.ceil(side / across) for side in size]
    tops, lefts = (torch.randint(side, (count,), generator=generator) for side in cell)
    tall, wide = (stretch((across + 1) * side, across) for side in cell)
    for one, top, left in zip(coarse[:, 0].numpy(), tops.tolist(), lefts.tolist(), strict=True):
        large = tall @ one.astype(np.float64) @ wide.T
        yield large[top : top + size[0], left : left + size[1]]


def rise(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    patch: int | None = None,
    count: int = BRIEF["rise"]["count"],
    mask_cells: int = 8,
    keep: float = 0.5,
    fill: str = "blur",
    seed: int = 0,
    definition: str = "centered",
) -> Array:
    """Petsiuk et al. 2018, or the slope of the line that fits the answers best, cell by cell."""
    ask, maps = network(case), []
    for one, target in zip(pixels, targets, strict=True):
        view = view_of(case, one)
        replaced, cells = fill_of(view, fill), cells_of(case, view, patch)
        answers, shares = [], []
        for mask in rise_masks(view.shape[:2], count, mask_cells, keep, seed):
            mixed = mask[..., None] * view + (1 - mask[..., None]) * replaced
            answers.append(float(ask(standardized(case, mixed)).softmax(0)[target]))
            shares.append(reduced(mask, cells, lambda values: float(values.mean())))
        kept = np.stack(shares)
        found = np.tensordot(answers, kept, axes=1) / count / keep
        if definition == "centered":
            for place in np.ndindex(found.shape):
                line = np.polynomial.Polynomial.fit(kept[:, *place], answers, 1).convert()
                found[place] = line.coef[1]
        maps.append(found)
    return np.stack(maps)


def gradient(ask: Callable[[Tensor], Tensor], pixels: Tensor, target: int) -> Tensor:
    """∂logit/∂pixels."""
    leaf = pixels.clone().requires_grad_()
    (found,) = torch.autograd.grad(ask(leaf)[target], leaf)
    return found


def summed(case: Built, view: Array, attributed: Tensor, patch: int | None) -> Array:
    """Attribution of pixels (3, height, width) summed over channels and cells."""
    values = attributed.sum(dim=0).numpy()
    return reduced(values, cells_of(case, view, patch), lambda values: float(values.sum()))


def integrated_gradients(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    patch: int | None = None,
    baseline: str = "blur",
    steps: int = BRIEF["integrated_gradients"]["steps"],
) -> Array:
    """Sundararajan et al. 2017, by the midpoint rule."""
    ask, maps = network(case), []
    for one, target in zip(pixels, targets, strict=True):
        view = view_of(case, one)
        end, start = (standardized(case, v) for v in (view, fill_of(view, baseline)))
        along = torch.zeros_like(end)
        for step in range(steps):
            along += gradient(ask, start + (step + 0.5) / steps * (end - start), target) / steps
        maps.append(summed(case, view, (end - start) * along, patch))
    return np.stack(maps)


def input_x_gradient(
    case: Built, pixels: Tensor, targets: Sequence[int], patch: int | None = None
) -> Array:
    """Standardized pixels times the gradient there."""
    ask, maps = network(case), []
    for one, target in zip(pixels, targets, strict=True):
        view = view_of(case, one)
        exact = standardized(case, view)
        maps.append(summed(case, view, exact * gradient(ask, exact, target), patch))
    return np.stack(maps)


def smooth_grad(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    patch: int | None = None,
    count: int = BRIEF["smooth_grad"]["count"],
    noise: float = 0.15,
    seed: int = 0,
) -> Array:
    """Smilkov et al. 2017: size of the mean gradient over noisy copies."""
    ask, maps = network(case), []
    for one, target in zip(pixels, targets, strict=True):
        view = view_of(case, one)
        exact = standardized(case, view)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn((count, *exact.shape), generator=generator).double()
        spread = noise * (exact.max() - exact.min())
        total = torch.zeros_like(exact)
        for copy_ in drawn:
            total += gradient(ask, exact + spread * copy_, target) / count
        maps.append(summed(case, view, total.abs(), patch))
    return np.stack(maps)


ORACLES: dict[str, Callable[..., Array]] = {
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
    "rise": rise,
    "smooth_grad": smooth_grad,
}
"""By method name; each gives (batch, rows, cols)."""
