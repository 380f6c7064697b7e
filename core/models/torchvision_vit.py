"""Vision transformers of torchvision, built on ``torch.nn.MultiheadAttention``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from core import probes
from core.models.base import Preprocessing, VisionTransformer
from core.models.spec import ModelSpec


class TorchvisionVit(VisionTransformer):
    """A ``torchvision.models.VisionTransformer``.

    ``MultiheadAttention`` takes another kernel as soon as it carries a hook of its own, so the
    probes sit on its neighbors: the norm before it and the dropout after it.
    """

    flexible = False

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        labels: Sequence[str],
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(spec, module, labels, preprocessing)
        self.blocks = list(module.encoder.layers)  # type: ignore[union-attr, arg-type]
        attention = self.blocks[0].self_attention
        self.depth = len(self.blocks)
        self.heads = int(attention.num_heads)
        self.width = int(attention.embed_dim)
        self.prefix = 1
        self.patch = int(module.patch_size)  # type: ignore[arg-type]
        self.reads_class_token = True
        for layer, block in enumerate(self.blocks):
            probes.probe_output(block.ln_1, f"blocks.{layer}.normed")
            probes.probe_input(block.dropout, self.CONTEXT.format(layer))
            probes.probe_output(block.mlp[1], self.HIDDEN.format(layer))
            probes.probe_output(block, self.OUTPUT.format(layer))

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        return hasattr(module, "encoder") and hasattr(module, "conv_proj")

    def score(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.module(pixels)
        return logits

    def attention_names(self, layer: int, values: bool = True) -> tuple[str, ...]:
        return (f"blocks.{layer}.normed",)

    def queries_keys(self, tensors: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        joint = self._projected(tensors, layer, slice(2 * self.width))
        query, key = (self.split_heads(part) for part in joint.chunk(2, dim=-1))
        return query, key

    def values(self, tensors: Mapping[str, Tensor], layer: int) -> Tensor:
        return self.split_heads(self._projected(tensors, layer, slice(2 * self.width, None)))

    def _projected(self, tensors: Mapping[str, Tensor], layer: int, rows: slice) -> Tensor:
        attention = self.blocks[layer].self_attention
        normed = tensors[f"blocks.{layer}.normed"]
        return functional.linear(
            normed, attention.in_proj_weight[rows], attention.in_proj_bias[rows]
        )

    def context_gradient(self, gradient: Tensor, layer: int) -> Tensor:
        # The probe sees the attention's output after its projection W_o: ∂y/∂O = ∂y/∂out · W_o.
        return self.split_heads(gradient @ self.blocks[layer].self_attention.out_proj.weight)

    def readout(self, tokens: Tensor) -> Tensor:
        module = self.module
        logits: Tensor = module.heads(module.encoder.ln(tokens))  # type: ignore[operator, union-attr]
        return logits
