"""How attention flows through layers: fuse heads, discard, multiply. Pure functions on tensors."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from core.errors import ParameterError

Fusion = Literal["mean", "max", "min"]
Normalisation = Literal["rows", "columns", "none"]


def fuse(attention: Tensor, fusion: Fusion) -> Tensor:
    """Fuse heads: (batch, heads, query, key) to (batch, query, key)."""
    if fusion == "mean":
        return attention.mean(dim=1)
    if fusion == "max":
        return attention.amax(dim=1)
    if fusion == "min":
        return attention.amin(dim=1)
    raise ParameterError(f"Head fusion {fusion!r} is unknown; choose mean, max or min.")


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
    smallest = flat.topk(count, dim=-1, largest=False, sorted=False).indices
    kept = flat.scatter(-1, smallest, 0.0)
    if protect_first:
        kept[:, 0] = flat[:, 0]
    return kept.view_as(fused)


def propagate(rows: Tensor, matrix: Tensor, normalisation: Normalisation) -> Tensor:
    """Multiply rows of a running product by one more layer, without forming the product.

    Parameters
    ----------
    rows : (batch, any, tokens)
        Rows of the product of all later layers.
    matrix : (batch, tokens, tokens)
        Fused attention ``M`` of this layer.
    normalisation
        ``"rows"``: by ``M + I`` with rows scaled to sum 1 (Abnar & Zuidema 2020).
        ``"columns"``: column *j* divided by the sum of row *j*, as vit-explain does.
        ``"none"``: by ``I + M`` as it is (Chefer et al. 2021).

    Returns
    -------
    (batch, any, tokens)
    """
    if normalisation == "none":
        return torch.baddbmm(rows, rows, matrix)
    sums = matrix.sum(dim=-1).unsqueeze(1) + 1.0
    if normalisation == "rows":
        scaled = rows / sums
        return torch.baddbmm(scaled, scaled, matrix)
    return torch.baddbmm(rows, rows, matrix) / sums
