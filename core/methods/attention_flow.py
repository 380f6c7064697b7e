"""Attention flow (Abnar & Zuidema 2020): maximum flow through the attention of all layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_flow

from core import progress
from core.fills import borders
from core.methods import attention_propagation as propagation
from core.methods.parameters import number
from core.methods.registry import Relevance, method
from core.numerics import own_state
from core.recording.transformer import TransformerRecording, attention_needs
from core.targets import Target

MOST_CELLS = 400
"""Most cells of a map where no pooling was chosen: 20 × 20."""

UNIT = 10**8
"""Integer capacity of a share of 1; SciPy computes in 32-bit integers."""

FLOWS = 190.0
"""Flows that take as long as a pass, times tokens over squared width; measured on a CPU."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttentionFlowParameters:
    """How many patches make a cell."""

    pool: int = number(
        0,
        0,
        16,
        1,
        "Patches a cell",
        "Patches along each side of a cell of the map: their attention is merged. Each cell takes "
        f"a flow of its own, and the more cells the longer. 0: as few as give at most {MOST_CELLS} "
        "cells.",
    )


def _cells(grid: tuple[int, int], pool: int) -> tuple[int, int]:
    """Rows and columns of cells."""
    if pool == 0:
        pool = next(p for p in range(1, max(grid) + 1) if _count(_cells(grid, p)) <= MOST_CELLS)
    rows, cols = grid
    return math.ceil(rows / pool), math.ceil(cols / pool)


def _count(cells: tuple[int, int]) -> int:
    return cells[0] * cells[1]


def _passes(recording: TransformerRecording, parameters: AttentionFlowParameters) -> int:
    cells = _count(_cells(recording.grid, parameters.pool))
    tokens = cells + recording.model.prefix
    return math.ceil(cells * tokens * FLOWS / recording.model.width**2)


@method(
    "attention_flow",
    title="Attention flow",
    order=32,
    serves=("vit",),
    class_specific=False,
    has_zero=lambda parameters: False,
    meaning="The maximum flow from the class token to each patch through the graph of all layers, "
    "whose edges have half the attention plus half the residual connection as capacity.",
    caveat="Each patch is computed alone, so the values do not sum to 1. Where no later layer "
    "limits the flow, a value is one half plus half of the attention that the patch receives in "
    "the first layer, at most 1. The map ignores the class, the value vectors and the MLPs.",
    source="Abnar & Zuidema 2020, arXiv 2005.00928",
    parameters=AttentionFlowParameters,
    needs=lambda model, parameters: attention_needs(model, None),
    passes=_passes,
)
def attention_flow(
    recording: TransformerRecording,
    targets: Sequence[Target],
    parameters: AttentionFlowParameters,
) -> Relevance:
    """Maximum flow from what the classifier reads to each patch, (batch, rows, cols) in [0, 1].

    Layer ``l`` has an edge from each query to each key with the capacity of its entry of
    ``(mean_heads(A_l) + I) / 2``; the source has an edge to each token of the last layer with the
    token's share in what the classifier reads. Capacities are rounded to 1e-8.

    Cells of several patches are tokens of a smaller graph: attention of a cell is the mean over
    its queries of the sum over the keys of the other cell.
    """
    grid, prefix = recording.grid, recording.model.prefix
    cells = _cells(grid, parameters.pool)
    share = _membership(grid, cells, prefix)
    graphs = _graphs(recording, share)
    tokens = share.shape[1]
    source = (recording.model.depth + 1) * tokens
    maps = np.empty((len(recording), _count(cells)))
    for place, cell in progress.steps(list(np.ndindex(*maps.shape))):
        found = maximum_flow(graphs[place], source, prefix + cell)
        maps[place, cell] = found.flow_value / UNIT
    said = "" if cells == grid else f"Patches are merged into {cells[0]} × {cells[1]} cells."
    return Relevance(
        torch.from_numpy(maps.reshape(len(recording), *cells)).float(),
        if_zero="No attention leads from what the classifier reads to any patch.",
        remarks=(said,) * len(recording),
    )


def _membership(grid: tuple[int, int], cells: tuple[int, int], prefix: int) -> Array:
    """1 where a token belongs to a cell, (tokens, prefix + cells); prefix tokens stay alone."""
    along = [
        np.repeat(np.arange(parts), np.diff(borders(length, parts)))
        for length, parts in zip(grid, cells, strict=True)
    ]
    cell = prefix + (along[0][:, None] * cells[1] + along[1][None, :]).ravel()
    found = np.zeros((prefix + len(cell), prefix + _count(cells)))
    found[np.arange(len(found)), np.concatenate([np.arange(prefix), cell])] = 1.0
    return found


def _graphs(recording: TransformerRecording, share: Array) -> list[csr_array]:
    """The graph of each picture: nodes are tokens of layer 0 (the input) to the last, then the
    source; entries are capacities."""
    depth, tokens = recording.model.depth, share.shape[1]
    mean = share / share.sum(axis=0)
    capacities: list[list[Array]] = [[] for _ in range(len(recording))]
    with own_state():
        for layer in range(depth):
            fused = propagation.fuse(recording.attention_in_turn(layer), "mean")
            for graph, matrix in zip(capacities, fused.double().cpu().numpy(), strict=True):
                graph.append((mean.T @ matrix @ share + np.eye(tokens)) / 2)
        read = recording.readout_row()[:, 0].double().cpu().numpy() @ share
    query, key = np.divmod(np.arange(tokens**2), tokens)
    layers = np.arange(depth)[:, None] * tokens
    nodes = (depth + 1) * tokens + 1
    rows = np.concatenate([(layers + tokens + query).ravel(), np.full(tokens, nodes - 1)])
    cols = np.concatenate([(layers + key).ravel(), depth * tokens + np.arange(tokens)])
    found = []
    for graph, start in zip(capacities, read, strict=True):
        exact = np.concatenate([np.stack(graph).ravel(), start]) * UNIT
        whole = coo_array((np.rint(exact).astype(np.int32), (rows, cols)), shape=(nodes, nodes))
        found.append(whole.tocsr())
    return found
