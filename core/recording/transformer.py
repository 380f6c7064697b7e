"""What the recording of a vision transformer can tell: attention, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from core import capacity
from core.errors import ParameterError
from core.models import VisionTransformer
from core.models.base import softmax_attention
from core.models.taps import HEAD_INPUT, Part, Projection, block_tap
from core.recording.recording import Recording
from core.recording.run import Needs

AT_A_TIME = {"cpu": 4 * 2**20, "cuda": 256 * 2**20, "mps": 64 * 2**20}
"""Bytes of attention that are rebuilt at once; on a CPU what fits into its cache is fastest."""


def attention_needs(
    model: VisionTransformer,
    layers: Sequence[int] | None = None,
    *,
    values: bool = False,
    gradients: Sequence[int] = (),
) -> Needs:
    """What attention of some layers has to keep.

    Parameters
    ----------
    layers
        All by default.
    values
        Whether values are wanted beside queries and keys.
    gradients
        Layers at which the gradient of attention is going to be asked for.
    """
    parts: tuple[Part, ...] = ("query", "key", "value") if values else ("query", "key")
    chosen = range(model.depth) if layers is None else layers
    keep = [block_tap(layer, part) for layer in chosen for part in parts]
    if model.readout.attended:
        keep.append(HEAD_INPUT)
    return Needs(keep, [block_tap(layer, "context") for layer in gradients])


class TransformerRecording(Recording):
    """A recording of a `VisionTransformer`."""

    model: VisionTransformer

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.model.grid(self.size)

    @property
    def tokens(self) -> int:
        """Prefix and patches."""
        return self.model.prefix + self.grid[0] * self.grid[1]

    def to_grid(self, tokens: Tensor) -> Tensor:
        """Drop the prefix of (..., tokens) and lay the rest out as (..., rows, cols)."""
        patches = tokens[..., self.model.prefix :]
        return patches.reshape(*patches.shape[:-1], *self.grid)

    def projection(self, layer: int, kind: Projection) -> Tensor:
        """Queries, keys or values of a layer: (batch, heads, tokens, channels)."""
        if not 0 <= layer < self.model.depth:
            raise ParameterError(
                f"Layer {layer} does not exist in {self.model.spec.title}; "
                f"choose 0 to {self.model.depth - 1}."
            )
        return self.tensor(block_tap(layer, kind))

    def in_turn(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Split (batch, heads, tokens, channels) so that the attention of a part stays small."""
        batch, _, tokens, _ = tensor.shape
        count = max(1, AT_A_TIME[tensor.device.type] // (4 * batch * tokens**2))
        return tuple(torch.split(tensor, count, dim=1))

    # -- attention ---------------------------------------------------------------------------

    def heads(self, layer: int) -> Iterator[Tensor]:
        """Attention of a layer after the softmax, a few heads at a time.

        Yields
        ------
        (batch, some heads, query, key)
            Rows sum to 1. On a large grid one head is all that exists at a time.
        """
        queries, keys = self.projection(layer, "query"), self.projection(layer, "key")
        for query, key in zip(self.in_turn(queries), self.in_turn(keys), strict=True):
            yield softmax_attention(query, key, self.model.scale)

    def attention(self, layer: int) -> Tensor:
        """Attention of a layer after the softmax: (batch, heads, query, key), rows sum to 1."""
        return torch.cat(list(self.heads(layer)), dim=1)

    def rows(self, layer: int, queries: slice) -> Tensor:
        """Attention of some query tokens: (batch, heads, queries, key), rows sum to 1."""
        query, key = self.projection(layer, "query"), self.projection(layer, "key")
        return softmax_attention(query[:, :, queries], key, self.model.scale)

    def readout_attention(self, layer: int) -> Tensor:
        """The row of a layer's attention that the classifier reads: (batch, heads, key).

        Rows of the tokens in `Readout`, each with its share.
        """
        readout, weights = self.model.readout, self.readout_row()
        if readout.patches or readout.attended:
            return torch.cat(
                [(weights.unsqueeze(1) @ heads)[:, :, 0] for heads in self.heads(layer)], dim=1
            )
        count = len(readout.prefix)
        rows = self.rows(layer, slice(0, count))
        return torch.einsum("bq,bhqk->bhk", weights[:, 0, :count], rows)

    def readout_row(self) -> Tensor:
        """Share of each last token in what the classifier reads: (batch, 1, tokens), sums to 1."""
        readout, prefix = self.model.readout, self.model.prefix
        if readout.attended:
            with torch.no_grad():
                return self.model.pooling_attention(self.tensor(HEAD_INPUT)).unsqueeze(1)
        row = torch.zeros(len(self), 1, self.tokens, device=self.pixels.device)
        row[..., : len(readout.prefix)] = torch.tensor(readout.prefix, device=row.device)
        row[..., prefix:] = readout.patches / (self.tokens - prefix)
        return row

    # -- gradients ---------------------------------------------------------------------------

    def context_gradients(self, layers: Sequence[int], targets: Sequence[int]) -> dict[int, Tensor]:
        """``∂y/∂O`` of the logits of the targets, per layer: (batch, heads, tokens, channels).

        ``O = A·V`` is what each head gathers.
        """
        taps = {block_tap(layer, "context"): layer for layer in layers}
        found = self.gradients(list(taps), targets)
        return {layer: found[tap] for tap, layer in taps.items()}

    def layer_score_gradients(self, targets: Sequence[int]) -> dict[int, Tensor]:
        """``∂s_l/∂O_l`` for every layer, shaped as in `context_gradients`.

        The score of a layer is what the head answers to its mean token,
        ``s_l = head(norm(mean token of z_l))_c`` (Bousselham et al. 2024).
        """
        contexts = [block_tap(layer, "context") for layer in range(self.model.depth)]
        outputs = [block_tap(layer, "output") for layer in range(self.model.depth)]
        with self._lock:
            found = self._remember(("layer scores", tuple(targets)))
            if not found:
                graph = self._graph_of([*contexts, *outputs])
                with capacity.admitted(), torch.enable_grad():
                    for context, output in zip(contexts, outputs, strict=True):
                        mean_token = graph.recorded[output].mean(dim=1)
                        scores = self.model.head_readout(mean_token)
                        found.update(graph.gradients(self._picked(scores, targets), [context]))
            return {layer: found[tap] for layer, tap in enumerate(contexts)}
