"""Networks whose accepted sizes and memory are determined from shapes when they are opened."""

from __future__ import annotations

import copy
import math
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
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
from core.numerics import own_state

Shape = tuple[int, ...]


class TriedModel(Model):
    """A model whose sizes, layouts and memory are found by trying a copy without weights."""

    _paths: Mapping[str, str]
    """Probe of the copy from which each tap is read."""

    def _begin(self) -> None:
        """Make the copy; `_prepare` calls this first."""
        self._lock = threading.Lock()
        self._twin, self._tried_on = without_weights(self.module), torch.device("meta")
        self._shapes: dict[tuple[int, int], dict[str, Shape]] = {}
        self._costs: _Bytes | None = None
        self._takes_any_size = True

    def score(self, pixels: Tensor) -> Tensor:
        return logits_of(self.module(pixels))

    def _shapes_at(self, size: tuple[int, int]) -> dict[str, Shape]:
        """Shape at every probe of the twin for an input of (height, width) pixels.

        Computed without values. A tensor that is changed in place later has no shape: its recorded
        content is lost.

        Raises
        ------
        ImageError
            The network does not accept such an input.
        """
        with self._lock:
            if size not in self._shapes:
                costs = _Bytes(self._twin)
                watch = _Watch(costs)
                shapes = _ShapesOnly() if self._tried_on.type == "meta" else nullcontext()
                try:
                    with own_state(), probes.recording(watch), costs, shapes:
                        pixels = torch.zeros(
                            (1, 3, *size), device=self._tried_on, dtype=torch.float32
                        )
                        output = self._twin(pixels)
                except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
                    raise ImageError(
                        f"{self.spec.title} cannot process {size[1]} × {size[0]} pixels; choose "
                        "another fit or size."
                    ) from error
                answers = tuple(logits_of(output).shape)
                if self.classes and answers != (1, self.classes):
                    raise UnsupportedModel(
                        f"{self.spec.title} answers with {answers[1:]} where "
                        f"{self.classes} classes were expected; correct the labels of its entry."
                    )
                self._shapes[size] = watch.shapes()
                self._costs = self._costs or costs  # for the evaluation size, which is tried first
            return self._shapes[size]

    def footprint(
        self, size: tuple[int, int], gradients: bool = False, leaf: str | None = None
    ) -> int:
        """See `Model.footprint`: measured on shapes at the evaluation size, scaled by the area.

        Without a graph, the peak of live bytes. A graph stores the inputs of its operations: about
        all bytes allocated since its leaf.
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


class _ShapesOnly(TorchFunctionMode):
    """A mode in which elementwise functions return an empty tensor of the same shape.

    On the meta device PyTorch runs these calls through Python, which is many times slower.
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
    """Count the memory that a pass over shapes would take with values.

    Attributes
    ----------
    made : int
        Bytes of all allocated tensors.
    peak : int
        Peak of live bytes.
    made_before : dict of str to int
        Bytes allocated before each probe, by its name.
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
        if key not in self._users:  # neither a view of nor identical to an existing tensor
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
    """Record shapes at the probes, and which tensors are changed in place afterwards."""

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


def logits_of(output: Any) -> Tensor:
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def without_weights(module: nn.Module) -> nn.Module:
    """A copy that computes shapes only: every parameter and buffer is on the meta device."""
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(module, memo)
