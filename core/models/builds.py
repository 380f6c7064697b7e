"""Blocks of identical structure, so that a check of one holds for all."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_HOOKS = tuple(name for name in _OF_EVERY_MODULE if name.endswith("_hooks"))


def build(module: nn.Module) -> list[tuple[Any, ...]]:
    """All that determines the function of a module, besides its weights.

    Classes, settings, shapes of weights and numbers of hooks, of the module and all its parts.
    Builds of two modules are equal only if the modules compute the same function of their weights;
    parts that cannot be compared count as different.
    """
    parts = []
    for name, part in module.named_modules():
        own = vars(part)
        settings = {key: value for key, value in own.items() if key not in _OF_EVERY_MODULE}
        tensors = [*part._parameters.items(), *part._buffers.items()]
        shapes = [(key, None if tensor is None else tensor.shape) for key, tensor in tensors]
        parts.append((name, type(part), settings, shapes, [len(own[hooks]) for hooks in _HOOKS]))
    return parts


def leading_builds(modules: Sequence[nn.Module]) -> int:
    """Number of leading modules that contain one of every structure."""
    known: list[list[tuple[Any, ...]]] = []
    count = 0
    for i, module in enumerate(modules):
        if (own := build(module)) not in known:
            known.append(own)
            count = i + 1
    return count


def shortened(module: nn.Module, path: str, count: int) -> nn.Module:
    """The same network with only the first ``count`` parts of the container at ``path``.

    A view: the remaining modules are those of the network itself, which is not changed.
    """
    name, _, rest = path.partition(".")
    short = copy.copy(module)
    parts = dict(module._modules)
    if name:
        inner = parts[name]
        assert inner is not None
        parts[name] = shortened(inner, rest, count)
    else:
        parts = dict(list(parts.items())[:count])
    short._modules = parts
    return short
