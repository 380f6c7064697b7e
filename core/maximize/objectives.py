"""Objectives of maximization: classes and channels, and sums of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from torch import Tensor

from core.errors import ParameterError, UnsupportedMethod
from core.models import Model, VisionTransformer
from core.models.taps import HEADS_MAP, MAP, Part, Projection, block_tap
from core.recording.run import Needs, Pass
from core.targets import ClassTarget, Target


class Objective(ABC):
    """A scalar of one pass over a picture that is maximized.

    Objectives can be added and scaled: ``class_logit(282) + 0.5 * block_channel(3, 7)``.
    """

    @abstractmethod
    def needs(self, model: Model) -> Needs:
        """What the pass must record.

        Raises
        ------
        UnsupportedMethod
            The model lacks what the objective reads (a stage in a transformer, …).
        ParameterError
            The class, layer, head or channel does not exist.
        """

    @abstractmethod
    def value(self, passed: Pass) -> Tensor:
        """The scalar value for one pass, with its graph."""

    @abstractmethod
    def describe(self, model: Model) -> str:
        """Description for users."""

    def __add__(self, other: Objective | Target) -> Objective:
        return _Sum(self, checked_objective(other))

    def __mul__(self, factor: float) -> Objective:
        is_number = isinstance(factor, int | float | np.number) and not isinstance(factor, bool)
        if not is_number or not math.isfinite(factor):
            raise ParameterError(
                f"An objective was multiplied by {factor!r}, expected a finite number."
            )
        return _Scaled(self, float(factor))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0

    def __sub__(self, other: Objective | Target) -> Objective:
        return self + -checked_objective(other)


def checked_objective(value: Any) -> Objective:
    """The value itself, if it is an objective, or that of a target; `ParameterError` if not."""
    if isinstance(value, Objective):
        return value
    if isinstance(value, Target):
        return _OfTarget(value)
    raise ParameterError(
        f"{value!r} is not an objective; make one with class_logit, rather_than, conv_channel, "
        "block_channel, mlp_channel or head_channel."
    )


def checked_whole(value: Any, what: str) -> int:
    """A whole number as an ``int``; `ParameterError` if it is anything else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ParameterError(f"{what} is {value!r}, expected a whole number.")
    return int(value)


@dataclass(frozen=True)
class _Sum(Objective):
    first: Objective
    second: Objective

    def needs(self, model: Model) -> Needs:
        return self.first.needs(model) | self.second.needs(model)

    def value(self, passed: Pass) -> Tensor:
        return self.first.value(passed) + self.second.value(passed)

    def describe(self, model: Model) -> str:
        return f"{self.first.describe(model)} + {self.second.describe(model)}"


@dataclass(frozen=True)
class _Scaled(Objective):
    part: Objective
    factor: float

    def needs(self, model: Model) -> Needs:
        return self.part.needs(model)

    def value(self, passed: Pass) -> Tensor:
        return self.factor * self.part.value(passed)

    def describe(self, model: Model) -> str:
        return f"{self.factor:g} × ({self.part.describe(model)})"


class _OfLogits(Objective):
    """The value of a target, computed from the logits."""

    @abstractmethod
    def target(self) -> Target:
        """The target."""

    def needs(self, model: Model) -> Needs:
        model.check_target(self.target())
        return Needs()

    def value(self, passed: Pass) -> Tensor:
        return passed.model.check_target(self.target())(passed.output).mean()

    def describe(self, model: Model) -> str:
        asked = model.check_target(self.target())
        logit = "logit of " if asked.is_class or asked.is_difference else "negated logit of "
        return logit + " less that of ".join(
            f"class {index} ({model.label(index)})" for index in asked.indices
        )


@dataclass(frozen=True)
class _OfTarget(_OfLogits):
    asked: Target

    def __repr__(self) -> str:
        return repr(self.asked)

    def target(self) -> Target:
        return self.asked


@dataclass(frozen=True)
class ClassLogit(_OfLogits, ClassTarget):
    """The logit of a class: an objective and a target."""

    def __repr__(self) -> str:
        return f"core.class_logit({self.index})"

    def target(self) -> Target:
        return self


@dataclass(frozen=True)
class _Channel(Objective):
    """Mean over places of one channel of a tap; prefix tokens are left out."""

    tap: str
    channel: int
    head: int = 0

    def needs(self, model: Model) -> Needs:
        tap = model.tap(self.tap)
        _check(self.head, tap.heads, "Head", self.tap)
        _check(self.channel, tap.channels, "Channel", self.tap)
        return Needs([self.tap])

    def value(self, passed: Pass) -> Tensor:
        model, declared = passed.model, passed.model.taps[self.tap]
        tensor = passed.tensor(self.tap)
        if declared.heads == 1:
            tensor = _redirected(tensor)
        size = passed.size
        features = model.on_grid(tensor, self.tap, size)  # (batch, features, rows, columns)
        return features[:, self.head * declared.channels + self.channel].mean()

    def describe(self, model: Model) -> str:
        tap = model.taps[self.tap]
        head = f" of head {self.head}" if tap.heads > 1 else ""
        places = "places" if tap.axes == MAP else "patches"
        return f"channel {self.channel}{head} of {self.tap} ({tap.meaning}), mean over {places}"


