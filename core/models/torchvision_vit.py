"""Vision transformers of torchvision, built on ``torch.nn.MultiheadAttention``."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn
from torch.nn import functional

from core import probes
from core.models.taps import HEAD_INPUT, block_tap
from core.models.transformer import CLASS_TOKEN, VisionTransformer, softmax_attention


class TorchvisionVit(VisionTransformer):
    """A ``torchvision.models.VisionTransformer``.

    ``MultiheadAttention`` uses another kernel as soon as it has a hook, so the
    probes are on its neighbors: the norm before it and the dropout after it. Queries, keys and
    values are projected again from what the norm returned.
    """

    flexible = False

    def _prepare(self) -> None:
        self.blocks = list(self.module.encoder.layers)  # type: ignore[union-attr, arg-type]
        attention = self.blocks[0].self_attention
        self.heads = int(attention.num_heads)
        self.width = int(attention.embed_dim)
        self.head_width = self.width // self.heads
        self.hidden = int(self.blocks[0].mlp[0].out_features)
        self.prefix = 1
        self.patch = int(self.module.patch_size)  # type: ignore[arg-type]
        self.readout = CLASS_TOKEN
        self.declare(f"encoder.layers.encoder_layer_{i}" for i in range(len(self.blocks)))
        for i, block in enumerate(self.blocks):
            probes.probe_input(block, block_tap(i, "input"))
            probes.probe_output(block.ln_1, f"block.{i}.normed")
            probes.probe_input(block.dropout, block_tap(i, "context"))
            probes.probe_output(block.mlp[1], block_tap(i, "hidden"))
            probes.probe_output(block, block_tap(i, "output"))
        probes.probe_output(self.module.encoder.ln, HEAD_INPUT)  # type: ignore[union-attr, arg-type]

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        return hasattr(module, "encoder") and hasattr(module, "conv_proj")

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        rebuilt = (".query", ".key", ".value", ".context")
        return frozenset(
            f"{tap.rpartition('.')[0]}.normed" if tap.endswith(rebuilt) else tap for tap in taps
        )

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        block, _, part = tap.rpartition(".")
        if part == "context":
            query, key, value = (
                self.read(tensors, f"{block}.{kind}") for kind in ("query", "key", "value")
            )
            return softmax_attention(query, key, self.scale) @ value
        if part not in ("query", "key", "value"):
            return tensors[tap]
        attention = self.blocks[int(block.rpartition(".")[2])].self_attention
        start = ("query", "key", "value").index(part) * self.width
        rows = slice(start, start + self.width)
        return self.split_heads(
            functional.linear(
                tensors[f"{block}.normed"],
                attention.in_proj_weight[rows],
                attention.in_proj_bias[rows],
            )
        )

    def read_gradient(self, gradient: Tensor, tap: str) -> Tensor:
        block, _, part = tap.rpartition(".")
        if part != "context":
            return gradient
        # The probe sees the attention's output after its projection W_o: ∂y/∂O = ∂y/∂out · W_o.
        attention = self.blocks[int(block.rpartition(".")[2])].self_attention
        return self.split_heads(gradient @ attention.out_proj.weight)

    def project(self, context: Tensor, layer: int) -> Tensor:
        projected: Tensor = self.blocks[layer].self_attention.out_proj(
            super().project(context, layer)
        )
        return projected

    def head_readout(self, tokens: Tensor) -> Tensor:
        module = self.module
        logits: Tensor = module.heads(module.encoder.ln(tokens))  # type: ignore[operator, union-attr]
        return logits
