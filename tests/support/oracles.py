"""What each picture is, computed slowly and independently, in double precision.

Nothing here uses the application's own arithmetic. A transformer is run step by step
(`reference_transformer`), a convolutional network by its library on a copy. Formulas are written as
in the papers: full matrix products, explicit loops, autograd through an attention that exists.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tests.support import flow_oracle, lrp_oracle, pixel_oracles, window_oracles
from tests.support.builders import CLASSES, DEPTH, PATCH, VITS, Built
from tests.support.reference_transformer import Trace, readout, traces

Array = npt.NDArray[np.float64]


def numbers(tensors: Sequence[Tensor]) -> Array:
    """(heads, ...) array of the tensors of several heads."""
    return np.stack([tensor.detach().numpy() for tensor in tensors])


def derivatives(score: Tensor, tensors: Sequence[Tensor]) -> Array:
    """∂score/∂ each head's matrix, stacked; zero where the score does not depend on it."""
    found = torch.autograd.grad(
        score, list(tensors), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return numbers(found)


# -- transformer methods: each gives one number per token, (batch, tokens) ------------------------


def attention(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    layer: int | None = None,
    head: int | None = None,
) -> Array:
    """The row that the classifier reads of one head, or of the mean of heads."""
    rows = []
    for _, trace in traces(case, pixels):
        heads = numbers(trace.attention[-1 if layer is None else layer])
        matrix = sum(heads) / len(heads) if head is None else heads[head]
        rows.append(readout(case, trace, np.asarray(matrix)))
    return np.stack(rows)


def without_smallest(matrix: Array, ratio: float, protected: bool) -> Array:
    """Set the ⌊ratio · N²⌋ smallest entries to zero, one after the other."""
    count = int(ratio * matrix.size + 1e-9)
    places = sorted(np.ndindex(*matrix.shape), key=lambda place: matrix[place])
    result = matrix.copy()
    for place in places[:count]:
        if not (protected and place == (0, 0)):
            result[place] = 0.0
    return result


def fuse(heads: Array, fusion: str) -> Array:
    """Heads become one matrix, entry by entry."""
    choose: dict[str, Callable[[list[float]], float]] = {
        "mean": lambda values: sum(values) / len(values),
        "max": max,
        "min": min,
    }
    fused = np.empty(heads.shape[1:])
    for place in np.ndindex(*fused.shape):
        fused[place] = choose[fusion]([float(head[place]) for head in heads])
    return fused


def rows_to_one(matrix: Array) -> Array:
    """Each row divided by its sum."""
    return np.stack([row / row.sum() for row in matrix])


def sums_of_rows_across_columns(matrix: Array) -> Array:
    """Column *j* divided by the sum of row *j*: the sum lacks its ``keepdim``."""
    result = matrix.copy()
    for j in range(len(matrix)):
        result[:, j] = matrix[:, j] / matrix[j].sum()
    return result


def columns_to_one(matrix: Array) -> Array:
    """Each column divided by its sum: ``a / a.sum(dim=1)`` of (batch, query, key)."""
    return np.stack([column / column.sum() for column in matrix.T], axis=1)


NORMALIZATIONS: dict[str, Callable[[Array], Array]] = {
    "paper": rows_to_one,
    "columns": columns_to_one,
    "vit-explain": sums_of_rows_across_columns,
}
"""By definition of rollout."""


def product(matrices: Sequence[Array]) -> Array:
    """Last · … · first."""
    result = np.eye(len(matrices[0]))
    for matrix in matrices:
        result = matrix @ result
    return result


def rollout_matrices(
    trace: Trace,
    fusion: str,
    discard: float,
    layers: Sequence[int] | None,
    definition: str,
    protected: bool,
) -> list[Array]:
    """The normalized matrix of each chosen layer, first to last."""
    matrices = []
    for layer in range(len(trace.attention)) if layers is None else sorted(layers):
        kept = without_smallest(fuse(numbers(trace.attention[layer]), fusion), discard, protected)
        matrices.append(NORMALIZATIONS[definition](kept + np.eye(len(kept))))
    return matrices


def over_maximum(case: Built, row: Array) -> Array:
    """Divided by the largest patch, unless all are zero."""
    peak = row[case.prefix :].max()
    return row / peak if peak > 0 else row


def rollout(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    fusion: str = "mean",
    discard: float = 0.0,
    layers: Sequence[int] | None = None,
    definition: str = "paper",
) -> Array:
    """Abnar & Zuidema 2020, by columns instead of rows, or the vit-explain package's code."""
    rows = []
    for _, trace in traces(case, pixels):
        original = definition == "vit-explain"
        protected = original or case.reads_class
        matrices = rollout_matrices(trace, fusion, discard, layers, definition, protected)
        row = readout(case, trace, product(matrices))
        rows.append(over_maximum(case, row) if original else row)
    return np.stack(rows)


def gradient_rollout(
    case: Built,
    pixels: Tensor,
    targets: Sequence[int],
    discard: float = 0.0,
    layers: Sequence[int] | None = None,
    definition: str = "paper",
) -> Array:
    """Rollout of attention times gradient, or the vit-explain package's code."""
    rows = []
    for (_, trace), target in zip(traces(case, pixels), targets, strict=True):
        score, depth = trace.logits[0, target], len(trace.attention)
        original = definition == "vit-explain"
        matrices = []
        for layer in range(depth) if layers is None else sorted(layers):
            heads = numbers(trace.attention[layer])
            if original:
                gradient = derivatives(score, trace.scores[depth - 1 - layer])
            else:
                gradient = derivatives(score, trace.attention[layer])
            mean = sum(a * g for a, g in zip(heads, gradient, strict=True)) / len(heads)
            positive = np.where(mean < 0, 0.0, mean)
            protected = not original and case.reads_class
            kept = without_smallest(positive, discard, protected) + np.eye(len(positive))
            matrices.append(sums_of_rows_across_columns(kept) if original else rows_to_one(kept))
        row = readout(case, trace, product(matrices))
        rows.append(over_maximum(case, row) if original else row)
    return np.stack(rows)


def transformer_attribution(
    case: Built, pixels: Tensor, targets: Sequence[int], layers: Sequence[int] | None = None
) -> Array:
    """Chefer et al. 2021 in its gradient form."""
    rows = []
    for (_, trace), target in zip(traces(case, pixels), targets, strict=True):
        result = np.eye(len(trace.attention[0][0]))
        for layer in range(len(trace.attention)) if layers is None else sorted(layers):
            heads = numbers(trace.attention[layer])
            gradient = derivatives(trace.logits[0, target], trace.attention[layer])
            weighted = np.zeros_like(result)
            for a, g in zip(heads, gradient, strict=True):
                weighted += np.maximum(a * g, 0.0) / len(heads)
            result = result + weighted @ result
        rows.append(readout(case, trace, result))
    return np.stack(rows)


def legrad(
    case: Built, pixels: Tensor, targets: Sequence[int], layers: Sequence[int] | None = None
) -> Array:
    """Bousselham et al. 2024.

    The score of a layer is what the network's own head answers to a picture all of whose tokens
    are the layer's mean token, so this needs to know nothing of how the head pools.
    """
    rows = []
    for (network, trace), target in zip(traces(case, pixels), targets, strict=True):
        maps = []
        for layer in range(len(trace.attention)) if layers is None else sorted(layers):
            tokens = trace.outputs[layer]
            everywhere = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
            score = network.head(everywhere)[0][0, target]
            gradient = np.maximum(derivatives(score, trace.attention[layer]), 0.0)
            maps.append(gradient.reshape(-1, gradient.shape[-1]).mean(axis=0))
        rows.append(np.mean(maps, axis=0))
    return np.stack(rows)


def joint(
    case: Built, pixels: Tensor, layer: int, fusion: str = "mean", discard: float = 0.0
) -> Array:
    """The rollout product stopped after a layer: (tokens,) of the first picture."""
    _, trace = traces(case, pixels)[0]
    matrices = rollout_matrices(trace, fusion, discard, range(layer + 1), "paper", case.reads_class)
    return readout(case, trace, product(matrices))


# -- both kinds of network: (batch, rows, cols) ---------------------------------------------------


def tokens_and_gradients(
    case: Built, tap: str, pixels: Tensor, targets: Sequence[int]
) -> list[tuple[Array, Array]]:
    """Tokens that enter a block and ∂logit/∂tokens, (channels, rows, cols), prefix left out."""
    _, layer, part = tap.split(".")
    assert part == "input"
    grid = (pixels.shape[2] // PATCH, pixels.shape[3] // PATCH)
    found = []
    for (_, trace), target in zip(traces(case, pixels), targets, strict=True):
        tokens = trace.inputs[int(layer)]
        (gradient,) = torch.autograd.grad(trace.logits[0, target], tokens, retain_graph=True)
        maps = []
        for tensor in (tokens, gradient):
            patches = tensor.detach().numpy()[0, case.prefix :]
            maps.append(np.stack([channel.reshape(grid) for channel in patches.T]))
        found.append((maps[0], maps[1]))
    return found


def features_and_gradients(
    case: Built, tap: str, pixels: Tensor, targets: Sequence[int]
) -> list[tuple[Array, Array]]:
    """Activations and ∂logit/∂activations, (channels, rows, cols), for each picture alone.

    Of a convolutional network: the output of a stage, or what enters the pooling.
    """
    found = []
    for one, target in zip(pixels, targets, strict=True):
        module = copy.deepcopy(case.bare).double()
        kept: list[Tensor] = []

        def keep(_module: nn.Module, *tensors: Any, kept: list[Tensor] = kept) -> Any:
            tensor = tensors[-1][0] if isinstance(tensors[-1], tuple) else tensors[-1]
            kept.append(tensor)
            return (tensor,) if isinstance(tensors[-1], tuple) else tensor

        if tap == "head.input":
            module.get_submodule(case.pooling).register_forward_pre_hook(keep)
        else:
            module.get_submodule(stage_paths(case)[tap]).register_forward_hook(keep)
        score = module(one.double().unsqueeze(0).requires_grad_())[0, target]
        (gradient,) = torch.autograd.grad(score, kept[0])
        found.append((kept[0][0].detach().numpy(), gradient[0].numpy()))
    return found


def stage_paths(case: Built) -> dict[str, str]:
    """Path of the module whose output each stage is."""
    return {f"stage.{i}": path for i, path in enumerate(case.stages)}


def cam(case: Built, pixels: Tensor, targets: Sequence[int]) -> Array:
    """``Σ_k w_ck A_k`` with the weights of the network's only two-dimensional matrix of classes."""
    weight = (
        [
            parameter
            for parameter in case.bare.parameters()
            if parameter.ndim == 2 and len(parameter) == CLASSES
        ][-1]
        .double()
        .numpy()
    )
    maps = []
    pairs = features_and_gradients(case, "head.input", pixels, targets)
    for (activations, _), target in zip(pairs, targets, strict=True):
        total = np.zeros(activations.shape[1:])
        for channel, activation in enumerate(activations):
            total += weight[target, channel] * activation
        maps.append(total)
    return np.stack(maps)


def _of_activations(
    one: Callable[[Array, Array], Array],
) -> Callable[..., Array]:
    """A formula of one picture's (activations, gradients) as an oracle of either kind."""

    def oracle(
        case: Built, pixels: Tensor, targets: Sequence[int], layer: str | None = None
    ) -> Array:
        if case.name in VITS:
            last = f"block.{DEPTH - 1}.input"
            pairs = tokens_and_gradients(case, layer or last, pixels, targets)
        else:
            pairs = features_and_gradients(case, layer or "head.input", pixels, targets)
        return np.stack([one(activations, gradients) for activations, gradients in pairs])

    return oracle


def _grad_cam(activations: Array, gradients: Array) -> Array:
    total = np.zeros(activations.shape[1:])
    for activation, gradient in zip(activations, gradients, strict=True):
        total += gradient.sum() / gradient.size * activation
    return np.maximum(total, 0.0)


def _grad_cam_plus_plus(activations: Array, gradients: Array) -> Array:
    total = np.zeros(activations.shape[1:])
    for activation, gradient in zip(activations, gradients, strict=True):
        weight = 0.0
        for g in gradient.ravel():
            if g != 0:
                alpha = g**2 / (2 * g**2 + activation.sum() * g**3)
                weight += alpha * max(g, 0.0)
        total += weight * activation
    return np.maximum(total, 0.0)


def _hirescam(activations: Array, gradients: Array) -> Array:
    total = np.zeros(activations.shape[1:])
    for activation, gradient in zip(activations, gradients, strict=True):
        total += gradient * activation
    return total


def _layer_cam(activations: Array, gradients: Array) -> Array:
    total = np.zeros(activations.shape[1:])
    for activation, gradient in zip(activations, gradients, strict=True):
        total += np.where(gradient > 0, gradient, 0.0) * activation
    return np.maximum(total, 0.0)


PER_TOKEN: dict[str, Callable[..., Array]] = {
    "attention": attention,
    "gradient_rollout": gradient_rollout,
    "legrad": legrad,
    "rollout": rollout,
    "transformer_attribution": transformer_attribution,
}
"""Methods of transformers that give a value per token, prefix first."""

PER_PLACE: dict[str, Callable[..., Array]] = {
    "cam": cam,
    "grad_cam": _of_activations(_grad_cam),
    "grad_cam_plus_plus": _of_activations(_grad_cam_plus_plus),
    "hirescam": _of_activations(_hirescam),
    "layer_cam": _of_activations(_layer_cam),
    "attention_flow": flow_oracle.attention_flow,
    "lrp": lrp_oracle.lrp,
    **pixel_oracles.ORACLES,
}
"""Methods that give a map."""

ORACLES = PER_TOKEN | PER_PLACE | {"window_attention": window_oracles.window_attention}
"""By method name."""
