"""Convolutional networks, and all others whose stages return maps as theirs do."""

from __future__ import annotations

import copy
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core import probes
from core.errors import ImageError, UnsupportedModel
from core.models.model import Model
from core.models.taps import HEAD_INPUT, MAP, Layer, Tap
from core.numerics import own_state

_POOLING = ("avgpool", "global_pool", "head.global_pool", "avg_pool", "head.avg_pool")
_CONTAINERS = ("features", "trunk_output", "stages")

Shape = tuple[int, ...]


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


class ConvNet(Model):
    """A network whose stages return maps, with a classifier at its end.

    Its stages are the modules that the library itself names as such (timm's ``feature_info``,
    torchvision's ``features``, ``layer1`` …), as far as they return maps laid out as
    (batch, channels, rows, columns): that is tried on shapes alone when the model is opened.
    """

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._twin = _without_weights(self.module)
        self._shapes: dict[tuple[int, int], dict[str, Shape]] = {}
        self._costs: _Bytes | None = None
        self._takes_any_size = True
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
                "another model."
            )
        named = {f"stage.{i}": path for i, path in enumerate(paths) if fitting.get(path)}
        channels = {name: fitting[path] for name, path in named.items()}
        for name, path in named.items():
            probes.probe_output(self.module.get_submodule(path), name)
        self._paths = named | {HEAD_INPUT: HEAD_INPUT}
        if fitting.get(HEAD_INPUT):
            channels[HEAD_INPUT] = fitting[HEAD_INPUT]
            probes.probe_input(self.module.get_submodule(pooling), HEAD_INPUT)
        elif not pooling:  # a plain function pools, maybe what the last stage returns
            last, path = list(named.items())[-1]
            self._paths[HEAD_INPUT], channels[HEAD_INPUT] = path, channels[last]
            probes.probe_output(self.module.get_submodule(path), HEAD_INPUT)
        self.taps = {
            name: Tap(
                name,
                MAP,
                count,
                "what enters the pooling" if name == HEAD_INPUT else "output of a stage",
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

    def score(self, pixels: Tensor) -> Tensor:
        return _logits(self.module(pixels))

    # -- shapes, found by trying --------------------------------------------------------------

    def _fitting(self) -> dict[str, int]:
        """Channels at every probe of the twin that saw a tensor; 0 where that is no usable map.

        Of two inputs that differ in width, only the last axis may differ: where the channels stand
        elsewhere, or nothing is laid out over the picture, that is no map.
        """
        side = self.preprocessing.size
        try:
            square = self._shapes_at((side, side))
        except ImageError as error:
            raise UnsupportedModel(
                f"{self.spec.title} cannot be shown: its stages cannot be found, as it fails at "
                f"its own {side} × {side} pixels; choose another model."
            ) from error
        # One width that hardly any stride divides, then one that all do.
        for width in (2 * side + 1, 2 * side):
            try:
                wide = self._shapes_at((side, width))
            except ImageError:
                self._takes_any_size = False
            else:
                break
        else:  # takes its own size only: a square input must give a square
            wide = {name: (*shape[:-1], 2 * shape[-1]) for name, shape in square.items() if shape}
        fitting = {}
        for name, first in square.items():
            second = wide.get(name, ())
            rows, cols = first[2:] if len(first) == 4 else (0, 0)
            is_map = len(second) == 4 and first[:3] == second[:3] and second[3] > cols
            fitting[name] = first[1] if is_map and rows == cols and 2 <= rows <= side else 0
        return fitting

    def _shapes_at(self, size: tuple[int, int]) -> dict[str, Shape]:
        """Shape at every probe of the twin for an input of (height, width) pixels.

        Computed without values. A tensor that is changed in place later on has none: what a probe
        has seen of it is lost.

        Raises
        ------
        ImageError
            The network cannot take such an input.
        """
        with self._lock:
            if size not in self._shapes:
                costs = _Bytes(self._twin)
                watch = _Watch(costs)
                try:
                    with own_state(), probes.recording(watch), costs, _ShapesOnly():
                        pixels = torch.empty((1, 3, *size), device="meta", dtype=torch.float32)
                        output = self._twin(pixels)
                except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
                    raise ImageError(
                        f"{self.spec.title} cannot take {size[1]} × {size[0]} pixels; choose "
                        "another fit or size."
                    ) from error
                answers = tuple(_logits(output).shape)
                if self.classes and answers != (1, self.classes):
                    raise UnsupportedModel(
                        f"{self.spec.title} answers with {answers[1:]} where "
                        f"{self.classes} classes were expected; correct the labels of its entry."
                    )
                self._shapes[size] = watch.shapes()
                self._costs = self._costs or costs  # of the evaluation size, which is tried first
            return self._shapes[size]

    def footprint(
        self, size: tuple[int, int], gradients: bool = False, leaf: str | None = None
    ) -> int:
        """See `Model.footprint`: measured on shapes at the evaluation size, scaled by the area.

        Without a graph the most that is alive at the same time. A graph keeps what its operations
        need again: about all that was made since its leaf.
        """
        costs = self._costs
        assert costs is not None  # the constructor has tried the evaluation size
        taken = costs.peak
        if gradients:
            before = 0 if leaf is None else costs.made_before[self._paths[leaf]]
            taken = max(taken, costs.made - before)
        share = size[0] * size[1] / self.preprocessing.size**2
        return math.ceil(share * taken)

    def check_shape(self, view: Image.Image) -> None:
        super().check_shape(view)
        if not self._takes_any_size or min(view.size) < self.preprocessing.size:
            self._shapes_at((view.height, view.width))

    def grid_of(self, tap: str, size: tuple[int, int]) -> tuple[int, int]:
        self.tap(tap)
        rows, cols = self._shapes_at(size)[self._paths[tap]][2:]
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
            pooled = recorder.tensors[HEAD_INPUT].mean(dim=(2, 3))
            for weight, bias in _linear_layers(self.module, pooled.shape[1], self.classes):
                found = functional.linear(pooled, weight)
                wanted = logits if bias is None else logits - bias
                scale = float(found.abs().max())
                if torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * scale):
                    return weight
        return None


class _ShapesOnly(TorchFunctionMode):
    """Whatever gives each value for itself gives an empty tensor of the same shape.

    On the meta device PyTorch follows these calls through Python, at many times their price.
    """

    SAME_SHAPE = frozenset(
        {
            functional.batch_norm,
            functional.elu,
            functional.gelu,
            functional.group_norm,
            functional.hardsigmoid,
            functional.hardswish,
            functional.hardtanh,
            functional.layer_norm,
            functional.leaky_relu,
            functional.mish,
            functional.relu,
            functional.relu6,
            functional.silu,
        }
    )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in self.SAME_SHAPE:
            return func(*args, **kwargs)
        tensor: Tensor = args[0] if args else kwargs["input"]
        return tensor.zero_() if kwargs.get("inplace") else torch.empty_like(tensor)


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory that a pass over shapes would take, if it had values.

    Attributes
    ----------
    made : int
        Bytes of all that was made.
    peak : int
        Most bytes that were alive at the same time.
    made_before : dict of str to int
        What had been made when a probe was reached, by its name.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made = self.peak = self._alive = 0
        self.made_before: dict[str, int] = {}
        kept = (*module.parameters(), *module.buffers())
        self._weights = {tensor.untyped_storage()._cdata for tensor in kept}
        self._users: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._weights:
            return
        if key not in self._users:  # not a view of, or the same as, what is there already
            self._users[key] = 0
            self.made += size
            self._alive += size
            self.peak = max(self.peak, self._alive)
        self._users[key] += 1
        weakref.finalize(tensor, self._gone, key, size).atexit = False

    def _gone(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self._alive -= size


class _Watch(probes.Recorder):
    """Notes shapes at the probes, and what is changed in place after it was seen."""

    def __init__(self, costs: _Bytes) -> None:
        super().__init__(())
        self._costs = costs
        self._noted: dict[str, tuple[Tensor, int]] = {}

    def record(self, name: str, tensor: Tensor, first: int | None = None) -> Tensor:
        if isinstance(tensor, Tensor):
            self._noted[name] = (tensor, tensor._version)
            self._costs.made_before.setdefault(name, self._costs.made)
        return tensor

    def shapes(self) -> dict[str, Shape]:
        """Shape of every tensor noted; empty where it was changed afterwards."""
        return {
            name: tuple(tensor.shape) if tensor._version == version else ()
            for name, (tensor, version) in self._noted.items()
        }


def _logits(output: Any) -> Tensor:
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def _pooling(module: nn.Module) -> str:
    """Path of the module that pools over positions; empty if a plain function does."""
    return next((path for path in _POOLING if _submodule(module, path) is not None), "")


def _candidates(module: nn.Module) -> Iterator[tuple[str, ...]]:
    """Paths of modules whose outputs may be the stages; what the library itself names comes first.

    The first of which any returns a tensor counts.
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


def _without_weights(module: nn.Module) -> nn.Module:
    """A copy that computes shapes only: every parameter and buffer is on the meta device."""
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(module, memo)
