"""How far attention looks, by layer and head (Dosovitskiy et al. 2020, Raghu et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.frozen import Frozen
from core.images import Framing
from core.layerwise.layers import recorded, transformer_of
from core.models import Model
from core.numerics import own_state
from core.recording.transformer import TransformerRecording, attention_needs

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AttentionDistance(Frozen):
    """Mean attention distance of a transformer.

    Attributes
    ----------
    model_id, weights_digest : str
    values : (layers, heads) float32
        Mean distance in pixels between a patch and those that it attends to, by attention.
    uniform : float
        The same if each patch attended to all patches equally.
    pictures : int
    """

    model_id: str
    weights_digest: str
    values: Float
    uniform: float
    pictures: int


def attention_distance(
    model: Model,
    images: Image.Image | Iterable[Image.Image],
    framing: Framing | None = None,
) -> AttentionDistance:
    """Mean attention distance of every head in pixels, over a set of pictures.

    ``Σ_j A_ij ‖p_i - p_j‖`` of each patch ``i``, with rows that sum to 1 over the patches
    (attention to prefix tokens is left out), as mean over patches and pictures. Pictures are
    streamed.

    Raises
    ------
    UnsupportedMethod
        The model has no attention.
    ImageError
        There is no picture.
    """
    transformer = transformer_of(model, "attention")
    total = np.zeros((transformer.depth, transformer.heads))
    uniform, count = 0.0, 0
    for places, recording in recorded(model, images, framing, attention_needs(transformer)):
        assert isinstance(recording, TransformerRecording)
        total += _distances(recording)
        uniform += float(distances(recording.grid, transformer.patch).mean()) * len(places)
        count += len(places)
    return AttentionDistance(
        model_id=model.spec.id,
        weights_digest=model.weights_digest,
        values=(total / count).astype(np.float32),
        uniform=uniform / count,
        pictures=count,
    )


@lru_cache(maxsize=8)
@own_state()
def distances(grid: tuple[int, int], patch: int) -> Tensor:
    """Distances in pixels between the centers of all patches: (patches, patches)."""
    rows, cols = (torch.arange(side, dtype=torch.float32) for side in grid)
    places = torch.cartesian_prod(rows, cols) * patch
    found: Tensor = torch.linalg.vector_norm(places[:, None] - places[None], dim=-1)
    return found


def _distances(recording: TransformerRecording) -> npt.NDArray[np.float64]:
    """Sum over the pictures of a recording of the mean distance: (layers, heads)."""
    model = recording.model
    apart = distances(recording.grid, model.patch).to(recording.pixels.device)
    found = np.zeros((model.depth, model.heads))
    for layer in range(model.depth):
        start = 0
        for part in recording.attention_in_turn(layer, slice(model.prefix, None)):
            with own_state():
                stop = start + part.shape[2]
                patches = part[..., model.prefix :]
                shares = patches.sum(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
                weighted = (patches * apart[start:stop]).sum(dim=-1) / shares
                found[layer] += weighted.sum(dim=(0, 2)).cpu().numpy() / len(apart)
                start = stop
    return found
