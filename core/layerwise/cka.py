"""Similarity of layers: centered kernel alignment.

Linear kernel (Kornblith et al. 2019, arXiv 1905.00414), summed over batches of pictures with the
unbiased estimator of Nguyen et al. 2021 (arXiv 2010.15327).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
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
from core.layerwise.layers import SEVERAL_SIZES, by_place, depth_taps, tap_of
from core.models import Model
from core.numerics import own_state
from core.recording.batches import record_stream
from core.recording.run import Needs

Float = npt.NDArray[np.float32]

FEWEST = 4
"""Pictures below which the estimator is not defined."""

DRAWS, QUANTILE = 100, 0.95
"""Shuffles of each batch, and the quantile of them that is reported."""

NOTHING = 1e-10
"""Share of a layer's squared length below which its variation over pictures is rounding alone."""


@dataclass(frozen=True, eq=False)
class LayerSimilarity(Frozen):
    """Similarity of all layers of one or several models.

    Attributes
    ----------
    models : tuple of str
        Ids.
    layers : tuple of tuple of str
        Taps of each model, first to last.
    values : (layers, layers) float32
        CKA, all layers of the first model before those of the second: 1 for equal layers up to
        rotation and scale, about 0 for unrelated ones, also slightly below.
    shuffled : (layers, layers) float32
        What 19 of 20 comparisons of each layer with that of *other* pictures stay below: chance.
    pictures, together : int
        Number of pictures, and of each batch.
    weights : tuple of str
        Digests of the models' weights.
    """

    models: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    values: Float
    shuffled: Float
    pictures: int
    together: int
    weights: tuple[str, ...]

    def between(self, first: int = 0, second: int = -1) -> Float:
        """CKA of the layers of two models, by their numbers: (layers, layers)."""
        return self._part(self.values, first, second)

    def chance(self, first: int = 0, second: int = -1) -> Float:
        """`shuffled` of the layers of two models, by their numbers: (layers, layers)."""
        return self._part(self.shuffled, first, second)

    def _part(self, matrix: Float, first: int, second: int) -> Float:
        ends = np.cumsum([0, *map(len, self.layers)])
        numbers = range(len(self.layers))
        rows, cols = (slice(ends[numbers[i]], ends[numbers[i] + 1]) for i in (first, second))
        part: Float = matrix[rows, cols]
        return part


def cka(
    models: Model | Sequence[Model],
    images: Iterable[Image.Image],
    framing: Framing | None = None,
    *,
    layers: Sequence[Sequence[str]] | None = None,
    together: int = 20,
    seed: int = 0,
) -> LayerSimilarity:
    """How alike the layers of models are, by CKA over a set of pictures.

    A layer's features are all of its values for a picture. They are the same layer up to rotation
    and scale where CKA is 1. Pictures are streamed: only one batch is held.

    Parameters
    ----------
    models
        One model, whose layers are compared with each other, or several.
    images
        At least 4, of equal size after fitting.
    layers
        For each model, names of ``model.taps`` or ``model.layers``; by default all stages or
        blocks, the embedding and the input of the classifier.
    together
        Pictures of a batch, at least 4, fewer where the memory budget requires it. CKA is
        estimated without bias for any number, with less spread for more.
    seed
        Of the shuffles.

    Raises
    ------
    ImageError
        Fewer than 4 pictures, or of several sizes after fitting.
    ParameterError
        A batch of fewer than 4 pictures, or a layer that does not exist.
    UnsupportedMethod
        A model has no layers that can be recorded.
    """
    several = [models] if isinstance(models, Model) else list(models)
    if not several:
        raise ParameterError("No model was given; choose at least one.")
    if together < FEWEST:
        raise ParameterError(f"The batch is {together}, expected at least {FEWEST} pictures.")
    if layers is not None and len(layers) != len(several):
        raise ParameterError(f"Layers of {len(layers)} models were given for {len(several)}.")
    taps = [
        depth_taps(model) if layers is None else tuple(tap_of(model, name) for name in layers[i])
        for i, model in enumerate(several)
    ]
    sums = _Sums(sum(map(len, taps)), seed)
    total = len(images) if isinstance(images, Sized) else 0
    progress.step(0, total)
    size = _fitting(several, framing, together)
    for batch in _batches(images, size):
        sums.add(
            [g for m, t in zip(several, taps, strict=True) for g in _grams(m, t, batch, framing)]
        )
        progress.step(sums.pictures, max(total, sums.pictures))
    if not sums.pictures:
        raise ImageError("No picture was given; choose at least 4.")
    return LayerSimilarity(
        models=tuple(model.spec.id for model in several),
        layers=tuple(taps),
        values=sums.values(sums.total),
        shuffled=np.quantile([sums.values(one) for one in sums.shuffled], QUANTILE, axis=0).astype(
            np.float32
        ),
        pictures=sums.pictures,
        together=size,
        weights=tuple(model.weights_digest for model in several),
    )


