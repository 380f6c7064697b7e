"""Vision transformers of Hugging Face transformers: ViT, DeiT, I-JEPA, DINOv2 (also registers)."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from core import probes
from core.models.taps import HEAD_INPUT, block_tap
from core.models.transformer import (
    BOTH_TOKENS,
    CLASS_BESIDE_MEAN,
    CLASS_TOKEN,
    MEAN_OF_PATCHES,
    Readout,
    VisionTransformer,
    side_by_side,
)
from core.numerics import own_state


def _blocks(module: nn.Module) -> tuple[str, list[nn.Module]]:
    """Path and layers, found by shape: a list of modules whose attention has four projections."""
    for path, part in module.named_modules():
        if isinstance(part, nn.ModuleList) and len(part):
            attention = getattr(part[0], "attention", None)
            if attention is not None and hasattr(attention, "q_proj"):
                return path, list(part)
    return "", []


def _classifiers(module: nn.Module) -> list[nn.Linear]:
    """Its linear classifiers: one, or DeiT's two, whose answers are averaged."""
    names = (
        ("classifier",)
        if hasattr(module, "classifier")
        else ("cls_classifier", "distillation_classifier")
    )
    found = [getattr(module, name, None) for name in names]
    return [part for part in found if isinstance(part, nn.Linear)]


class HuggingFaceVit(VisionTransformer):
    """An image classifier of transformers whose layers have q, k, v and o projections.

    The input of the classifier (class token, mean of the patches, both) and the number of tokens
    before the patches are determined by experiment when the model is opened.
    """

    def _prepare(self) -> None:
        config = self.module.config
        path, self.blocks = _blocks(self.module)
        self.heads = int(config.num_attention_heads)  # type: ignore[union-attr, arg-type]
        self.width = int(config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.head_width = self.width // self.heads
        self.patch = int(config.patch_size)  # type: ignore[union-attr, arg-type]
        self._native = int(config.image_size)  # type: ignore[union-attr, arg-type]
        parameters = inspect.signature(self.module.forward).parameters
        self._must_be_told = "interpolate_pos_encoding" in parameters
        self._backbone: nn.Module = getattr(self.module, str(self.module.base_model_prefix))
        norm = getattr(self._backbone, "layernorm", None)
        self._classifiers = _classifiers(self.module)
        if not isinstance(norm, nn.Module) or not self._classifiers:
            self.refuse("it has no final norm followed by one linear classifier")
        probes.probe_output(norm, HEAD_INPUT)
        for i, block in enumerate(self.blocks):
            probes.probe_input(block, block_tap(i, "input"))
            for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
                projection = getattr(block.attention, f"{part}_proj")
                probes.probe_output(projection, block_tap(i, name))  # type: ignore[arg-type]
            probes.probe_input(block.attention.o_proj, block_tap(i, "context"))  # type: ignore[union-attr, arg-type]
            last = getattr(block.mlp, "fc2", None) or block.mlp.down_proj  # type: ignore[union-attr]
            self.hidden = int(last.in_features)  # type: ignore[union-attr, arg-type]
            probes.probe_input(last, block_tap(i, "hidden"))  # type: ignore[arg-type]
            probes.probe_output(block, block_tap(i, "output"))
        self.prefix, self.readout = self._found_by_trying()
        self.declare(f"{path}.{i}" for i in range(len(self.blocks)))

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        return hasattr(module, "base_model_prefix") and bool(_blocks(module)[1])

    def _found_by_trying(self) -> tuple[int, Readout]:
        """The number of tokens before the patches, and the input of the classifier."""
        size = (2 * self.patch, 3 * self.patch)
        noise = torch.randn(
            (1, 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )
        recorder = probes.Recorder({HEAD_INPUT})
        with own_state(), probes.recording(recorder):
            logits = self.score(noise.to(self.device))
        tokens = recorder.tensors[HEAD_INPUT]
        prefix = tokens.shape[1] - 6
        if prefix < 0:
            self.refuse(f"the input of its last norm has {tokens.shape[1]} tokens of 2 × 3 patches")
        first, mean = tokens[:, 0], tokens[:, prefix:].mean(dim=1)
        candidates: list[tuple[Readout, tuple[Tensor, ...]]] = [
            (CLASS_TOKEN, (first,)),
            (MEAN_OF_PATCHES, (mean,)),
            (CLASS_BESIDE_MEAN, (torch.cat([first, mean], dim=-1),)),
            (BOTH_TOKENS, (first, tokens[:, 1])),
        ]
        scale = float(logits.abs().max())
        for readout, features in candidates:
            if prefix >= len(readout.prefix) and self._fits(features):
                found = self._classified(features)
                if torch.allclose(found, logits, rtol=1e-3, atol=1e-3 * scale):
                    beside = readout is CLASS_BESIDE_MEAN
                    return prefix, side_by_side(self._classifiers[0].weight) if beside else readout
        return self.refuse(
            "its classifier is not a linear layer on the class token or on the mean of the patches"
        )

    def _fits(self, features: Sequence[Tensor]) -> bool:
        widths = [classifier.in_features for classifier in self._classifiers]
        return widths == [feature.shape[-1] for feature in features]

    def _classified(self, features: Sequence[Tensor]) -> Tensor:
        """Mean over the classifiers, each applied to its own features."""
        pairs = zip(self._classifiers, features, strict=True)
        return torch.stack([classifier(feature) for classifier, feature in pairs]).mean(dim=0)

    def score(self, pixels: Tensor) -> Tensor:
        # DINOv2 always interpolates its position embedding; ViT needs an argument.
        other_size = tuple(pixels.shape[-2:]) != (self._native, self._native)
        options = {"interpolate_pos_encoding": True} if other_size and self._must_be_told else {}
        logits: Tensor = self.module(pixels, **options).logits
        return logits

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        per_head = tap.endswith((".query", ".key", ".value", ".context"))
        return self.split_heads(tensors[tap]) if per_head else tensors[tap]

    def read_gradient(self, gradient: Tensor, tap: str) -> Tensor:
        return self.split_heads(gradient) if tap.endswith(".context") else gradient

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        return frozenset(taps)

    def head_readout(self, tokens: Tensor) -> Tensor:
        normed = self._backbone.layernorm(tokens)  # type: ignore[operator]
        # For equal tokens, class, distillation and mean are the same vector, also side by side.
        repeats = [classifier.in_features // self.width for classifier in self._classifiers]
        return self._classified([torch.cat([normed] * count, dim=-1) for count in repeats])
