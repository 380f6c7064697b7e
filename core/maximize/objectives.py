"""What can be made as large as possible: classes and channels, and sums of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from core.errors import ParameterError, UnsupportedMethod
from core.models import Model, VisionTransformer
from core.models.base import Projection
from core.models.convnet import ConvNet


class Objective(ABC):
    """Something about one pass over a picture, to be made as large as possible.

    Objectives add up and scale: ``class_logit(282) + 0.5 * block_channel(3, 7)``.
    """

    @abstractmethod
    def probes(self, model: Model) -> tuple[str, ...]:
        """Names of the probes it reads.

        Raises
        ------
        UnsupportedMethod
            The model has no such thing (a convolution in a transformer, …).
        ParameterError
            The class, layer, head or channel does not exist.
        """

    @abstractmethod
    def value(self, model: Model, logits: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Reduce what one pass showed to a scalar.

        Parameters
        ----------
        logits
            (batch, classes).
        tensors
            By probe name, at least those of `probes`.
        """

    @abstractmethod
    def describe(self, model: Model) -> str:
        """Name it for people."""

    def __add__(self, other: Objective) -> Objective:
        return _Sum(self, other)

    def __mul__(self, factor: float) -> Objective:
        return _Scaled(self, float(factor))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0

    def __sub__(self, other: Objective) -> Objective:
        return self + -other


@dataclass(frozen=True)
class _Sum(Objective):
    first: Objective
    second: Objective

    def probes(self, model: Model) -> tuple[str, ...]:
        return (*self.first.probes(model), *self.second.probes(model))

    def value(self, model: Model, logits: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        first, second = (part.value(model, logits, tensors) for part in (self.first, self.second))
        return first + second

    def describe(self, model: Model) -> str:
        return f"{self.first.describe(model)} + {self.second.describe(model)}"


@dataclass(frozen=True)
class _Scaled(Objective):
    part: Objective
    factor: float

    def probes(self, model: Model) -> tuple[str, ...]:
        return self.part.probes(model)

    def value(self, model: Model, logits: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        return self.factor * self.part.value(model, logits, tensors)

    def describe(self, model: Model) -> str:
        return f"{self.factor:g} × ({self.part.describe(model)})"


@dataclass(frozen=True)
class _ClassLogit(Objective):
    index: int

    def probes(self, model: Model) -> tuple[str, ...]:
        model.check_target(self.index)
        return ()

    def value(self, model: Model, logits: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        return logits[:, self.index].mean()

    def describe(self, model: Model) -> str:
        return f"logit of class {self.index} ({model.label(self.index)})"


@dataclass(frozen=True)
class _ConvChannel(Objective):
    layer: str
    channel: int

    def probes(self, model: Model) -> tuple[str, ...]:
        if not isinstance(model, ConvNet):
            raise UnsupportedMethod(
                f"{model.spec.title} is a vision transformer and has no convolution channels; "
                "choose a channel of a block, of its MLP or of a head."
            )
        if self.layer not in model.layers:
            raise ParameterError(
                f"Layer {self.layer!r} does not exist in {model.spec.title}; "
                f"choose one of {', '.join(model.layers)}."
            )
        return (self.layer,)

    def value(self, model: Model, logits: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        activations = _redirected(tensors[self.layer])  # (batch, channels, height, width)
        _check(self.channel, activations.shape[1], "Channel", f"layer {self.layer}")
        return activations[:, self.channel].mean()

    def describe(self, model: Model) -> str:
        return f"channel {self.channel} of layer {self.layer}, mean over positions"


@dataclass(frozen=True)
class _TokenChannel(Objective):
    """A channel of tokens (batch, tokens, channels): the *last* axis; axis 1 counts tokens."""

    layer: int
    channel: int
    probe: str
    name: str

    def probes(self, model: Model) -> tuple[str, ...]:
        _check(self.layer, _transformer(model).depth, "Layer", model.spec.title)
        return (self.probe.format(self.layer),)

    def value(self, model: Model, logits: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        tokens = _redirected(tensors[self.probe.format(self.layer)])
        _check(self.channel, tokens.shape[-1], "Channel", f"{self.name} {self.layer}")
        found = tokens[:, _transformer(model).prefix :, self.channel]
        return found.mean()

    def describe(self, model: Model) -> str:
        return f"channel {self.channel} of {self.name} {self.layer}, mean over patches"


@dataclass(frozen=True)
class _HeadChannel(Objective):
    layer: int
    head: int
    channel: int
    kind: Projection

    def probes(self, model: Model) -> tuple[str, ...]:
        transformer = _transformer(model)
        _check(self.layer, transformer.depth, "Layer", model.spec.title)
        _check(self.head, transformer.heads, "Head", f"layer {self.layer}")
        return transformer.attention_names(self.layer)

    def value(self, model: Model, logits: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        transformer = _transformer(model)
        # (batch, heads, tokens, channels)
        part = transformer.projection(tensors, self.layer, self.kind)
        _check(self.channel, part.shape[-1], "Channel", f"head {self.head} of layer {self.layer}")
        return part[:, self.head, transformer.prefix :, self.channel].mean()

    def describe(self, model: Model) -> str:
        return (
            f"{self.kind} channel {self.channel} of head {self.head}, layer {self.layer}, "
            "mean over patches"
        )


def class_logit(index: int) -> Objective:
    """The logit of a class, before the softmax."""
    return _ClassLogit(index)


def conv_channel(layer: str, channel: int) -> Objective:
    """Mean over positions of a channel of a convolutional network.

    Parameters
    ----------
    layer
        One of the model's ``layers``.
    """
    return _ConvChannel(layer, channel)


def block_channel(layer: int, channel: int) -> Objective:
    """Mean over patches (no prefix tokens) of a channel of a transformer block's output."""
    return _TokenChannel(layer, channel, VisionTransformer.OUTPUT, "block")


def mlp_channel(layer: int, channel: int) -> Objective:
    """Mean over patches of a channel of a block's MLP: its hidden layer after the activation."""
    return _TokenChannel(layer, channel, VisionTransformer.HIDDEN, "the MLP of block")


def head_channel(layer: int, head: int, channel: int, kind: Projection = "key") -> Objective:
    """Mean over patches of a channel of one head's queries, keys or values.

    Raises
    ------
    ParameterError
        ``kind`` is none of the three.
    """
    if kind not in get_args(Projection):
        raise ParameterError(
            f"kind is {kind!r}, expected one of: {', '.join(get_args(Projection))}."
        )
    return _HeadChannel(layer, head, channel, kind)


def _transformer(model: Model) -> VisionTransformer:
    if not isinstance(model, VisionTransformer):
        raise UnsupportedMethod(
            f"{model.spec.title} is a convolutional network and has no blocks, MLPs or heads; "
            "choose a class or a channel of one of its layers."
        )
    return model


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