def _fitting(models: Sequence[Model], framing: Framing | None, together: int) -> int:
    """Pictures whose features may be held at a time."""
    each = max(model.footprint(model.shape(framing)) for model in models)
    return max(FEWEST, min(together, capacity.memory_budget() // max(1, each)))


def _batches(images: Iterable[Image.Image], size: int) -> Iterator[list[Image.Image]]:
    """Batches of ``size`` pictures; the last has as many as are left, never fewer than 4."""
    held: list[Image.Image] = []
    for image in images:
        held.append(image)
        if len(held) == size + FEWEST:
            yield held[:size]
            held = held[size:]
    if held and len(held) < FEWEST:
        raise ImageError(f"{len(held)} picture(s) were given; CKA takes at least {FEWEST}.")
    if held:
        yield held


def _grams(
    model: Model, taps: Sequence[str], images: Sequence[Image.Image], framing: Framing | None
) -> Iterator[tuple[Tensor, float]]:
    """Products of the centered features of each layer, and their mean squared length before."""
    parts: dict[str, list[tuple[tuple[int, ...], Tensor]]] = {tap: [] for tap in taps}
    sizes = set()
    for batch in record_stream(model, images, framing, Needs(taps)):
        sizes.add(batch.recording.size)
        if len(sizes) > 1:
            raise ImageError(SEVERAL_SIZES)
        for tap in taps:
            parts[tap].append((batch.places, batch.recording.tensor(tap)))
        del batch
    for tap in taps:
        yield _gram(parts.pop(tap))


@own_state()
def _gram(parts: Sequence[tuple[tuple[int, ...], Tensor]]) -> tuple[Tensor, float]:
    features = by_place(parts).flatten(1).float()
    length = float(features.square().sum(dim=1).mean())
    features -= features.mean(dim=0)
    return (features @ features.T).cpu().double(), length


def _centered(products: Tensor) -> Tensor:
    """Products without diagonal, centered so that sums of rows are zero (Székely & Rizzo 2014).

    The sum of the elementwise products of two such matrices, over n (n - 3), is the unbiased
    estimator of HSIC of Song et al. 2012.
    """
    count = len(products)
    off = products - torch.diag(products.diagonal())
    rows = off.sum(dim=1) / (count - 2)
    found = off - rows[:, None] - rows[None] + off.sum() / ((count - 1) * (count - 2))
    return found.fill_diagonal_(0.0)


class _Sums:
    """Sums of the estimator over batches, of the pictures and of shuffled ones."""

    def __init__(self, layers: int, seed: int) -> None:
        self.total = np.zeros((layers, layers))
        self.shuffled = np.zeros((DRAWS, layers, layers))
        self.lengths = np.zeros(layers)
        self.pictures = 0
        self._random = np.random.default_rng(seed)

    @own_state()
    def add(self, grams: Sequence[tuple[Tensor, float]]) -> None:
        """Add one batch: for each layer what `_gram` gives."""
        count = len(grams[0][0])
        centered = np.stack([_centered(products).numpy() for products, _ in grams])
        flat = centered.reshape(len(grams), -1) / np.sqrt(count * (count - 3))
        self.total += flat @ flat.T
        for draw in self.shuffled:
            order = self._random.permutation(count)
            draw += flat @ flat.reshape(centered.shape)[:, order][:, :, order].reshape(flat.shape).T
        # A layer may vary in some batches only, so it counts as one that varies by its whole sum.
        self.lengths += [length**2 for _, length in grams]
        self.pictures += count

    def values(self, sums: npt.NDArray[np.float64]) -> Float:
        """CKA of the sums; 0 for a layer that does not vary over the pictures."""
        own = np.diagonal(self.total)
        varies = own > NOTHING**2 * self.lengths
        scale = np.sqrt(np.where(varies, own, 1.0))
        known = varies[:, None] & varies[None]
        found: Float = np.where(known, sums / np.outer(scale, scale), 0.0).astype(np.float32)
        return found
