"""Convolutional networks, and all others whose stages return feature maps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from core import probes
from core.errors import ImageError, UnsupportedModel
from core.models.taps import HEAD_INPUT, MAP, Layer, Tap
from core.models.tried import Shape, TriedModel
from core.numerics import own_state

_POOLING = ("avgpool", "global_pool", "head.global_pool", "avg_pool", "head.avg_pool")
_CONTAINERS = ("features", "trunk_output", "stages")


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


class ConvNet(TriedModel):
    """A network whose stages return maps, with a classifier at its end.

    Its stages are the modules that the library itself names as such (timm's ``feature_info``,
    torchvision's ``features``, ``layer1`` …), as far as they return maps laid out as
    (batch, channels, rows, columns), or with the channels last, as in Swin, which are then
    transposed: this is determined from shapes alone when the model is opened.
    """

    _last: frozenset[str]
    """Taps with the channels last."""

    def _prepare(self) -> None:
        self._begin()
        candidates = tuple(_candidates(self.module))
        for path in {path for paths in candidates for path in paths}:
            probes.probe_output(self._twin.get_submodule(path), path)
        if pooling := _pooling(self.module):
            probes.probe_input(self._twin.get_submodule(pooling), HEAD_INPUT)
        fitting = self._fitting()
        paths = next((paths for paths in candidates if fitting.keys() & set(paths)), ())
        if not any(fitting[path] for path in paths if path in fitting):
            raise UnsupportedModel(
                f"{self.spec.title} cannot be shown as a convolutional network: no stage was found "
                "that returns maps of (channels, rows, columns) with at least 2 × 2 places; choose "
                "another model.",
                "no stage returns maps of at least 2 × 2 places",
            )
        named = {f"stage.{i}": path for i, path in enumerate(paths) if fitting.get(path)}
        channels = {name: fitting[path] for name, path in named.items()}
        for name, path in named.items():
            probes.probe_output(self.module.get_submodule(path), name)
        last_of = self._channels_last
        self._paths = named | {HEAD_INPUT: HEAD_INPUT}
        if fitting.get(HEAD_INPUT):
            channels[HEAD_INPUT] = fitting[HEAD_INPUT]
            probes.probe_input(self.module.get_submodule(pooling), HEAD_INPUT)
        elif not pooling:  # a function pools, perhaps the output of the last stage
            last, path = list(named.items())[-1]
            self._paths[HEAD_INPUT], channels[HEAD_INPUT] = path, channels[last]
            probes.probe_output(self.module.get_submodule(path), HEAD_INPUT)
        self._last = frozenset(name for name in channels if self._paths[name] in last_of)
        self.taps = {
            name: Tap(
                name,
                MAP,
                count,
                "input of the pooling" if name == HEAD_INPUT else "output of a stage",
            )
            for name, count in channels.items()
        }
        if not pooling and self.linear_head is None:
            del self.taps[HEAD_INPUT]
        last = list(self.taps)[-1]
        self.usual_taps = (last,)
        self.cheap_gradients = frozenset({last} & {HEAD_INPUT})
        self.layers = tuple(
            Layer(name, channels[name], partial(self.grid_of, name), path)
            for name, path in named.items()
        )

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        return any(isinstance(part, nn.Conv2d) for part in module.modules())

    # -- shapes, found by trying --------------------------------------------------------------

    def _fitting(self) -> dict[str, int]:
        """Channels at every probe of the twin that recorded a tensor; 0 if it is not a usable map.

        For two inputs that differ in width, only the last axis may differ, or the one before it
        with the channels last: otherwise the tensor is not laid out over the picture and is not a
        map.
        """
        side = self.preprocessing.size
        try:
            square = self._shapes_at((side, side))
        except ImageError as error:
            raise UnsupportedModel(
                f"{self.spec.title} cannot be shown: its stages cannot be found, as it fails at "
                f"its own {side} × {side} pixels; choose another model."
            ) from error
        # One width that almost no stride divides, then one that all strides divide.
        for width in (2 * side + 1, 2 * side):
            try:
                wide = self._shapes_at((side, width))
            except ImageError:
                self._takes_any_size = False
            else:
                break
        else:  # accepts its own size only: a square input must give a square
            wide = self._loosened((side, 2 * side)) or {
                name: (*shape[:-1], 2 * shape[-1]) for name, shape in square.items() if shape
            }
        fitting, last = {}, set()
        for name, first in square.items():
            second = wide.get(name, ())
            fitting[name] = 0
            if len(first) != 4 or len(second) != 4:
                continue
            for channel, across in ((1, 3), (3, 2)):
                rows, cols = first[across - 1 : across + 1]
                others = [axis for axis in range(4) if axis != across]
                is_map = all(first[axis] == second[axis] for axis in others)
                if is_map and second[across] > cols and rows == cols and 2 <= rows <= side:
                    fitting[name] = first[channel]
                    last |= {name} if channel == 3 else set()
        self._channels_last = frozenset(last)
        return fitting

    def _loosened(self, size: tuple[int, int]) -> dict[str, Shape]:
        """Shapes at another size, of a twin without the size check; empty if it fails.

        timm's Swin works at any size but rejects all but one by default.
        """
        usual = self._twin
        self._twin = copy.deepcopy(usual)
        for part in self._twin.modules():
            for name, value in (("strict_img_size", False), ("dynamic_mask", True)):
                if hasattr(part, name):
                    setattr(part, name, value)
        try:
            return self._shapes_at(size)
        except ImageError:
            return {}
        finally:
            self._twin = usual
            self._shapes.pop(size, None)  # the network itself does not accept it

    def grid_of(self, tap: str, size: tuple[int, int]) -> tuple[int, int]:
        self.tap(tap)
        first = 1 if tap in self._last else 2
        rows, cols = self._shapes_at(size)[self._paths[tap]][first : first + 2]
        return rows, cols

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        return self.read_gradient(tensors[tap], tap)

    def read_gradient(self, gradient: Tensor, tap: str) -> Tensor:
        return gradient.permute(0, 3, 1, 2) if tap in self._last else gradient

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
    @own_state()
    def linear_head(self) -> Tensor | None:
        """Weights (classes, channels) if ``logits = linear(mean over positions)``, else ``None``.

        Found by trying it on noise, not by name: a norm or a second layer after the pooling
        (ConvNeXt, MobileNetV3) makes CAM undefined.
        """
        if not self.classes or HEAD_INPUT not in self.taps:
            return None
        side = self.preprocessing.size
        noise = torch.rand(
            (1, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )
        recorder = probes.Recorder({HEAD_INPUT})
        with probes.recording(recorder):
            logits = self.score(noise.to(self.device))
            pooled = self.read(recorder.tensors, HEAD_INPUT).mean(dim=(2, 3))
            for weight, bias in _linear_layers(self.module, pooled.shape[1], self.classes):
                found = functional.linear(pooled, weight)
                wanted = logits if bias is None else logits - bias
                scale = float(found.abs().max())
                if torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * scale):
                    return weight
        return None


def _pooling(module: nn.Module) -> str:
    """Path of the module that pools over positions; empty if a function does."""
    return next((path for path in _POOLING if _submodule(module, path) is not None), "")


def _candidates(module: nn.Module) -> Iterator[tuple[str, ...]]:
    """Paths of modules whose outputs may be the stages; those named by the library come first.

    The first group in which any returns a tensor is taken.
    """
    named = [str(entry["module"]) for entry in getattr(module, "feature_info", None) or ()]  # timm
    yield tuple(path for path in named if path and _submodule(module, path) is not None)
    for container, part in module.named_modules():
        if container.rpartition(".")[2] in _CONTAINERS:
            yield tuple(f"{container}.{name}" for name, _ in part.named_children())
    children = dict(module.named_children())
    yield tuple(name for name in children if name.startswith("layer"))
    listed = (
        [f"{name}.{i}" for i in range(len(part))] if isinstance(part, nn.ModuleList) else [name]
        for name, part in children.items()
    )
    yield tuple(path for paths in listed for path in paths)


def _linear_layers(
    module: nn.Module, channels: int, classes: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Every layer that could give the logits, the last first, as (weight, bias)."""
    for part in reversed(list(module.modules())):
        if isinstance(part, nn.Linear | nn.Conv2d):
            weight = part.weight.detach()
            if tuple(weight.shape) in ((classes, channels), (classes, channels, 1, 1)):
                yield weight.reshape(classes, channels), part.bias
