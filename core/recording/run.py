"""The needs of a pass, and the only function that runs one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_args

import torch
from torch import Tensor

from core import capacity, probes
from core.errors import ImageError, ParameterError
from core.models import Model
from core.models.taps import Projection
from core.numerics import own_state


@dataclass(frozen=True)
class Needs:
    """What one pass must record; needs are combined with ``|``.

    Attributes
    ----------
    keep
        Taps whose tensors are read afterwards; see `Model.taps`.
    gradients
        Taps at which gradients are needed. The graph begins at
        the first, so neither earlier layers nor parameters take part in a backward pass.
    """

    keep: frozenset[str] = field(default_factory=frozenset)
    gradients: frozenset[str] = field(default_factory=frozenset)

    def __init__(self, keep: Iterable[str] = (), gradients: Iterable[str] = ()) -> None:
        object.__setattr__(self, "keep", frozenset(keep))
        object.__setattr__(self, "gradients", frozenset(gradients))

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.keep | other.keep, self.gradients | other.gradients)

    def __le__(self, other: Needs) -> bool:
        """Whether a pass made for ``other`` also meets these needs."""
        return self.keep <= other.keep and self.gradients <= other.gradients

    def checked(self, model: Model) -> Needs:
        """These needs, if the model has all their taps and the gradients are available.

        Raises
        ------
        ParameterError
            A tap or gradient is not available.
        """
        for tap in sorted(self.keep | self.gradients, key=str):
            model.tap(tap)
        for tap in sorted(self.gradients, key=str):
            block, _, part = tap.rpartition(".")
            if part == "attention":
                raise ParameterError(f"No gradient is available at {tap!r}; choose a stage.")
            if part in get_args(Projection):  # not a tensor of its own in the network
                raise ParameterError(
                    f"No gradient is available at {tap!r}; choose {block}.input, {block}.context "
                    f"or {block}.output."
                )
        return self


@dataclass(frozen=True, eq=False)
class Pass:
    """The result of one pass.

    Attributes
    ----------
    size : tuple of int
        Height and width in pixels of the input.
    output : Tensor
        Logits (batch, classes), or features of a model without classes.
    recorded : dict of str to Tensor
        By probe name, with graph where there is one.
    seconds : float
        Wall time of the pass.
    """

    model: Model
    needs: Needs
    size: tuple[int, int]
    output: Tensor
    recorded: dict[str, Tensor]
    seconds: float

    def tensor(self, tap: str) -> Tensor:
        """A tap's tensor with the axes of the table, with graph where there is one."""
        return self.model.read(self.recorded, tap)

    def gradients(self, score: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Gradient of a scalar at some of the taps in ``needs.gradients``; the graph stays."""
        at = [self.recorded[tap] for tap in taps]
        found = torch.autograd.grad(score, at, retain_graph=True, materialize_grads=True)
        return {
            tap: self.model.read_gradient(gradient, tap)
            for tap, gradient in zip(taps, found, strict=True)
        }


def run(
    model: Model,
    pixels: Tensor,
    needs: Needs,
    edits: Mapping[str, probes.Edit] = MappingProxyType({}),
) -> Pass:
    """Run a model once on its input and record what is needed.

    Parameters
    ----------
    pixels
        (batch, 3, height, width), standardized. If it requires a gradient, so does the output.
    edits
        Changes of tensors at probes; see `core.probes.Recorder`.

    Raises
    ------
    ImageError
        The result of the pass would exceed the memory budget.
    BusyError
        All slots for network passes were in use for too long.
    """
    size = (pixels.shape[2], pixels.shape[3])
    leaf = leaf_of(model, needs)
    recorder = probes.Recorder(model.probes_for(needs.keep) | needs.gradients, leaf, edits)
    with_graph = leaf is not None or pixels.requires_grad
    _check_footprint(model, size, len(pixels), with_graph, None if pixels.requires_grad else leaf)
    with (
        capacity.admitted(),
        own_state(gradients=with_graph),
        probes.recording(recorder),
    ):
        if pixels.is_inference():  # created by a caller, and unusable in any graph
            pixels = pixels.clone()
        started = time.perf_counter()  # waiting for a slot is not part of the network's time
        output = model.score(pixels)
        if pixels.device.type == "cuda":
            torch.cuda.synchronize(pixels.device)
        seconds = time.perf_counter() - started
    return Pass(model, needs, size, output, recorder.tensors, seconds)


def leaf_of(model: Model, needs: Needs) -> str | None:
    """Tap at which the graph of a pass begins; ``None`` without a graph."""
    return next((tap for tap in model.taps if tap in needs.gradients), None)


def fitting_batch(
    model: Model, size: tuple[int, int], gradients: bool, most: int, leaf: str | None = None
) -> int:
    """The number of pictures of (height, width) pixels that may share a pass: 1 to ``most``.

    Parameters
    ----------
    leaf
        Tap at which a graph begins; ``None`` for the pixels.
    """
    each = model.footprint(size, gradients, leaf)
    return max(1, min(most, capacity.memory_budget() // max(each, 1)))


def _check_footprint(
    model: Model, size: tuple[int, int], batch: int, gradients: bool, leaf: str | None
) -> None:
    cost, budget = batch * model.footprint(size, gradients, leaf), capacity.memory_budget()
    if cost > budget:
        what = "with gradients " if gradients and leaf not in model.cheap_gradients else ""
        raise ImageError(
            f"{batch} picture(s) of {size[1]} × {size[0]} pixels {what}take about "
            f"{_gigabytes(cost)} in {model.spec.title} where {_gigabytes(budget)} are allowed; "
            "choose a smaller size or fewer pictures."
        )


def _gigabytes(count: int) -> str:
    """Bytes as text: one decimal, or two significant digits for small values."""
    amount = count / 2**30
    return f"{amount:.1f} GB" if amount >= 0.1 else f"{amount:.2g} GB"
