"""Vision transformers of timm: ViT, DeiT (also distilled), DINO, DINOv2, SigLIP, hybrids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from core import probes
from core.models.heads import ClassBesideMean
from core.models.taps import HEAD_INPUT, block_tap
from core.models.transformer import (
    BOTH_TOKENS,
    CLASS_TOKEN,
    MEAN_OF_PATCHES,
    Readout,
    VisionTransformer,
    side_by_side,
    softmax_attention,
)


class TimmTransformer(VisionTransformer):
    """Common parts of timm's transformers: blocks, prefix tokens, pooling of the head."""

    def _prepare(self) -> None:
        self.blocks = list(self.module.blocks)  # type: ignore[arg-type]
        self.attentions = [block.attn for block in self.blocks]
        self.heads = int(self.attentions[0].num_heads)
        self.width = int(self.module.embed_dim)  # type: ignore[arg-type]
        first = self.attentions[0]
        self.head_width = int(
            getattr(first, "head_dim", 0) or first.qkv.out_features // (3 * self.heads)
        )
        self.prefix = int(self.module.num_prefix_tokens)  # type: ignore[arg-type]
        # A hybrid's patch is one of its feature map: only the ratio to the picture matters.
        height, width = self.module.patch_embed.feat_ratio(as_scalar=False)  # type: ignore[union-attr, operator]
        if height != width:
            self.refuse(f"its patches are {height} × {width} pixels, not square")
        self.patch = int(height)
        self.flexible = bool(getattr(self.module, "dynamic_img_size", False))
        self.readout = self._readout()
        last = [_last_linear(getattr(block, "mlp", None)) for block in self.blocks]
        self.hidden = 0 if any(layer is None for layer in last) else int(last[0].in_features)  # type: ignore[union-attr]
        self.declare(f"blocks.{i}" for i in range(len(self.blocks)))
        for i, (block, linear) in enumerate(zip(self.blocks, last, strict=True)):
            probes.probe_input(block, block_tap(i, "input"))
            # Where a norm or a gate follows the attention, this is before it.
            probes.probe_input(
                getattr(block.attn, "norm", block.attn.proj), block_tap(i, "context")
            )
            if self.hidden and linear is not None:
                probes.probe_input(linear, block_tap(i, "hidden"))
            probes.probe_output(block, block_tap(i, "output"))
        probes.probe_output(self.module.norm, HEAD_INPUT)  # type: ignore[arg-type]

    def _readout(self) -> Readout:
        module = self.module
        pooling = str(module.global_pool)
        pool = getattr(module, "attn_pool", None)
        if isinstance(module.head, ClassBesideMean):
            return side_by_side(module.head.weight)
        if hasattr(pool, "latent"):
            return Readout(attended=True, text="the tokens as weighted by its attention pooling")
        if hasattr(module, "dist_token"):
            return BOTH_TOKENS
        if pool is None and module.cls_token is not None and pooling in ("token", ""):
            return CLASS_TOKEN
        if pool is None and pooling in ("avg", ""):
            return MEAN_OF_PATCHES
        return self.refuse(
            f"its head pools by {pooling!r}, which does not define the share of a patch"
        )

    def head_readout(self, tokens: Tensor) -> Tensor:
        # With equal tokens the result of any pooling is the same: class, distillation, mean,
        # attention.
        module = self.module
        equal = module.norm(tokens).unsqueeze(1).expand(-1, self.prefix + 1, -1)  # type: ignore[operator]
        logits: Tensor = module.forward_head(equal)  # type: ignore[operator]
        return logits

    def pooling_attention(self, tokens: Tensor) -> Tensor:
        pool = self.module.attn_pool
        left_out = 0 if getattr(self.module, "pool_include_prefix", True) else self.prefix
        read = tokens[:, left_out:]
        if pool.pos_embed is not None:  # type: ignore[union-attr]
            read = read + pool.pos_embed.unsqueeze(0)  # type: ignore[union-attr, operator]
        heads = int(pool.num_heads)  # type: ignore[union-attr, arg-type]

        def split(tensor: Tensor) -> Tensor:
            return tensor.reshape(*tensor.shape[:2], heads, -1).transpose(1, 2)

        query = split(pool.q(pool.latent.expand(len(read), -1, -1)))  # type: ignore[union-attr, operator]
        key = split(pool.kv(read).chunk(2, dim=-1)[0])  # type: ignore[union-attr, operator]
        query, key = pool.q_norm(query), pool.k_norm(key)  # type: ignore[union-attr, operator]
        weights = softmax_attention(query, key, float(pool.scale)).mean(dim=(1, 2))  # type: ignore[union-attr, arg-type]
        return torch.nn.functional.pad(weights, (left_out, 0))


