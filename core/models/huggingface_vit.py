"""Vision transformers of Hugging Face transformers: ViT, DINOv2 with and without registers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from core import probes
from core.models.base import Preprocessing, VisionTransformer
from core.models.spec import ModelSpec


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The layers, found by their shape: a list of modules whose attention has four projections."""
    for part in module.modules():
        if isinstance(part, nn.ModuleList) and len(part):
            attention = getattr(part[0], "attention", None)
            if attention is not None and hasattr(attention, "q_proj"):
                return list(part)
    return []


class HuggingFaceVit(VisionTransformer):
    """An image classifier of transformers whose layers have q, k, v and o projections."""

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        labels: Sequence[str],
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(spec, module, labels, preprocessing)
        config = module.config
        self.blocks = _blocks(module)
        self.depth = len(self.blocks)
        self.heads = int(config.num_attention_heads)  # type: ignore[union-attr, arg-type]
        self.width = int(config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.prefix = 1 + int(getattr(config, "num_register_tokens", 0))
        self.patch = int(config.patch_size)  # type: ignore[union-attr, arg-type]
        self._native = int(config.image_size)  # type: ignore[union-attr, arg-type]
        self.reads_class_token = True
        parameters = inspect.signature(module.forward).parameters
        self._must_be_told = "interpolate_pos_encoding" in parameters
        self._backbone: nn.Module = getattr(module, str(module.base_model_prefix))
        for layer, block in enumerate(self.blocks):
            attention = block.attention
            for part in "qkv":
                projection = getattr(attention, f"{part}_proj")
                probes.probe_output(projection, f"blocks.{layer}.{part}")
            probes.probe_input(attention.o_proj, self.CONTEXT.format(layer))  # type: ignore[union-attr, arg-type]
            last = getattr(block.mlp, "fc2", None) or block.mlp.down_proj  # type: ignore[union-attr]
            probes.probe_input(last, self.HIDDEN.format(layer))  # type: ignore[arg-type]
            probes.probe_output(block, self.OUTPUT.format(layer))

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        return hasattr(module, "base_model_prefix") and bool(_blocks(module))

    def score(self, pixels: Tensor) -> Tensor:
        # DINOv2 always interpolates its position embedding; ViT wants to be told.
        other_size = tuple(pixels.shape[-2:]) != (self._native, self._native)
        options = {"interpolate_pos_encoding": True} if other_size and self._must_be_told else {}
        logits: Tensor = self.module(pixels, **options).logits
        return logits

    def attention_names(self, layer: int, values: bool = True) -> tuple[str, ...]:
        return tuple(f"blocks.{layer}.{part}" for part in ("qkv" if values else "qk"))

    def queries_keys(self, tensors: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        query, key = (self.split_heads(tensors[f"blocks.{layer}.{part}"]) for part in "qk")
        return query, key

    def values(self, tensors: Mapping[str, Tensor], layer: int) -> Tensor:
        return self.split_heads(tensors[f"blocks.{layer}.v"])

    def readout(self, tokens: Tensor) -> Tensor:
        normed = self._backbone.layernorm(tokens)  # type: ignore[operator]
        classifier: nn.Linear = self.module.classifier  # type: ignore[assignment]
        if classifier.in_features == 2 * self.width:
            # This head reads the class token beside the mean patch; here one vector is both.
            normed = torch.cat([normed, normed], dim=-1)
        logits: Tensor = classifier(normed)
        return logits
