"""Record tensors inside a shared model without changing it.

The only module that touches PyTorch's hooks. Probes are attached once, when a model is opened,
and stay; they write into the recorder of the *calling context* (`contextvars`), so any number of
threads may run the same model at once. With no recorder active a probe returns immediately.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn

from core.numerics import own_state

Edit = Callable[[Tensor, Mapping[str, Tensor]], Tensor]

COPIED_FROM = 4 * 2**20
"""Bytes of a tensor above which a copy of the needed channels pays off."""

_attached: WeakSet[Callable[..., Any]] = WeakSet()
"""Hooks of probes."""

_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


class Recorder:
    """Tensors recorded by the probes in one forward pass.

    Parameters
    ----------
    keep
        Names of the probes to keep.
    leaf
        Name of the probe where the gradient graph begins: its tensor is detached from
        everything before and requires a gradient, so that neither the earlier layers nor the
        parameters take part in the backward pass.
    edits
        By name of a probe, a function of its tensor and of what was recorded so far; the network
        continues with what it returns.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Filled during the pass.
    """

    def __init__(
        self,
        keep: Collection[str],
        leaf: str | None = None,
        edits: Mapping[str, Edit] = MappingProxyType({}),
    ) -> None:
        self.keep = frozenset(keep)
        self.leaf = leaf
        self.edits = edits
        self.tensors: dict[str, Tensor] = {}

    def record(self, name: str, tensor: Tensor, first: int | None = None) -> Tensor:
        """Record a tensor; returns the tensor with which the network continues.

        With ``first`` only so many leading channels (last axis) are kept; for a large tensor as a
        copy, which frees the rest.
        """
        if (edit := self.edits.get(name)) is not None:
            tensor = edit(tensor, self.tensors)
        if name == self.leaf:
            tensor = tensor.detach().requires_grad_()
        if name in self.keep:
            self.tensors[name] = tensor if first is None else _leading(tensor, first)
        return tensor


def _leading(tensor: Tensor, count: int) -> Tensor:
    """The first channels of a tensor; for a large one as a copy."""
    leading = tensor[..., :count]
    return leading.clone() if tensor.nbytes >= COPIED_FROM else leading


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Let the probes write into ``recorder`` within a ``with`` block."""
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


def probe_output(module: nn.Module, name: str, first: int | None = None) -> None:
    """Attach a permanent probe to the output of ``module``, or to its first channels.

    An output that is not a tensor (a list of maps) is not recorded.
    """

    def hook(_module: nn.Module, _args: Any, output: Any) -> Tensor | None:
        recorder = _recorder.get()
        if recorder is None or not isinstance(output, Tensor):
            return None
        return recorder.record(name, output, first)

    _attached.add(hook)
    module.register_forward_hook(hook)


def probe_input(module: nn.Module, name: str) -> None:
    """Attach a permanent probe to the first argument of ``module``."""

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        recorder = _recorder.get()
        if recorder is None:
            return None
        return (recorder.record(name, args[0]), *args[1:])

    _attached.add(hook)
    module.register_forward_pre_hook(hook)


@own_state(gradients=None)
def copied(module: nn.Module) -> nn.Module:
    """A deep copy of a network without probes; its own hooks stay."""
    result = copy.deepcopy(module)
    remove(result)
    return result


def remove(module: nn.Module) -> None:
    """Remove all probes from a network that is not shared yet; its own hooks stay."""
    for part in module.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if hook in _attached]:
                del hooks[key]
