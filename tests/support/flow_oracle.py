"""Attention flow by NetworkX, edge by edge, in double precision."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
import numpy.typing as npt
from torch import Tensor

from tests.support.builders import PATCH, Built
from tests.support.reference_transformer import Trace, readout, traces

Array = npt.NDArray[np.float64]


def attention_flow(case: Built, pixels: Tensor, targets: Sequence[int], pool: int = 1) -> Array:
    """Maximum flow from what the classifier reads to each cell: (batch, rows, cols)."""
    height, width = (side // PATCH for side in pixels.shape[-2:])
    rows, cols = -(-height // pool), -(-width // pool)
    return np.stack(
        [_flows(case, trace, (height, width), (rows, cols)) for _, trace in traces(case, pixels)]
    )


def _flows(case: Built, trace: Trace, grid: tuple[int, int], cells: tuple[int, int]) -> Array:
    groups = [[token] for token in range(case.prefix)]
    for row in range(cells[0]):
        for col in range(cells[1]):
            groups.append(
                [
                    case.prefix + r * grid[1] + c
                    for r in _part(grid[0], cells[0], row)
                    for c in _part(grid[1], cells[1], col)
                ]
            )
    graph = nx.DiGraph()
    for layer, heads in enumerate(trace.attention):
        matrix = np.mean([head.detach().numpy() for head in heads], axis=0)
        for i, queries in enumerate(groups):
            for k, keys in enumerate(groups):
                share = sum(matrix[query, key] for query in queries for key in keys) / len(queries)
                capacity = 0.5 * share + 0.5 * (i == k)
                graph.add_edge((layer + 1, i), (layer, k), capacity=capacity)
    read = readout(case, trace, np.eye(sum(map(len, groups))))
    for i, share in enumerate(sum(read[token] for token in group) for group in groups):
        if share:
            graph.add_edge("source", (len(trace.attention), i), capacity=share)
    found = [
        nx.maximum_flow_value(graph, "source", (0, cell))
        for cell in range(case.prefix, len(groups))
    ]
    return np.array(found).reshape(cells)


def _part(length: int, parts: int, part: int) -> range:
    """Where a part of a side begins and ends, halves rounded up."""
    first, last = (int(one * length / parts + 0.5) for one in (part, part + 1))
    return range(first, last)
