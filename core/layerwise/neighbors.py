"""Nearest pictures in the features of each layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.errors import ParameterError
from core.frozen import Frozen
from core.images import Framing
from core.layerwise.layers import by_place, depth_taps, embedding_taps, embeddings, recorded
from core.models import Model
from core.numerics import own_state
from core.recording.recording import Recording
from core.recording.run import Needs

EMBEDDING = "embedding"
"""Name of the last layer: what the classifier reads."""


@dataclass(frozen=True, eq=False)
class Neighbors(Frozen):
    """The nearest pictures of each picture, by layer of each model.

    Attributes
    ----------
    models : tuple of str
        Ids.
    layers : tuple of tuple of str
        Taps of each model, first to last, then ``"embedding"``, what its classifier reads.
    nearest : tuple of (layers, pictures, k) int64
        For each model, the indices of the nearest pictures by cosine, the nearest first.
    pictures, k : int
    """

    models: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    nearest: tuple[npt.NDArray[np.int64], ...]
    pictures: int
    k: int

    @property
    def chance(self) -> float:
        """Expected overlap of ``k`` neighbors with as many pictures drawn at random."""
        return self.k / (self.pictures - 1)

    def common(self, first: int = 0, second: int = -1) -> npt.NDArray[np.int64]:
        """How many of ``k`` neighbors two models share in their embeddings: (pictures,)."""
        one, other = self.nearest[first][-1], self.nearest[second][-1]
        found: npt.NDArray[np.int64] = (one[:, :, None] == other[:, None]).any(axis=2).sum(axis=1)
        return found

    def overlap(self, first: int = 0, second: int = -1) -> npt.NDArray[np.float32]:
        """Share of neighbors common to two models, mean over pictures: (layers, layers)."""
        one, other = (self._sets(self.nearest[i]) for i in (first, second))
        shared = one.reshape(len(one), -1) @ other.reshape(len(other), -1).T
        return (shared / (self.pictures * self.k)).astype(np.float32)

    def _sets(self, nearest: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        held = np.zeros((*nearest.shape[:2], self.pictures), dtype=np.float32)
        np.put_along_axis(held, nearest, 1.0, axis=2)
        return held


def neighbors(
    models: Model | Sequence[Model],
    images: Sequence[Image.Image],
    k: int = 5,
    framing: Framing | None = None,
) -> Neighbors:
    """The ``k`` nearest pictures of each picture, by the features of each layer of each model.

    Features of a layer are the mean over its places or patches; those of the embedding are what the
    classifier reads. Held at a time: one vector for each picture and layer of a model.

    Raises
    ------
    ParameterError
        Not more than ``k`` pictures.
    """
    several = [models] if isinstance(models, Model) else list(models)
    if not 1 <= k < len(images):
        raise ParameterError(f"k is {k}, expected 1 to {len(images) - 1}: one less than pictures.")
    names, nearest = [], []
    for model in several:
        taps = depth_taps(model)
        names.append((*taps, EMBEDDING))
        nearest.append(_nearest(_features(model, taps, images, framing), k))
    return Neighbors(
        models=tuple(model.spec.id for model in several),
        layers=tuple(names),
        nearest=tuple(nearest),
        pictures=len(images),
        k=k,
    )


def _features(
    model: Model, taps: Sequence[str], images: Iterable[Image.Image], framing: Framing | None
) -> list[Tensor]:
    """Features of each layer and the embedding: (pictures, channels) each."""
    parts: list[list[tuple[tuple[int, ...], Tensor]]] = [[] for _ in range(len(taps) + 1)]
    needs = Needs([*taps, *embedding_taps(model)])
    for places, recording in recorded(model, images, framing, needs):
        for part, rows in zip(parts, _pooled(recording, taps), strict=True):
            part.append((places, rows))
    return [by_place(part) for part in parts]


@own_state()
def _pooled(recording: Recording, taps: Sequence[str]) -> list[Tensor]:
    means = [recording.on_grid(tap).mean(dim=(2, 3)) for tap in taps]
    return [rows.detach().float().cpu() for rows in [*means, embeddings(recording)]]


@own_state()
def _nearest(features: Sequence[Tensor], k: int) -> npt.NDArray[np.int64]:
    found = []
    for rows in features:
        unit = torch.nn.functional.normalize(rows.double(), dim=1)
        cosines = unit @ unit.T
        cosines.fill_diagonal_(-torch.inf)
        order = torch.argsort(cosines, dim=1, descending=True, stable=True)
        found.append(order[:, :k].numpy())
    return np.stack(found)
