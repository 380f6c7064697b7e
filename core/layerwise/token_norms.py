"""Lengths of tokens by depth, and outliers among them (Darcet et al. 2023, arXiv 2309.16588)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.errors import ImageError
from core.frozen import Frozen
from core.images import Framing
from core.layerwise.layers import SEVERAL_SIZES, depth_taps, recorded
from core.models import Model, VisionTransformer
from core.numerics import own_state
from core.recording.recording import Recording
from core.recording.run import Needs

Float = npt.NDArray[np.float32]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Quantiles of the lengths of the patches of a picture."""

MEDIANS = 3.0
"""A patch is an outlier above so many medians of its picture and layer."""


@dataclass(frozen=True, eq=False)
class TokenNorms(Frozen):
    """Lengths of the tokens of each layer, as means over pictures.

    Attributes
    ----------
    model_id, weights_digest : str
    layers : tuple of str
        Taps, first to last.
    quantiles : (layers, 6) float32
        Of the patches of a picture: 5, 25, 50, 75, 95 % and the largest.
    prefix : (layers, prefix) float32
        Of the class token and the registers; no columns for a network without any.
    outliers : (layers,) float32
        Share of patches longer than three medians of their picture, in [0, 1].
    places : tuple of (rows, cols) float32
        For each layer, the share of pictures in which a place is such an outlier.
    pictures : int
    """

    model_id: str
    weights_digest: str
    layers: tuple[str, ...]
    quantiles: Float
    prefix: Float
    outliers: Float
    places: tuple[Float, ...]
    pictures: int


def token_norms(
    model: Model,
    images: Image.Image | Iterable[Image.Image],
    framing: Framing | None = None,
) -> TokenNorms:
    """Euclidean lengths of the tokens by depth, prefix tokens apart from patches.

    Of a convolutional network the places of each stage. Pictures are streamed.

    Raises
    ------
    UnsupportedMethod
        The model has no layers that can be recorded.
    ImageError
        No picture, or several sizes after fitting.
    """
    taps = depth_taps(model)
    tokens = model.prefix if isinstance(model, VisionTransformer) else 0
    quantiles = np.zeros((len(taps), len(QUANTILES)))
    prefix = np.zeros((len(taps), tokens))
    places: list[npt.NDArray[np.float64]] = []
    count, sizes = 0, set()
    for numbers, recording in recorded(model, images, framing, Needs(taps)):
        sizes.add(recording.size)
        if len(sizes) > 1:
            raise ImageError(SEVERAL_SIZES)
        for i, tap in enumerate(taps):
            patches, before = _lengths(recording, tap, tokens)
            flat = patches.reshape(len(patches), -1)
            quantiles[i] += np.quantile(flat, QUANTILES, axis=1).sum(axis=1)
            prefix[i] += before.sum(axis=0)
            far = patches > MEDIANS * np.median(flat, axis=1)[:, None, None]
            if i == len(places):
                places.append(np.zeros(patches.shape[1:]))
            places[i] += far.sum(axis=0)
        count += len(numbers)
    return TokenNorms(
        model_id=model.spec.id,
        weights_digest=model.weights_digest,
        layers=taps,
        quantiles=(quantiles / count).astype(np.float32),
        prefix=(prefix / count).astype(np.float32),
        outliers=np.array([one.mean() / count for one in places], dtype=np.float32),
        places=tuple((one / count).astype(np.float32) for one in places),
        pictures=count,
    )


@own_state()
def _lengths(
    recording: Recording, tap: str, prefix: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Lengths of the patches, (batch, rows, cols), and of the prefix tokens, (batch, prefix)."""
    patches = torch.linalg.vector_norm(recording.on_grid(tap).float(), dim=1)
    before = torch.linalg.vector_norm(recording.tensor(tap)[:, :prefix].float(), dim=-1)
    return _numpy(patches), _numpy(before) if prefix else np.zeros((len(patches), 0), np.float32)


def _numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = tensor.cpu().numpy()
    return values
