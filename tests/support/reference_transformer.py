"""A vision transformer run by hand, in double precision: one picture, layer and head at a time.

The attention matrix really exists here, so that autograd can differentiate through it; nothing of
the application is used.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tests.support.builders import HEADS, Built


class Weights(NamedTuple):
    """Matrices of one layer's attention: rows of q, k and v are channels, head after head."""

    query: tuple[Tensor, Tensor]
    key: tuple[Tensor, Tensor]
    value: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    norms: tuple[nn.Module, nn.Module]


class Trace(NamedTuple):
    """One picture's way through a transformer; lists go by layer, then head."""

    logits: Tensor
    scores: list[list[Tensor]]
    attention: list[list[Tensor]]
    values: list[list[Tensor]]
    queries: list[list[Tensor]]
    outputs: list[Tensor]


class ReferenceTransformer:
    """The parts of a library's transformer, taken out of a copy in double precision."""

    def __init__(self, case: Built) -> None:
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
        if self.kind == "timm":
            return module.norm_pre(module.patch_drop(module._pos_embed(module.patch_embed(pixels))))
        if self.kind == "torchvision":
            patches = module._process_input(pixels)
            tokens = torch.cat([module.class_token.expand(len(patches), -1, -1), patches], dim=1)
            return tokens + module.encoder.pos_embedding
        if type(self.backbone).__name__ == "ViTModel":
            return self.backbone.embeddings(pixels, interpolate_pos_encoding=True)
        return self.backbone.embeddings(pixels)

    def weights(self, block: Any) -> Weights:
        """The attention matrices of a layer, whatever the library calls them."""
        same = nn.Identity()
        if self.kind == "timm":
            part = block.attn
            weight, bias = part.qkv.weight.chunk(3), part.qkv.bias.chunk(3)
            triple = list(zip(weight, bias, strict=True))
            output = (part.proj.weight, part.proj.bias)
            return Weights(*triple, output, (part.q_norm, part.k_norm))
        if self.kind == "torchvision":
            part = block.self_attention
            weight, bias = part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3)
            triple = list(zip(weight, bias, strict=True))
            return Weights(*triple, (part.out_proj.weight, part.out_proj.bias), (same, same))
        part = block.attention
        linears = (part.q_proj, part.k_proj, part.v_proj, part.o_proj)
        return Weights(*[(linear.weight, linear.bias) for linear in linears], (same, same))

    def before(self, block: Any, tokens: Tensor) -> Tensor:
        """What enters a layer's attention."""
        for name in ("norm1", "ln_1", "layernorm_before"):
            if hasattr(block, name):
                return getattr(block, name)(tokens)
        raise LookupError(type(block).__name__)

    def after(self, block: Any, tokens: Tensor, attended: Tensor) -> Tensor:
        """The rest of a layer: residual, MLP, residual."""
        scaled = {"timm": ("ls1", "ls2"), "hf": ("layer_scale1", "layer_scale2")}
        first, second = scaled.get(self.kind, ("", ""))
        tokens = tokens + getattr(block, first, nn.Identity())(attended)
        norm = next(n for n in ("norm2", "ln_2", "layernorm_after") if hasattr(block, n))
        return tokens + getattr(block, second, nn.Identity())(
            block.mlp(getattr(block, norm)(tokens))
        )

    def head(self, tokens: Tensor) -> Tensor:
        """Logits (1, classes) of the tokens that leave the last layer."""
        module = self.module
        if self.kind == "timm":
            return module.forward_head(module.norm(tokens))
        if self.kind == "torchvision":
            return module.heads(module.encoder.ln(tokens)[:, 0])
        normed = self.backbone.layernorm(tokens)
        if module.classifier.in_features == normed.shape[-1]:
            return module.classifier(normed[:, 0])
        registers = getattr(module.config, "num_register_tokens", 0)
        mean = normed[:, 1 + registers :].mean(dim=1)
        return module.classifier(torch.cat([normed[:, 0], mean], dim=1))

    def run(self, pixels: Tensor) -> Trace:
        """Run one picture (1, 3, height, width), keeping each head's matrices in the graph."""
        tokens = self.embed(pixels.detach().requires_grad_())
        trace = Trace(tokens, [], [], [], [], [])
        for block in self.blocks:
            weights = self.weights(block)
            entering = self.before(block, tokens)[0]
            count, width = entering.shape
            channels = width // HEADS
            found: list[list[Tensor]] = [[], [], [], []]
            contexts = []
            for head in range(HEADS):
                part = slice(head * channels, (head + 1) * channels)
                query, key, value = (
                    entering @ matrix[part].T + bias[part] for matrix, bias in weights[:3]
                )
                query, key = weights.norms[0](query), weights.norms[1](key)
                scores = query @ key.T / math.sqrt(channels)
                powers = scores.exp()
                attention = powers / powers.sum(dim=1, keepdim=True)
                contexts.append(attention @ value)
                for kept, tensor in zip(found, (scores, attention, value, query), strict=True):
                    kept.append(tensor)
            matrix, bias = weights.output
            attended = torch.cat(contexts, dim=1) @ matrix.T + bias
            tokens = self.after(block, tokens, attended.view(1, count, -1))
            for stack, kept in zip(trace[1:5], found, strict=True):
                stack.append(kept)
            trace.outputs.append(tokens)
        return trace._replace(logits=self.head(tokens))


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
