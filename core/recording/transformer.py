"""Recordings of vision transformers: attention, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from core import capacity
from core.errors import ParameterError
from core.models import VisionTransformer
from core.models.taps import HEAD_INPUT, Part, Projection, block_tap
from core.models.transformer import softmax_attention
from core.numerics import own_state
from core.recording.recording import Recording
from core.recording.run import Needs
from core.targets import Target, as_target

ALL = slice(None)
AT_A_TIME = {"cpu": 4 * 2**20, "cuda": 256 * 2**20, "mps": 64 * 2**20}
"""Bytes of attention computed at once; on a CPU, sizes that fit its cache are fastest."""


def attention_needs(
    model: VisionTransformer,
    layers: Sequence[int] | None = None,
    *,
    values: bool = False,
    gradients: Sequence[int] = (),
) -> Needs:
    """Needs of the attention of some layers.

    Parameters
    ----------
    layers
        All by default.
    values
        Whether values are needed beside queries and keys.
    gradients
        Layers at which the gradient of attention is needed.
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
    _received: dict[int, Tensor] | None = None

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
        """Split (batch, heads, query, channels) by queries so that a part's attention is small."""
        row = 4 * tensor.shape[0] * tensor.shape[1] * self.tokens
        count = max(1, AT_A_TIME[tensor.device.type] // row)
        return tuple(torch.split(tensor, count, dim=2))

    # -- attention ---------------------------------------------------------------------------

    def keep_attention(self) -> None:
        """Make sure that the attention of all layers can be read without another pass."""
        layers = range(self.model.depth)
        self.extend(Needs(block_tap(layer, kind) for layer in layers for kind in ("query", "key")))

    def attention_in_turn(self, layer: int, queries: slice = ALL) -> Iterator[Tensor]:
        """Attention of a layer after the softmax, some queries at a time.

        Yields
        ------
        (batch, heads, some queries, key)
            Rows sum to 1. Together they are all of ``queries`` in order; only one part need exist
            at a time, and the consumer may write into it.
        """
        query, key = self.projection(layer, "query"), self.projection(layer, "key")
        bias, start = self._bias(layer, queries), 0
        tally = self._received is not None and queries == ALL
        total, first = query.new_zeros((), dtype=torch.float32), self.model.prefix
        for asking in self.in_turn(query[:, :, queries]):
            with own_state():
                stop = start + asking.shape[2]
                own = None if bias is None else bias[:, start:stop]
                part = softmax_attention(asking, key, self.model.scale, own)
                start = stop
                if tally:  # queries of prefix tokens come first and are left out
                    total = total + part[:, :, first:].sum(dim=(1, 2))
                    first = max(0, first - part.shape[2])
            yield part
        if tally and self._received is not None:
            self._received[layer] = total

    @own_state()
    def _bias(self, layer: int, queries: slice) -> Tensor | None:
        """The bias of some queries, (heads, queries, key)."""
        bias = self.model.attention_bias(layer)
        return None if bias is None else bias[:, queries]

    @own_state()
    def attention(self, layer: int, queries: slice = ALL) -> Tensor:
        """Attention after the softmax: (batch, heads, queries, key), rows sum to 1."""
        return torch.cat(list(self.attention_in_turn(layer, queries)), dim=2)

    @own_state()
    def readout_attention(self, layer: int) -> Tensor:
        """The row of a layer's attention that the classifier reads: (batch, heads, key).

        Rows of the tokens in `Readout`, each with its share.
        """
        readout, weights = self.model.readout, self.readout_row()[:, 0]
        if not (readout.patches or readout.attended):
            count = len(readout.prefix)
            rows = self.attention(layer, slice(0, count))
            return torch.einsum("bq,bhqk->bhk", weights[:, :count], rows)
        read, start = torch.zeros((), device=weights.device, dtype=weights.dtype), 0
        for part in self.attention_in_turn(layer):
            share = weights[:, start : start + part.shape[2]]
            read = read + torch.einsum("bq,bhqk->bhk", share, part)
            start += part.shape[2]
        return read

    def tally(self) -> None:
        """Let code that iterates over all attention of a layer also sum it up for `received`.

        Call it before maps are computed, if `received` is needed later.
        """
        self.__dict__.setdefault("_received", {})  # atomic, also for concurrent threads

    def received(self) -> Tensor:
        """Attention each patch receives from the patches: (batch, rows, cols), not negative.

        Mean over layers, heads and queries.
        """
        self.tally()
        assert self._received is not None
        self.keep_attention()
        with capacity.admitted(), own_state():
            for layer in range(self.model.depth):
                if layer not in self._received:
                    for _ in self.attention_in_turn(layer):
                        pass
            zero = torch.zeros((), device=self.pixels.device, dtype=torch.float32)
            total = sum(self._received.values(), zero)
            patches = self.grid[0] * self.grid[1]
            return self.to_grid(total / (self.model.depth * self.model.heads * patches))

    @own_state()
    def readout_row(self) -> Tensor:
        """Share of each token in the input of the classifier: (batch, 1, tokens), sums to 1."""
        readout, prefix = self.model.readout, self.model.prefix
        if readout.attended:
            return self.model.pooling_attention(self.tensor(HEAD_INPUT)).unsqueeze(1)
        row = self.pixels.new_zeros(len(self), 1, self.tokens)
        row[..., : len(readout.prefix)] = row.new_tensor(readout.prefix)
        row[..., prefix:] = readout.patches / (self.tokens - prefix)
        return row

    # -- gradients ---------------------------------------------------------------------------

    def context_gradients(
        self, layers: Sequence[int], targets: Sequence[int | Target]
    ) -> dict[int, Tensor]:
        """``∂y/∂O`` of the targets, per layer: (batch, heads, tokens, channels).

        ``O = A·V`` is the output of the heads.
        """
        taps = {block_tap(layer, "context"): layer for layer in layers}
        found = self.gradients(list(taps), targets)
        return {layer: found[tap] for tap, layer in taps.items()}

    def layer_score_gradients(self, targets: Sequence[int | Target]) -> dict[int, Tensor]:
        """``∂s_l/∂O_l`` for every layer, shaped as in `context_gradients`.

        The score of a layer is the head's logit for its mean token,
        ``s_l = head(norm(mean token of z_l))_c`` (Bousselham et al. 2024).
        """
        asked = tuple(map(as_target, targets))
        contexts = [block_tap(layer, "context") for layer in range(self.model.depth)]
        outputs = [block_tap(layer, "output") for layer in range(self.model.depth)]
        with self._lock:
            found = self._remember(("layer scores", asked))
            if not found:
                graph = self._graph_of([*contexts, *outputs])
                with capacity.admitted(ahead=True), own_state(gradients=True):
                    for context, output in zip(contexts, outputs, strict=True):
                        mean_token = graph.recorded[output].mean(dim=1)
                        scores = self.model.head_readout(mean_token)
                        found.update(graph.gradients(self._picked(scores, asked), [context]))
            return {layer: found[tap] for layer, tap in enumerate(contexts)}