class TimmVit(TimmTransformer):
    """A ``timm.models.VisionTransformer`` or a related class with a joint qkv projection."""

    def _prepare(self) -> None:
        super()._prepare()
        self._normed = not isinstance(self.attentions[0].q_norm, nn.Identity)
        joint = self.heads * self.head_width
        for i, attention in enumerate(self.attentions):
            probes.probe_output(attention.qkv, f"block.{i}.qkv")
            probes.probe_output(attention.qkv, f"block.{i}.query_key", 2 * joint)
            if self._normed:
                probes.probe_output(attention.q_norm, block_tap(i, "query"))
                probes.probe_output(attention.k_norm, block_tap(i, "key"))

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        if not type(module).__module__.startswith("timm."):
            return False
        from timm.models import vision_transformer

        # Exactly this attention: related classes rotate, bias or mix the recorded tensors.
        plain = vision_transformer.Attention
        return isinstance(module, vision_transformer.VisionTransformer) and all(
            type(getattr(block, "attn", None)) is plain for block in module.blocks
        )

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        names = set()
        for tap in taps:
            block, _, part = tap.rpartition(".")
            if part == "value":
                names.add(f"{block}.qkv")
            elif part in ("query", "key") and self._normed:
                names.add(tap)
            elif part in ("query", "key"):
                # Values are a third of the recorded bytes; they are dropped if not needed.
                names.add(f"{block}.qkv" if f"{block}.value" in taps else f"{block}.query_key")
            else:
                names.add(tap)
        return frozenset(names)

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        block, _, part = tap.rpartition(".")
        if part == "context":
            return self.split_heads(tensors[tap])
        if part not in ("query", "key", "value") or (self._normed and part != "value"):
            return tensors[tap]
        whole, width = f"{block}.qkv", self.heads * self.head_width
        joint = tensors[whole if whole in tensors else f"{block}.query_key"]
        start = ("query", "key", "value").index(part) * width
        return self.split_heads(joint[..., start : start + width])

    def read_gradient(self, gradient: Tensor, tap: str) -> Tensor:
        return self.split_heads(gradient) if tap.endswith(".context") else gradient


def projected(attention: Any, tokens: Tensor, part: str) -> Tensor:
    """Queries, keys or values of (batch, tokens, width), heads side by side."""
    if attention.qkv is None:
        separate: nn.Linear = getattr(attention, f"{part[0]}_proj")
        result: Tensor = separate(tokens)
        return result
    weight, bias = attention.qkv.weight, attention.qkv.bias
    if getattr(attention, "q_bias", None) is not None:
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    width = len(weight) // 3
    start = ("query", "key", "value").index(part) * width
    rows = slice(start, start + width)
    return functional.linear(tokens, weight[rows], None if bias is None else bias[rows])


def _last_linear(module: nn.Module | None) -> nn.Linear | None:
    """The last linear layer of any MLP; its input is the hidden layer."""
    linears = [part for part in module.modules() if isinstance(part, nn.Linear)] if module else []
    return linears[-1] if linears else None
