"""Effective receptive fields (Luo et al. 2016, arXiv 1701.04128)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import capacity, progress
from core.errors import ImageError, ParameterError
from core.frozen import Frozen
from core.images import Framing
from core.layerwise.layers import SEVERAL_SIZES, depth_taps, tap_of
from core.models import Model
from core.numerics import own_state
from core.recording.run import Needs, run

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ReceptiveField(Frozen):
    """Effective receptive field of the central place of a layer.

    Attributes
    ----------
    model_id, weights_digest : str
    layer : str
        The tap.
    values : (height, width) float32
        Mean over pictures of ``|∂ central unit / ∂ pixels|``, summed over red, green and blue; the
        unit is the sum of all channels at the central place.
    center : (float, float)
        Row and column of the central place, in pixels.
    pictures : int
    of_noise : bool
        Whether the pictures were noise.
    """

    model_id: str
    weights_digest: str
    layer: str
    values: Float
    center: tuple[float, float]
    pictures: int
    of_noise: bool

    @property
    def distance(self) -> float:
        """Mean distance from the center in pixels, weighted by the values; 0 if all are zero."""
        rows, cols = np.indices(self.values.shape) + 0.5
        apart = np.hypot(rows - self.center[0], cols - self.center[1])
        total = float(self.values.sum(dtype=np.float64))
        return float((self.values * apart).sum(dtype=np.float64)) / total if total else 0.0

    def side(self, share: float = 0.9) -> int:
        """Side in pixels of the smallest square around the center with this share of the values.

        Raises
        ------
        ParameterError
            The share is not above 0 and at most 1.
        """
        if not 0.0 < share <= 1.0:
            raise ParameterError(f"The share is {share}, expected above 0 and at most 1.")
        rows, cols = np.indices(self.values.shape) + 0.5
        apart = np.maximum(np.abs(rows - self.center[0]), np.abs(cols - self.center[1])).ravel()
        order = np.argsort(apart, kind="stable")
        sums = np.cumsum(self.values.ravel()[order], dtype=np.float64)
        first = int(np.searchsorted(sums, share * sums[-1] * (1 - 1e-12)))
        return int(np.ceil(2 * apart[order[min(first, len(order) - 1)]])) + 1


def receptive_field(
    model: Model,
    stage: str,
    images: Image.Image | Iterable[Image.Image] | None = None,
    framing: Framing | None = None,
    *,
    noise: int = 8,
    seed: int = 0,
) -> ReceptiveField:
    """Which pixels the central place of a layer depends on, and how much.

    Parameters
    ----------
    stage
        A name of ``model.layers`` or ``model.taps``, such as ``"stage.3"`` or ``"block.7"``.
    images
        Of equal size after fitting; ``None`` for noise.
    noise
        Inputs of normal noise, where no pictures are given.
    seed
        Of the noise.

    Raises
    ------
    ParameterError
        The model has no such layer, or no noise was asked for.
    ImageError
        No picture, or several sizes after fitting.
    """
    [found] = receptive_fields(model, [stage], images, framing, noise=noise, seed=seed)
    return found


def receptive_fields(
    model: Model,
    stages: Sequence[str] | None = None,
    images: Image.Image | Iterable[Image.Image] | None = None,
    framing: Framing | None = None,
    *,
    noise: int = 8,
    seed: int = 0,
) -> tuple[ReceptiveField, ...]:
    """`receptive_field` of several layers, with one forward pass for all of them.

    Parameters
    ----------
    stages
        As of `receptive_field`; by default all by depth.
    """
    if noise < 1:
        raise ParameterError(f"The noise is {noise}, expected at least 1 input.")
    taps = depth_taps(model) if stages is None else tuple(tap_of(model, one) for one in stages)
    sums: list[Tensor] | None = None
    size, count = (0, 0), 0
    if isinstance(images, Image.Image):
        images = [images]
    drawn = images is None
    inputs = _noise(model, framing, noise, seed) if drawn else _seen(model, images or (), framing)
    for pixels in inputs:
        progress.step(count, max(count, noise))
        now = (pixels.shape[2], pixels.shape[3])
        if sums is not None and now != size:
            raise ImageError(SEVERAL_SIZES)
        found, size = _gradients(model, pixels, taps), now
        sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
        count += 1
    if sums is None:
        raise ImageError("No picture was given; choose at least one.")
    progress.step(count, count)
    return tuple(
        ReceptiveField(
            model_id=model.spec.id,
            weights_digest=model.weights_digest,
            layer=tap,
            values=(total / count).float().cpu().numpy(),
            center=_center(model.grid_of(tap, size), size),
            pictures=count,
            of_noise=drawn,
        )
        for tap, total in zip(taps, sums, strict=True)
    )


def _center(grid: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    row, col = ((side // 2 + 0.5) / side * pixels for side, pixels in zip(grid, size, strict=True))
    return row, col


def _seen(model: Model, images: Iterable[Image.Image], framing: Framing | None) -> Iterator[Tensor]:
    for image in images:
        yield model.pixels(image, framing)


def _noise(model: Model, framing: Framing | None, count: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        with own_state():
            made = torch.randn(
                (1, 3, *model.shape(framing)), generator=generator, dtype=torch.float32
            )
            pixels = made.to(model.device)
        yield pixels


@own_state(gradients=True)
def _gradients(model: Model, pixels: Tensor, taps: Sequence[str]) -> list[Tensor]:
    """``|∂ central unit / ∂ pixels|`` of each layer, summed over colors: (height, width) each."""
    pixels = pixels.detach().clone().requires_grad_()
    done = run(model, pixels, Needs(taps))
    found = []
    with capacity.admitted(ahead=True):
        for tap in taps:
            maps = model.on_grid(done.tensor(tap), tap, done.size)
            unit = maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum()
            [gradient] = torch.autograd.grad(
                unit, [pixels], retain_graph=True, materialize_grads=True
            )
            found.append(gradient[0].abs().sum(dim=0).cpu().double())
    return found
