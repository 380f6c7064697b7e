"""A vision transformer run step by step, in double precision: one picture, layer, head at a time.

The attention matrix really exists here, so that autograd can differentiate through it, and a
rotation is one of explicit pairs of channels. Of the libraries only the embedding of patches, the
norms and the MLPs are used; of the application nothing.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tests.support.builders import HEADS, PATCH, Built

Array = npt.NDArray[np.float64]

Matrix = tuple[Tensor, Tensor | None]
"""Weight (channels out, channels in) and bias."""


class Weights(NamedTuple):
    """Matrices of one layer's attention: rows of q, k and v are channels, head after head.

    ``norms`` are of the queries and keys of a head; ``inner`` comes before the output projection.
    """

    query: Matrix
    key: Matrix
    value: Matrix
    output: Matrix
    norms: tuple[nn.Module, nn.Module] = (nn.Identity(), nn.Identity())
    inner: nn.Module = nn.Identity()


class Trace(NamedTuple):
    """One picture's way through a transformer; lists go by layer, those of heads then by head.

    ``pooling`` are the weights (tokens,) of an attention pooling, where the head has one.
    """

    logits: Tensor
    inputs: list[Tensor]
    scores: list[list[Tensor]]
    attention: list[list[Tensor]]
    values: list[list[Tensor]]
    queries: list[list[Tensor]]
    keys: list[list[Tensor]]
    contexts: list[list[Tensor]]
    outputs: list[Tensor]
    pooling: Tensor | None


def linear(tokens: Tensor, matrix: Matrix, rows: slice = slice(None)) -> Tensor:
    """Some rows of a matrix applied to tokens."""
    weight, bias = matrix
    projected = tokens @ weight[rows].T
    return projected if bias is None else projected + bias[rows]


def softmax(scores: Tensor) -> Tensor:
    """Each row's powers of e divided by their sum."""
    powers = scores.exp()
    return powers / powers.sum(dim=-1, keepdim=True)


class Rotation:
    """Angles of a rotary position embedding, (patches, pairs), for each layer and head.

    Parameters
    ----------
    module
        A ``timm.models.Eva``; only its settings are read, and the frequencies that were learned.
    grid
        Rows and columns of patches.
    channels
        Of a head.
    """

    def __init__(self, module: Any, grid: tuple[int, int], channels: int) -> None:
        self.rope = module.rope
        self.kind = type(self.rope).__name__
        self.half = bool(module.blocks[0].attn.rotate_half)
        self.places = [(row, col) for row in range(grid[0]) for col in range(grid[1])]
        self.grid = grid
        self.bands = channels // 4
        # Along which axis of the grid the first half of the pairs is turned, and the second.
        self.axes = (1, 0) if self.rope.grid_indexing == "xy" else (0, 1)

    def angle(self, place: tuple[int, int], pair: int, layer: int, head: int) -> float:
        """By how much a pair of channels of a patch is turned."""
        first, second = (place[axis] for axis in self.axes)
        if self.kind == "RotaryEmbeddingMixed":
            along, across = (float(f) for f in self.rope.freqs.detach()[:, layer, head, pair])
            return first * along + second * across
        base = float(self.rope.temperature)
        if self.kind == "RotaryEmbeddingMRope":  # time, which stands still, row, column, time, …
            return (0, *place)[pair % 3] / base ** (pair / (2 * self.bands))
        half, band = divmod(pair, self.bands)
        axis = self.axes[half]
        position, count = place[axis] + self.rope.grid_offset, self.grid[axis]
        if self.kind == "RotaryEmbeddingDinoV3":
            centered = 2 * (position + 0.5) / count - 1
            return 2 * math.pi * centered / base ** (band / self.bands)
        assert self.kind == "RotaryEmbeddingCat"
        reference = self.rope.ref_feat_shape
        if reference is not None:
            position = position / count * reference[axis]
        return position / base ** (band / self.bands)

    def turn(self, tokens: Tensor, layer: int, head: int) -> Tensor:
        """Queries or keys (tokens, channels) of a head, turned; the prefix stays."""
        count, channels = tokens.shape
        prefix = count - len(self.places)
        pairs = channels // 2
        turned = list(tokens[:prefix])
        for place, token in zip(self.places, tokens[prefix:], strict=True):
            result: list[Any] = [None] * channels
            for pair in range(pairs):
                first, second = (pair, pair + pairs) if self.half else (2 * pair, 2 * pair + 1)
                angle = self.angle(place, pair, layer, head)
                x, y = token[first], token[second]
                result[first] = x * math.cos(angle) - y * math.sin(angle)
                result[second] = x * math.sin(angle) + y * math.cos(angle)
            turned.append(torch.stack(result))
        return torch.stack(turned)