@dataclass(frozen=True)
class _StageChannel(_Channel):
    def __repr__(self) -> str:
        return f"core.conv_channel({self.tap!r}, {self.channel})"

    def needs(self, model: Model) -> Needs:
        if isinstance(model, VisionTransformer):
            raise UnsupportedMethod(
                f"{model.spec.title} is a vision transformer and has no stages; choose a channel "
                "of a block, of its MLP or of a head."
            )
        if model.tap(self.tap).axes == HEADS_MAP:
            raise UnsupportedMethod(
                f"{self.tap} holds attention, which is computed beside the network and cannot be "
                "maximized; choose a channel of a stage."
            )
        return super().needs(model)


@dataclass(frozen=True)
class _BlockChannel(_Channel):
    def __repr__(self) -> str:
        _, layer, part = self.tap.split(".")
        if part == "output":
            return f"core.block_channel({layer}, {self.channel})"
        if part == "hidden":
            return f"core.mlp_channel({layer}, {self.channel})"
        return f"core.head_channel({layer}, {self.head}, {self.channel}, kind={part!r})"

    def needs(self, model: Model) -> Needs:
        if not isinstance(model, VisionTransformer):
            raise UnsupportedMethod(
                f"{model.spec.title} is a convolutional network and has no blocks, MLPs or heads; "
                "choose a class or a channel of one of its stages."
            )
        return super().needs(model)


def class_logit(index: int) -> ClassLogit:
    """The logit of a class, before the softmax: an objective, and a target of `core.explain`.

    Raises
    ------
    ParameterError
        ``index`` is no whole number.
    """
    return ClassLogit(checked_whole(index, "The class"))


def conv_channel(layer: str, channel: int) -> Objective:
    """Mean over positions of a channel of a convolutional network.

    Parameters
    ----------
    layer
        One of the model's taps: a stage, or ``"head.input"``.
    channel
        Counted from 0.

    Raises
    ------
    ParameterError
        ``layer`` is no name, or ``channel`` no whole number.
    """
    if not isinstance(layer, str):
        raise ParameterError(
            f"The layer is {layer!r}, expected the name of a stage, such as 'stage.4', or "
            "'head.input'."
        )
    return _StageChannel(layer, checked_whole(channel, "The channel"))


def block_channel(layer: int, channel: int) -> Objective:
    """Mean over patches (no prefix tokens) of a channel of a transformer block's output.

    Raises
    ------
    ParameterError
        ``layer`` or ``channel`` is no whole number.
    """
    return _of_block(layer, "output", channel)


def mlp_channel(layer: int, channel: int) -> Objective:
    """Mean over patches of a channel of a block's MLP: its hidden layer after the activation.

    Raises
    ------
    ParameterError
        ``layer`` or ``channel`` is no whole number.
    """
    return _of_block(layer, "hidden", channel)


def head_channel(layer: int, head: int, channel: int, kind: Projection = "key") -> Objective:
    """Mean over patches of a channel of one head's queries, keys or values.

    Raises
    ------
    ParameterError
        ``kind`` is none of the three; ``layer``, ``head`` or ``channel`` no whole number.
    """
    if kind not in get_args(Projection):
        raise ParameterError(
            f"kind is {kind!r}, expected one of: {', '.join(get_args(Projection))}."
        )
    return _of_block(layer, kind, channel, head)


def _of_block(layer: int, part: Part, channel: int, head: int = 0) -> Objective:
    return _BlockChannel(
        block_tap(checked_whole(layer, "The layer"), part),
        checked_whole(channel, "The channel"),
        checked_whole(head, "The head"),
    )


def _check(index: int, count: int, what: str, where: str) -> None:
    if not 0 <= index < count:
        raise ParameterError(f"{what} {index} does not exist in {where}; choose 0 to {count - 1}.")


_ACTIVATIONS = ("GeluBackward", "ReluBackward", "HardtanhBackward", "SiluBackward")


def _redirected(tensor: Tensor) -> Tensor:
    """Let the gradient pass the activation that made ``tensor``, also where the unit is silent.

    A channel that answers nowhere at the start has no gradient to follow; and GELU, which bends
    up again below -0.75, would lead a silent one ever further down (Lucid redirects the gradient
    of ReLU for the same reason). The value stays what the definition says.
    The hook sits on this pass's graph and goes with it; the module is not touched.
    """
    node = tensor.grad_fn
    if node is not None and node.name().startswith(_ACTIVATIONS):
        node.register_hook(lambda inputs, outputs: outputs)
    return tensor
