"""Transformers of timm with rotary position embedding: EVA-02, DINOv3, PE."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from core import probes
from core.models.timm_vit import TimmTransformer, projected
from core.numerics import own_state


class RotaryVit(TimmTransformer):
    """A ``timm.models.Eva``: attention is ``softmax(rot(q) · rot(k)ᵀ · scale)``.

    Only patches are rotated, by the library's own function. Queries, keys and values are projected
    again from the input of the attention, since some of these networks add their biases inside a
    function call that no probe can reach. Where several queries share a key and a value, each head
    is given its own copy.
    """

    def _prepare(self) -> None:
        super()._prepare()
        self._embedding = lru_cache(maxsize=8)(self._embedded)
        for i, attention in enumerate(self.attentions):
            probes.probe_input(attention, f"block.{i}.normed")
        probes.probe_output(self.module.get_submodule("patch_embed"), "patches")

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        if not type(module).__module__.startswith("timm."):
            return False
        from timm.models import eva

        known = (eva.EvaAttention, eva.AttentionRope)
        return isinstance(module, eva.Eva) and all(
            type(getattr(block, "attn", None)) in known for block in module.blocks
        )

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        projected = (".query", ".key", ".value")
        names: set[str] = set()
        for tap in taps:
            if tap.endswith(projected):
                names |= {f"{tap.rpartition('.')[0]}.normed", "patches"}
            else:
                names.add(tap)
        return frozenset(names)

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        block, _, part = tap.rpartition(".")
        if part == "context":
            return self.split_heads(tensors[tap])
        if part not in ("query", "key", "value"):
            return tensors[tap]
        layer = int(block.rpartition(".")[2])
        attention = self.attentions[layer]
        joint = projected(attention, tensors[f"{block}.normed"], part)
        heads = joint.reshape(*joint.shape[:2], -1, self.head_width).transpose(1, 2)
        if part != "value":
            norm = attention.q_norm if part == "query" else attention.k_norm
            heads = self._rotated(norm(heads), layer, tensors["patches"])
        if heads.shape[1] == self.heads:
            return heads
        return heads.repeat_interleave(self.heads // heads.shape[1], dim=1)  # shared by queries

    def read_gradient(self, gradient: Tensor, tap: str) -> Tensor:
        return self.split_heads(gradient) if tap.endswith(".context") else gradient

    def _rotated(self, heads: Tensor, layer: int, patches: Tensor) -> Tensor:
        from timm.layers import apply_rot_embed_cat

        rope: Any = self.module.rope
        if rope is None:
            return heads
        embedding = self._embedding(tuple(patches.shape[1:3]) if self.flexible else None)
        if getattr(self.module, "rope_mixed", False):
            embedding = embedding[layer]
        half = bool(getattr(self.attentions[layer], "rotate_half", False))
        rotated = apply_rot_embed_cat(heads[:, :, self.prefix :], embedding, half=half)
        return torch.cat([heads[:, :, : self.prefix], rotated], dim=2).type_as(heads)

    def _embedded(self, grid: tuple[int, int] | None) -> Any:
        """Sines and cosines of a grid of patches; ``None`` for the model's only one."""
        rope: Any = self.module.rope
        if grid is None and not hasattr(rope, "feat_shape"):
            grid = self.module.get_submodule("patch_embed").grid_size  # type: ignore[assignment]
        with own_state():  # kept, and used with graphs later on
            embedding: Any = rope.get_embed() if grid is None else rope.get_embed(shape=grid)
        return embedding