class ReferenceTransformer:
    """The parts of a library's transformer, taken out of a copy in double precision."""

    def __init__(self, case: Built) -> None:
        self.case = case
        self.module: Any = copy.deepcopy(case.bare).double()
        self.kind = case.name.split()[0]
        if self.kind == "timm":
            self.blocks = list(self.module.blocks)
        elif self.kind == "torchvision":
            self.blocks = list(self.module.encoder.layers)
        else:
            self.backbone = getattr(self.module, self.module.base_model_prefix)
            stack = getattr(self.backbone, "layers", None) or self.backbone.encoder.layer
            self.blocks = list(stack)

    def embed(self, pixels: Tensor) -> Tensor:
        """Tokens that enter the first layer: (1, tokens, width)."""
        module = self.module
        if type(module).__name__ == "Beit":
            patches = module.patch_embed(pixels)
            tokens = torch.cat([module.cls_token, patches], dim=1)
            return tokens if module.pos_embed is None else tokens + module.pos_embed
        if type(module).__name__ == "VisionTransformerRelPos":
            return module.patch_embed(pixels)
        if self.kind == "timm":
            tokens = module._pos_embed(module.patch_embed(pixels))
            return module.norm_pre(tokens[0] if isinstance(tokens, tuple) else tokens)
        if self.kind == "torchvision":
            patches = module._process_input(pixels)
            tokens = torch.cat([module.class_token.expand(len(patches), -1, -1), patches], dim=1)
            return tokens + module.encoder.pos_embedding
        if type(self.backbone).__name__.startswith("Dinov2"):
            return self.backbone.embeddings(pixels)
        return self.backbone.embeddings(pixels, interpolate_pos_encoding=True)

    def weights(self, block: Any) -> Weights:
        """The attention matrices of a layer, whatever the library calls them."""
        if self.kind == "timm":
            part = block.attn
            plain = nn.Identity()
            norms = (getattr(part, "q_norm", plain), getattr(part, "k_norm", plain))
            own = {"norms": norms, "inner": getattr(part, "norm", plain)}
            output = (part.proj.weight, part.proj.bias)
            if part.qkv is None:
                linears = (part.q_proj, part.k_proj, part.v_proj)
                return Weights(*[(one.weight, one.bias) for one in linears], output, **own)
            bias = [None] * 3 if part.qkv.bias is None else part.qkv.bias.chunk(3)
            if getattr(part, "q_bias", None) is not None:
                bias = [part.q_bias, None, part.v_bias]
            return Weights(*zip(part.qkv.weight.chunk(3), bias, strict=True), output, **own)
        if self.kind == "torchvision":
            part = block.self_attention
            weight, bias = part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3)
            triple = zip(weight, bias, strict=True)
            return Weights(*triple, (part.out_proj.weight, part.out_proj.bias))
        part = block.attention
        linears = (part.q_proj, part.k_proj, part.v_proj, part.o_proj)
        return Weights(*[(one.weight, one.bias) for one in linears])

    def biases(self, block: Any, grid: tuple[int, int], head: int) -> Tensor | None:
        """What is added to the scores of a head, (tokens, tokens), entry after entry.

        The table has a row for each offset of two patches, then three for pairs with the class
        token: to a patch, of a patch, of itself.
        """
        own, shared = getattr(block.attn, "rel_pos", None), getattr(self.module, "rel_pos_bias", 0)
        holder = own or shared or block.attn
        table = getattr(holder, "relative_position_bias_table", None)
        if table is None:
            return None
        rows, cols = grid
        places: list[Any] = [None] * self.case.prefix
        places += [(row, col) for row in range(rows) for col in range(cols)]
        entries = []
        for asks in places:
            for asked in places:
                if asks is None or asked is None:
                    pair = (asks is None, asked is None)
                    number = len(table) - {(True, False): 3, (False, True): 2}.get(pair, 1)
                else:
                    down, across = asks[0] - asked[0], asks[1] - asked[1]
                    number = (down + rows - 1) * (2 * cols - 1) + across + cols - 1
                entries.append(table[number, head])
        return torch.stack(entries).reshape(len(places), len(places))

    @staticmethod
    def norms_afterwards(block: Any) -> bool:
        """Whether a layer's norms follow its attention and MLP."""
        return type(block).__name__ in ("ResPostBlock", "EvaBlockPostNorm")

    def before(self, block: Any, tokens: Tensor) -> Tensor:
        """What enters a layer's attention."""
        if self.norms_afterwards(block):
            return tokens
        name = next(n for n in ("norm1", "ln_1", "layernorm_before") if hasattr(block, n))
        return getattr(block, name)(tokens)

    def after(self, block: Any, tokens: Tensor, attended: Tensor) -> Tensor:
        """The rest of a layer: residual, MLP, residual."""
        if self.norms_afterwards(block):
            tokens = tokens + block.norm1(attended)
            return tokens + block.norm2(block.mlp(tokens))
        norm = next(n for n in ("norm2", "ln_2", "layernorm_after") if hasattr(block, n))
        tokens = tokens + self.scaled(block, attended, "1")
        return tokens + self.scaled(block, block.mlp(getattr(block, norm)(tokens)), "2")

    @staticmethod
    def scaled(block: Any, branch: Tensor, number: str) -> Tensor:
        """A branch times the layer's own scale of it, if it has one."""
        for name in ("ls", "layer_scale"):
            if hasattr(block, name + number):
                return getattr(block, name + number)(branch)
        gamma = getattr(block, f"gamma_{number}", None)
        return branch if gamma is None else gamma * branch

    def head(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (1, classes) of the tokens that leave the last layer, and weights of a pooling."""
        module, reads, prefix = self.module, self.case.reads, self.case.prefix
        if self.kind == "torchvision":
            return module.heads(module.encoder.ln(tokens)[:, 0]), None
        norm = module.norm if self.kind == "timm" else self.backbone.layernorm
        normed = norm(tokens)
        mean = normed[:, prefix:].mean(dim=1)
        if self.kind == "timm":
            if reads == "class and distillation":
                return (module.head(normed[:, 0]) + module.head_dist(normed[:, 1])) / 2, None
            if reads == "class and patches":
                both = torch.cat([normed[:, 0], mean], dim=1)
                return both @ module.head.weight.T + module.head.bias, None
            pooled, weights = {"class": normed[:, 0], "patches": mean}.get(reads), None
            if pooled is None:
                pooled, weights = self.pool(normed)
            return module.head(module.fc_norm(pooled)), weights
        if reads == "class and patches":
            return module.classifier(torch.cat([normed[:, 0], mean], dim=1)), None
        return module.classifier(mean if reads == "patches" else normed[:, 0]), None

    def pool(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Attention pooling of (1, tokens, width): what it gathers, and its weights (tokens,)."""
        pool = self.module.attn_pool
        left_out = 0 if getattr(self.module, "pool_include_prefix", True) else self.case.prefix
        tokens = normed[0, left_out:]
        query = pool.q(pool.latent[0, 0])
        keys, values = pool.kv(tokens).chunk(2, dim=1)
        channels = len(query) // pool.num_heads
        gathered, shares = [], []
        for head in range(pool.num_heads):
            part = slice(head * channels, (head + 1) * channels)
            weights = softmax(keys[:, part] @ query[part] / math.sqrt(channels))
            gathered.append(weights @ values[:, part])
            shares.append(weights)
        pooled = pool.proj(torch.cat(gathered)).unsqueeze(0)
        pooled = pooled + pool.mlp(pool.norm(pooled))
        share = sum(shares[1:], start=shares[0]) / len(shares)
        return pooled, torch.cat([share.new_zeros(left_out), share])

    def run(self, pixels: Tensor) -> Trace:
        """Run one picture (1, 3, height, width), keeping each head's matrices in the graph."""
        tokens = self.embed(pixels.detach().requires_grad_())
        trace = Trace(tokens, [], [], [], [], [], [], [], [], None)
        by_head = ("scores", "attention", "values", "queries", "keys", "contexts")
        channels = self.case.width // HEADS
        rotation = None
        grid = (pixels.shape[2] // PATCH, pixels.shape[3] // PATCH)
        if getattr(self.module, "rope", None) is not None:
            rotation = Rotation(self.module, grid, channels)
        for layer, block in enumerate(self.blocks):
            trace.inputs.append(tokens)
            weights = self.weights(block)
            entering = self.before(block, tokens)[0]
            found: dict[str, list[Tensor]] = {name: [] for name in by_head}
            for head in range(HEADS):
                rows = []
                for matrix, _ in weights[:3]:  # several queries may share a key and a value
                    own = head * len(matrix) // (HEADS * channels)
                    rows.append(slice(own * channels, (own + 1) * channels))
                query, key, value = map(linear, [entering] * 3, weights[:3], rows)
                query, key = weights.norms[0](query), weights.norms[1](key)
                if rotation is not None:
                    query, key = (rotation.turn(part, layer, head) for part in (query, key))
                scores = query @ key.T / math.sqrt(channels)
                bias = self.biases(block, grid, head) if self.kind == "timm" else None
                scores = scores if bias is None else scores + bias
                attention = softmax(scores)
                kept = (scores, attention, value, query, key, attention @ value)
                for name, tensor in zip(by_head, kept, strict=True):
                    found[name].append(tensor)
            context = weights.inner(torch.cat(found["contexts"], dim=1))
            tokens = self.after(block, tokens, linear(context, weights.output).unsqueeze(0))
            for name in by_head:
                getattr(trace, name).append(found[name])
            trace.outputs.append(tokens)
        logits, pooling = self.head(tokens)
        return trace._replace(logits=logits, pooling=pooling)


_runs: dict[tuple[str, bytes], tuple[ReferenceTransformer, Trace]] = {}


def traces(case: Built, pixels: Tensor) -> list[tuple[ReferenceTransformer, Trace]]:
    """Every picture of a batch, each run on its own; runs are remembered."""
    found = []
    for one in pixels:
        key = (case.name, str(tuple(one.shape)).encode() + one.numpy().tobytes())
        if key not in _runs:
            network = ReferenceTransformer(case)
            _runs[key] = (network, network.run(one.double().unsqueeze(0)))
        found.append(_runs[key])
    return found


def readout(case: Built, trace: Trace, product: Array) -> Array:
    """The row of a (tokens, tokens) matrix that the classifier reads."""
    patches = np.asarray(product[case.prefix :].mean(axis=0))
    if case.reads == "class":
        return product[0]
    if case.reads == "class and distillation":
        return (product[0] + product[1]) / 2
    if case.reads == "class and patches":
        return (product[0] + patches) / 2
    if case.reads == "patches":
        return patches
    assert trace.pooling is not None
    total = np.zeros(len(product))
    for weight, row in zip(trace.pooling.detach().numpy(), product, strict=True):
        total += weight * row
    return total
