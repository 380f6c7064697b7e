"""Convolutional networks that end in global pooling and a head, from torchvision or timm."""

from __future__ import annotations

import copy
import threading
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from core import probes
from core.errors import UnsupportedModel
from core.models.base import Model, Preprocessing
from core.models.spec import ModelSpec
from core.models.taps import HEAD_INPUT, MAP, Layer, Tap

_POOLING = ("avgpool", "global_pool", "head.global_pool", "avg_pool", "head.avg_pool")
_CONTAINERS = ("features", "trunk_output")

Shape = tuple[int, ...]


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


class ConvNet(Model):
    """A convolutional classifier.

    Its stages are the modules that the library itself names as such (timm's ``feature_info``,
    torchvision's ``features``, ``layer1`` …), as far as they return maps laid out as
    (batch, channels, rows, columns): that is tried on shapes alone when the model is opened.
    """

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        labels: Sequence[str],
        preprocessing: Preprocessing,
        digest: str = "",
    ) -> None:
        super().__init__(spec, module, labels, preprocessing, digest)
        self._lock = threading.Lock()
        self._twin = _without_weights(self.module)
        self._shapes: dict[tuple[int, int], dict[str, Shape]] = {}
        pooling = self._pooling(self.module)
        paths = [(f"stage.{i}", path) for i, path in enumerate(_stages(self.module))]
        for tree in (self._twin, self.module):
            for name, path in paths:
                probes.probe_output(tree.get_submodule(path), name)
            probes.probe_input(tree.get_submodule(pooling), HEAD_INPUT)
        fitting = self._fitting([*(name for name, _ in paths), HEAD_INPUT])
        if not fitting or (paths and fitting.keys() <= {HEAD_INPUT}):
            raise UnsupportedModel(
                f"{spec.title} cannot be shown as a convolutional network: none of its stages "
                "returns maps of (channels, rows, columns) with at least 2 × 2 places; choose "
                "another model."
            )
        self.taps = {
            name: Tap(
                name,
                MAP,
                channels,
                "what enters the pooling" if name == HEAD_INPUT else "output of a stage",
            )
            for name, channels in fitting.items()
        }
        last = list(self.taps)[-1]
        self.usual_taps = (last,)
        self.cheap_gradients = frozenset({last} & {HEAD_INPUT})
        self.layers = tuple(
            Layer(name, fitting[name], partial(self.grid_of, name), path)
            for name, path in paths
            if name in fitting
        )

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        has_pool = any(_submodule(module, path) is not None for path in _POOLING)
        return has_pool and any(isinstance(part, nn.Conv2d) for part in module.modules())

    @staticmethod
    def _pooling(module: nn.Module) -> str:
        return next(path for path in _POOLING if _submodule(module, path) is not None)

    # -- shapes, found by trying --------------------------------------------------------------

    def _fitting(self, names: Collection[str]) -> dict[str, int]:
        """Channels of every tap that is laid out as a map, at the size of evaluation.

        Of two inputs that differ in width, only the last axis may differ: a tap whose channels
        stand elsewhere, or that is no map at all, is left out.
        """
        side = self.preprocessing.size
        square = self._shapes_at((side, side))
        try:
            wide = self._shapes_at((side, 2 * side))
        except UnsupportedModel:  # takes its own size only: a square input must give a square
            wide = {name: (*shape[:-1], 2 * shape[-1]) for name, shape in square.items() if shape}
        fitting = {}
        for name in names:
            first, second = square.get(name, ()), wide.get(name, ())
            if len(first) != 4 or len(second) != 4 or first[:3] != second[:3]:
                continue
            _, channels, rows, cols = first
            if rows == cols and 2 <= rows <= side and second[3] > cols:
                fitting[name] = channels
        return fitting

    def _shapes_at(self, size: tuple[int, int]) -> dict[str, Shape]:
        """Shape at every probe for an input of (height, width) pixels, computed without values."""
        with self._lock:
            if size not in self._shapes:
                stages = [f"stage.{i}" for i in range(len(_stages(self.module)))]
                recorder = probes.Recorder([*stages, HEAD_INPUT])
                try:
                    with torch.no_grad(), probes.recording(recorder):
                        self._twin(torch.empty(1, 3, *size, device="meta"))
                except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
                    raise UnsupportedModel(
                        f"{self.spec.title} cannot take {size[0]} × {size[1]} pixels; choose "
                        "another size."
                    ) from error
                self._shapes[size] = {n: tuple(t.shape) for n, t in recorder.tensors.items()}
            return self._shapes[size]

    def grid_of(self, tap: str, size: tuple[int, int]) -> tuple[int, int]:
        self.tap(tap)
        rows, cols = self._shapes_at(size)[tap][2:]
        return rows, cols

    def on_grid(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> Tensor:
        return tensor

    def check_layout(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> None:
        rows, cols = tuple(tensor.shape[2:]) if tensor.ndim == 4 else (0, 0)
        # Rounding differs from network to network; the order of the axes must not.
        fits = rows <= size[0] and cols <= size[1] and (rows <= cols or size[0] >= size[1])
        wanted = (len(tensor), self.taps[tap].channels, rows, cols) if fits else ()
        self._refuse_layout(tensor, tap, wanted)

    # -- the classifier -----------------------------------------------------------------------

    @cached_property
    def linear_head(self) -> Tensor | None:
        """Weights (classes, channels) if ``logits = linear(mean over positions)``, else ``None``.

        Found by trying it on noise, not by name: a norm or a second layer after the pooling
        (ConvNeXt, MobileNetV3) makes CAM undefined.
        """
        if not self.classes or HEAD_INPUT not in self.taps:
            return None
        side = self.preprocessing.size
        noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        recorder = probes.Recorder({HEAD_INPUT})
        with torch.inference_mode(), probes.recording(recorder):
            logits = self.score(noise.to(self.device))
            pooled = recorder.tensors[HEAD_INPUT].mean(dim=(2, 3))
            for weight, bias in _linear_layers(self.module, pooled.shape[1], self.classes):
                found = nn.functional.linear(pooled, weight, bias)
                if torch.allclose(found, logits, rtol=1e-3, atol=1e-3):
                    return weight
        return None


def _stages(module: nn.Module) -> tuple[str, ...]:
    """Paths of the modules whose outputs are the stages, as the library itself has them."""
    info = getattr(module, "feature_info", None)  # timm
    if info is not None:
        named = [str(entry["module"]) for entry in info]
        return tuple(name for name in named if name and _submodule(module, name) is not None)
    for container in _CONTAINERS:
        part = _submodule(module, container)
        if part is not None:
            return tuple(f"{container}.{name}" for name, _ in part.named_children())
    return tuple(name for name, _ in module.named_children() if name.startswith("layer"))


def _linear_layers(
    module: nn.Module, channels: int, classes: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Every layer that could give the logits, the last first, as (weight, bias)."""
    for part in reversed(list(module.modules())):
        if isinstance(part, nn.Linear | nn.Conv2d):
            weight = part.weight.detach()
            if tuple(weight.shape) in ((classes, channels), (classes, channels, 1, 1)):
                yield weight.reshape(classes, channels), part.bias


def _without_weights(module: nn.Module) -> nn.Module:
    """A copy that computes shapes only: every parameter and buffer is on the meta device."""
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(module, memo)
