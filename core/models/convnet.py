"""Convolutional networks that end in global pooling and a head, from torchvision or timm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from core import probes
from core.errors import WeightsError
from core.models.base import Model, Preprocessing
from core.models.spec import ModelSpec

_POOLING = ("avgpool", "global_pool", "head.global_pool")
_CONTAINERS = ("features", "trunk_output")
_HEADS = ("fc", "head.fc", "classifier")


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


class ConvNet(Model):
    """A convolutional classifier.

    Attributes
    ----------
    layers : tuple of str
        Probes from the first stage to ``FEATURES``, the tensor that enters the pooling.
    """

    FEATURES = "features"

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        labels: Sequence[str],
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(spec, module, labels, preprocessing)
        stages = self._stages()
        for name in stages:
            probes.probe_output(module.get_submodule(name), name)
        probes.probe_input(self._pooling(module), self.FEATURES)
        self.layers = (*stages, self.FEATURES)

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        if getattr(module, "output_fmt", "NCHW") != "NCHW":
            return False  # channels last, as in Swin: the methods would average the wrong axes
        has_pool = any(_submodule(module, path) is not None for path in _POOLING)
        return has_pool and any(isinstance(part, nn.Conv2d) for part in module.modules())

    @staticmethod
    def _pooling(module: nn.Module) -> nn.Module:
        found = (_submodule(module, path) for path in _POOLING)
        return next(part for part in found if part is not None)

    def _stages(self) -> tuple[str, ...]:
        """Names of the modules whose outputs are the stages, as the library itself has them."""
        info = getattr(self.module, "feature_info", None)  # timm
        if info is not None:
            named = [str(entry["module"]) for entry in info]
            return tuple(name for name in named if _submodule(self.module, name) is not None)
        for container in _CONTAINERS:
            part = _submodule(self.module, container)
            if part is not None:
                return tuple(f"{container}.{name}" for name, _ in part.named_children())
        return tuple(n for n, _ in self.module.named_children() if n.startswith("layer"))

    def score(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.module(pixels)
        return logits

    @property
    def head(self) -> nn.Linear:
        """The last linear layer, which gives the logits."""
        for path in _HEADS:
            part = _submodule(self.module, path)
            linears = [m for m in part.modules() if isinstance(m, nn.Linear)] if part else []
            if linears:
                return linears[-1]
        raise WeightsError(f"{self.spec.title} has no linear head; choose a classifier.")

    @cached_property
    def is_linear_after_pooling(self) -> bool:
        """Whether ``logits = head(mean over positions of the features)`` holds.

        Found by trying it on noise, not by name: a norm or a second layer after the pooling
        (ConvNeXt, MobileNetV3) makes CAM undefined.
        """
        if not self.classes:
            return False
        side = self.preprocessing.size
        noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        recorder = probes.Recorder({self.FEATURES})
        with torch.inference_mode(), probes.recording(recorder):
            logits = self.score(noise.to(self.device))
            pooled = recorder.tensors[self.FEATURES].mean(dim=(2, 3))
            if pooled.shape[1] != self.head.in_features:
                return False
            return torch.allclose(self.head(pooled), logits, rtol=1e-3, atol=1e-3)
