"""Vision transformers of timm: ViT, DeiT (also distilled), DINO, DINOv2 (also with registers)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from core import probes
from core.errors import WeightsError
from core.models.base import Preprocessing, VisionTransformer
from core.models.spec import ModelSpec


class TimmVit(VisionTransformer):
    """A ``timm.models.VisionTransformer`` or one of its kin with a joint qkv projection."""

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        labels: Sequence[str],
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(spec, module, labels, preprocessing)
        self.blocks = list(module.blocks)  # type: ignore[arg-type]
        attention = self.blocks[0].attn
        if getattr(attention, "gate", None) is not None or not isinstance(
            getattr(attention, "norm", nn.Identity()), nn.Identity
        ):
            raise WeightsError(
                f"{spec.title} changes its attention's output before the projection (gate or "
                "norm), which the gradient of attention here does not cover; choose a plain ViT."
            )
        self.depth = len(self.blocks)
        self.heads = int(attention.num_heads)
        self.width = int(module.embed_dim)  # type: ignore[arg-type]
        self.prefix = int(module.num_prefix_tokens)  # type: ignore[arg-type]
        self.patch = int(module.patch_embed.patch_size[0])  # type: ignore[union-attr, index]
        pooling = str(module.global_pool)
        self.reads_class_token = module.cls_token is not None and pooling in ("token", "")
        self.flexible = bool(getattr(module, "dynamic_img_size", False))
        self._normed = not isinstance(attention.q_norm, nn.Identity)
        for layer, block in enumerate(self.blocks):
            probes.probe_output(block.attn.qkv, f"blocks.{layer}.qkv")
            probes.probe_output(block.attn.qkv, f"blocks.{layer}.query_key", 2 * self.width)
            probes.probe_output(block.attn.q_norm, f"blocks.{layer}.query")
            probes.probe_output(block.attn.k_norm, f"blocks.{layer}.key")
            probes.probe_input(block.attn.proj, self.CONTEXT.format(layer))
            probes.probe_input(block.mlp.fc2, self.HIDDEN.format(layer))
            probes.probe_output(block, self.OUTPUT.format(layer))

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        if not type(module).__module__.startswith("timm."):
            return False
        from timm.models import vision_transformer

        # Exactly this attention: its kin rotate, bias or mix what the probes see (EVA, BEiT, CaiT).
        plain = vision_transformer.Attention
        return isinstance(module, vision_transformer.VisionTransformer) and all(
            type(getattr(block, "attn", None)) is plain for block in module.blocks
        )

    def score(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.module(pixels)
        return logits

    def attention_names(self, layer: int, values: bool = True) -> tuple[str, ...]:
        parts = ["qkv"] if values else []
        if self._normed:
            parts += ["query", "key"]
        elif not values:
            parts = ["query_key"]
        return tuple(f"blocks.{layer}.{part}" for part in parts)

    def queries_keys(self, tensors: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        if self._normed:
            return tensors[f"blocks.{layer}.query"], tensors[f"blocks.{layer}.key"]
        whole = f"blocks.{layer}.qkv"
        joint = tensors[whole if whole in tensors else f"blocks.{layer}.query_key"]
        query, key = joint[..., : 2 * self.width].chunk(2, dim=-1)
        return self.split_heads(query), self.split_heads(key)

    def values(self, tensors: Mapping[str, Tensor], layer: int) -> Tensor:
        return self.split_heads(tensors[f"blocks.{layer}.qkv"][..., 2 * self.width :])

    def readout(self, tokens: Tensor) -> Tensor:
        # However a head pools, of equal tokens it reads one: class, distillation, mean or attended.
        module = self.module
        equal = module.norm(tokens).unsqueeze(1).expand(-1, self.prefix + 1, -1)  # type: ignore[operator]
        logits: Tensor = module.forward_head(equal)  # type: ignore[operator]
        return logits
