"""Look inside a shared model without ever changing it.

The only module that touches PyTorch's hooks. Probes are attached once, when a model is opened,
and stay; they write into the recorder of the *calling context* (`contextvars`), so any number of
threads may run the same model at once. With no recorder active a probe returns immediately.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn

from core.numerics import own_state

COPIED_FROM = 4 * 2**20
"""Bytes of a tensor from which on a copy of its wanted channels is worth its time."""

_attached: WeakSet[Callable[..., Any]] = WeakSet()
"""The hooks that are probes."""

_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


class Recorder:
    """What the probes of one forward pass saw.

    Parameters
    ----------
    keep
        Names of the probes to keep.
    leaf
        Name of a probe where the gradient graph is to begin: what flows through it is cut from
        everything before and requires a gradient, so that neither the earlier layers nor the
        parameters take part in the backward pass.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Filled during the pass.
    """

    def __init__(self, keep: Collection[str], leaf: str | None = None) -> None:
        self.keep = frozenset(keep)
        self.leaf = leaf
        self.tensors: dict[str, Tensor] = {}

    def record(self, name: str, tensor: Tensor, first: int | None = None) -> Tensor:
        """Take note of a tensor; returns the tensor that the network goes on with.

        With ``first`` only so many leading channels (last axis) are kept; of a large tensor as a
        copy, which lets the rest go.
        """
        if name == self.leaf:
            tensor = tensor.detach().requires_grad_()
        if name in self.keep:
            self.tensors[name] = tensor if first is None else _leading(tensor, first)
        return tensor


def _leading(tensor: Tensor, count: int) -> Tensor:
    """The first channels of a tensor; of a large one as a copy."""
    leading = tensor[..., :count]
    return leading.clone() if tensor.nbytes >= COPIED_FROM else leading


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Let the probes write into ``recorder`` for the length of a ``with`` block."""
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


def probe_output(module: nn.Module, name: str, first: int | None = None) -> None:
    """Attach a probe for good to what ``module`` returns, or to its first channels.

    What is no tensor (a list of maps) is not recorded.
    """

    def hook(_module: nn.Module, _args: Any, output: Any) -> Tensor | None:
        recorder = _recorder.get()
        if recorder is None or not isinstance(output, Tensor):
            return None
        return recorder.record(name, output, first)

    _attached.add(hook)
    module.register_forward_hook(hook)


def probe_input(module: nn.Module, name: str) -> None:
    """Attach a probe for good to the first argument of ``module``."""

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        recorder = _recorder.get()
        if recorder is None:
            return None
        return (recorder.record(name, args[0]), *args[1:])

    _attached.add(hook)
    module.register_forward_pre_hook(hook)


@own_state(gradients=None)
def copied(module: nn.Module) -> nn.Module:
    """A deep copy of a network with no probe attached; hooks of its own stay."""
    result = copy.deepcopy(module)
    remove(result)
    return result


def remove(module: nn.Module) -> None:
    """Take all probes from a network that nobody else has yet; hooks of its own stay."""
    for part in module.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if hook in _attached]:
                del hooks[key]
