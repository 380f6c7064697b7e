"""Transformers of timm with a bias for relative positions: BEiT, BEiT v2, Data2Vec, ViT-RelPos."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from core import probes
from core.models.timm_vit import TimmTransformer, projected
from core.numerics import own_state


class BiasedVit(TimmTransformer):
    """Attention is ``softmax(q·kᵀ · scale + bias)`` with a bias of each head for each offset.

    The bias is learned and equal for every picture (Bao et al. 2022, arXiv 2106.08254, after
    Raffel et al. 2020); it is read by the library's own functions, of the layer itself or
    of a module that all layers share. Queries, keys and values are projected again from the input
    of the attention, since BEiT adds their biases inside a function call that no probe can reach.
    """

    def _prepare(self) -> None:
        super()._prepare()
        for i, attention in enumerate(self.attentions):
            probes.probe_input(attention, f"block.{i}.normed")

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        if not type(module).__module__.startswith("timm."):
            return False
        from timm.models import beit, vision_transformer_relpos

        builds: dict[type[nn.Module], type[nn.Module]] = {
            beit.Beit: beit.Attention,
            vision_transformer_relpos.VisionTransformerRelPos: (
                vision_transformer_relpos.RelPosAttention
            ),
        }
        known = builds.get(type(module))
        return known is not None and all(
            type(getattr(block, "attn", None)) is known
            for block in module.blocks  # type: ignore[union-attr]
        )

    @own_state()
    def attention_bias(self, layer: int) -> Tensor | None:
        attention, module = self.attentions[layer], self.module
        found: list[Any] = []
        if getattr(attention, "relative_position_bias_table", None) is not None:
            found.append(attention._get_rel_pos_bias())
        if getattr(module, "rel_pos_bias", None) is not None:
            found.append(module.rel_pos_bias())  # type: ignore[operator]
        shared = getattr(module, "shared_rel_pos", None)
        if (own := getattr(attention, "rel_pos", None) or shared) is not None:
            found.append(own.get_bias())
        if not found:
            return None
        total: Tensor = sum(found[1:], start=found[0])
        return total.reshape(self.heads, *total.shape[-2:])

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        rebuilt = (".query", ".key", ".value")
        return frozenset(
            f"{tap.rpartition('.')[0]}.normed" if tap.endswith(rebuilt) else tap for tap in taps
        )

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        block, _, part = tap.rpartition(".")
        if part == "context":
            return self.split_heads(tensors[tap])
        if part not in ("query", "key", "value"):
            return tensors[tap]
        attention = self.attentions[int(block.rpartition(".")[2])]
        heads = self.split_heads(projected(attention, tensors[f"{block}.normed"], part))
        norm = getattr(attention, f"{part[0]}_norm", None)  # of queries and keys, in a few
        return heads if norm is None else norm(heads)

    def read_gradient(self, gradient: Tensor, tap: str) -> Tensor:
        return self.split_heads(gradient) if tap.endswith(".context") else gradient
