"""Attention through layers: fuse heads, discard, multiply; and the gradient of attention.

Shared by the methods of this folder. `fuse`, `discard` and `propagate` are pure functions of
tensors; the others read a recording.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from core.errors import ParameterError, ZeroGradient
from core.methods.registry import Relevance
from core.numerics import own_state
from core.recording.transformer import ALL, TransformerRecording

Normalization = Literal["rows", "columns", "vit-explain", "none"]

IF_ZERO = (
    "No attention leads from the patches to what the classifier reads: all was discarded, or no "
    "entry is positive for this class. Lower the discard ratio or choose more layers."
)

_FUSIONS: dict[str, Callable[..., Tensor]] = {
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
}


def fuse(parts: Iterable[Tensor], fusion: str) -> Tensor:
    """Fuse heads into one matrix.

    Parameters
    ----------
    parts
        Tensors (batch, heads, some queries, key), which need not exist at the same time.
    fusion
        ``"mean"``, ``"max"`` or ``"min"``.

    Returns
    -------
    (batch, query, key)
    """
    if fusion not in _FUSIONS:
        raise ParameterError(f"Head fusion {fusion!r} is unknown; choose mean, max or min.")
    fused = [_FUSIONS[fusion](part, dim=1) for part in parts]
    return fused[0] if len(fused) == 1 else torch.cat(fused, dim=1)


def discard(fused: Tensor, ratio: float, protect_first: bool) -> Tensor:
    """Set the ``floor(ratio · N²)`` smallest entries of each (query, key) matrix to zero.

    Parameters
    ----------
    fused : (batch, tokens, tokens)
    ratio
        In [0, 1].
    protect_first
        Keep the entry of token 0 on itself (the class token's) whatever its size.
    """
    if not 0.0 <= ratio <= 1.0:
        raise ParameterError(f"The discard ratio is {ratio}, expected 0 to 1.")
    batch, tokens, _ = fused.shape
    count = math.floor(ratio * tokens * tokens + 1e-9)
    if count == 0:
        return fused
    flat = fused.reshape(batch, -1)
    largest = _smallest(flat, count)
    stay = flat > largest
    missing = tokens * tokens - count - stay.sum(dim=-1, keepdim=True)
    if missing.any():  # exactly the requested number: of equal entries the first
        tied = flat == largest
        stay |= tied & (tied.cumsum(dim=-1) > tied.sum(dim=-1, keepdim=True) - missing)
    kept = torch.where(stay, flat, 0.0)
    if protect_first:
        kept[:, 0] = flat[:, 0]
    return kept.view_as(fused)


def _smallest(flat: Tensor, count: int) -> Tensor:
    """The ``count``-th smallest entry of each row: (batch, 1)."""
    if flat.device.type != "cpu":
        return flat.kthvalue(count, dim=-1, keepdim=True).values
    # NumPy's selection takes a sixth of the time of torch.topk, but does not support bfloat16.
    known = flat.float() if flat.dtype == torch.bfloat16 else flat
    parted = np.partition(known.numpy(), count - 1, axis=-1)
    return torch.from_numpy(parted[:, count - 1 : count].copy()).to(flat)


def propagate(rows: Tensor, matrix: Tensor, normalization: Normalization) -> Tensor:
    """Multiply rows of a running product by one more layer, without forming the product.

    Parameters
    ----------
    rows : (batch, any, queries)
        Rows of the product of all later layers; beyond the first ``queries`` they are zero.
    matrix : (batch, queries, tokens)
        Fused attention ``M`` of this layer: all its rows, or only the first. Normalizations that
        use columns need all rows.
    normalization
        ``"rows"``: by ``M + I`` with rows scaled to sum 1 (Abnar & Zuidema 2020).
        ``"columns"``: by ``M + I`` with columns scaled to sum 1.
        ``"vit-explain"``: column *j* divided by the sum of *row j*, as that package does.
        ``"none"``: by ``I + M`` as it is (Chefer et al. 2021).

    Returns
    -------
    (batch, any, tokens)
    """
    if normalization == "rows":
        rows = rows / (matrix.sum(dim=-1).unsqueeze(1) + 1.0)
    residual = functional.pad(rows, (0, matrix.shape[2] - matrix.shape[1]))
    product = torch.baddbmm(residual, rows, matrix)
    if normalization in ("columns", "vit-explain"):
        along = -2 if normalization == "columns" else -1
        product = product / (matrix.sum(dim=along).unsqueeze(1) + 1.0)
    return product


def chosen_layers(recording: TransformerRecording, layers: Sequence[int] | None) -> list[int]:
    """Chosen layers (all if ``None``) from the last to the first."""
    return sorted(range(recording.model.depth) if layers is None else layers, reverse=True)


def roll(
    recording: TransformerRecording,
    layers: Sequence[int] | None,
    matrix: Callable[[int, slice], Tensor],
    normalization: Normalization,
    ratio: float = 0.0,
    protect_first: bool = True,
) -> Relevance:
    """The row of the product over ``layers`` that the classifier reads.

    Parameters
    ----------
    matrix
        ``matrix(layer, queries)`` gives rows of a layer's fused matrix, (batch, queries, tokens).
        Only one layer's exists at a time.
    ratio, protect_first
        The part of each matrix that is discarded; see `discard`.
    """
    readout, rows = recording.model.readout, recording.readout_row()
    # Where a row does not depend on the others, the first step uses only the rows that are read.
    alone = normalization in ("rows", "none") and not ratio
    if alone and not (readout.patches or readout.attended):
        queries = slice(0, len(readout.prefix))
    else:
        queries = ALL
    with own_state():
        for layer in chosen_layers(recording, layers):
            fused = discard(matrix(layer, queries), ratio, protect_first)
            rows = propagate(rows[..., queries], fused, normalization)
            queries = ALL
    return on_patches(recording, rows[:, 0])


def on_patches(recording: TransformerRecording, row: Tensor, if_zero: str = IF_ZERO) -> Relevance:
    """Weights per token (batch, tokens) as a map, with the share on prefix tokens."""
    total = row.sum(dim=-1).clamp_min(torch.finfo(row.dtype).tiny)
    prefix_mass = row[:, : recording.model.prefix].sum(dim=-1) / total
    return Relevance(recording.to_grid(row), prefix_mass=prefix_mass, if_zero=if_zero)


def by_maximum(relevance: Relevance) -> Relevance:
    """Divide each map by its maximum, as vit-explain does (no minimum subtracted)."""
    peak = relevance.maps.amax(dim=(1, 2), keepdim=True)
    maps = relevance.maps / torch.where(peak > 0, peak, 1.0)
    return Relevance(maps, relevance.prefix_mass, relevance.if_zero)


def attention_gradient(
    recording: TransformerRecording,
    layer: int,
    context_gradients: Mapping[int, Tensor],
    queries: slice = ALL,
) -> Iterator[Tensor]:
    """``∂y/∂A = (∂y/∂O) · Vᵀ`` of a layer, some queries at a time as `attention_in_turn` has it.

    ``O = A·V`` is the output of the heads; attention itself need not be computed.

    Yields
    ------
    (batch, heads, some queries, key)
    """
    values = recording.projection(layer, "value").transpose(-2, -1)
    for context in recording.in_turn(context_gradients[layer][:, :, queries]):
        yield context @ values


def weighted_attention(
    recording: TransformerRecording,
    layer: int,
    context_gradients: Mapping[int, Tensor],
    queries: slice = ALL,
) -> Iterator[Tensor]:
    """``A ⊙ ∂y/∂A`` of a layer, (batch, heads, some queries, key), some queries at a time."""
    for attention, gradient in zip(
        recording.attention_in_turn(layer, queries),
        attention_gradient(recording, layer, context_gradients, queries),
        strict=True,
    ):
        yield attention.mul_(gradient)


def refuse_all_zero(gradients: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
    """The gradients unchanged, unless all of them are zero.

    Raises
    ------
    ZeroGradient
        The class does not depend on the attention at all.
    """
    if not any(bool(gradient.any()) for gradient in gradients.values()):
        raise ZeroGradient(
            "The class does not depend on any layer's attention (its gradient is zero everywhere), "
            "so the map would be blank; choose another class."
        )
    return gradients
