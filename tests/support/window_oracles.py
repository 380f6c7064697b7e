"""Attention within shifted windows, place after place and in double precision."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tests.support.builders import Built

Array = npt.NDArray[np.float64]
Place = tuple[int, int]


def blocks_of(module: Any) -> list[Any]:
    """All blocks, first to last."""
    return [part for part in module.modules() if hasattr(part, "attn") and hasattr(part, "norm1")]


def settings(block: Any, padded: tuple[int, int] | None) -> tuple[Any, Any, bool]:
    """Window, shift, and whether places are added before the grid is turned."""
    if hasattr(block, "window_size"):
        return block.window_size, block.shift_size, False
    window, shift = block.attn.window_size, list(block.attn.shift_size)
    if padded is not None:
        shift = [0 if w >= n else s for s, w, n in zip(shift, window, padded, strict=True)]
    return window, shift, True


def window_attention(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    layer: str = "",
    head: int | None = None,
) -> Array:
    """What each place gets, the mean over whoever is in its window and head, or heads."""
    module: Any = copy.deepcopy(case.bare).double()
    blocks = blocks_of(module)
    block = blocks[int(layer.split(".")[1]) if layer else -1]
    seen: list[Tensor] = []
    block.norm1.register_forward_hook(lambda _module, _args, output: seen.append(output))
    module(pixels.double())
    heads = block.attn.num_heads
    maps = [_map(block, one) for one in seen[0]]
    chosen = range(heads) if head is None else [head]
    return np.stack([np.mean([one[h] for h in chosen], axis=0) for one in maps])


def _map(block: Any, normed: Tensor) -> Array:
    """(heads, rows, columns) of one picture."""
    rows, cols, _ = normed.shape
    (high, wide), _, pads_first = settings(block, None)
    padded = (math.ceil(rows / high) * high, math.ceil(cols / wide) * wide)
    _, (down, across), _ = settings(block, padded)
    turned = padded if pads_first else (rows, cols)
    attention, heads = block.attn, block.attn.num_heads
    found = np.zeros((heads, rows, cols))
    for top in range(0, padded[0], high):
        for left in range(0, padded[1], wide):
            slots = [(top + i, left + j) for i in range(high) for j in range(wide)]
            places: list[Place | None] = []
            for a, b in slots:
                place = ((a + down) % turned[0], (b + across) % turned[1])
                inside = a < turned[0] and b < turned[1] and place[0] < rows and place[1] < cols
                places.append(place if inside else None)
            zero = torch.zeros_like(normed[0, 0])
            tokens = torch.stack([zero if p is None else normed[p] for p in places])
            joint = tokens @ attention.qkv.weight.T + attention.qkv.bias
            query, key, _ = joint.chunk(3, dim=1)
            channels = query.shape[1] // heads
            offsets = [
                [
                    (asks[0] - asked[0] + high - 1) * (2 * wide - 1) + asks[1] - asked[1] + wide - 1
                    for asked in slots
                ]
                for asks in slots
            ]
            pieces = [region(slot, padded, (high, wide), (down, across)) for slot in slots]
            apart = torch.tensor([[one != other for other in pieces] for one in pieces])
            added = (
                attention.relative_position_bias_table[torch.tensor(offsets)]
                - 100 * apart[..., None]
            )
            for number in range(heads):
                own = slice(number * channels, (number + 1) * channels)
                scores = query[:, own] @ key[:, own].T / math.sqrt(channels)
                received = (scores + added[..., number]).softmax(dim=1).mean(dim=0)
                for place, value in zip(places, received.tolist(), strict=True):
                    if place is not None:
                        found[number][place] = value
    return found


def region(slot: Place, padded: Place, window: Place, shift: Place) -> tuple[int, ...]:
    """Which piece of the grid a place of the turned grid comes from."""
    pieces = []
    for at, n, w, s in zip(slot, padded, window, shift, strict=True):
        pieces.append(0 if not s or at < n - w else 1 if at < n - s else 2)
    return tuple(pieces)
