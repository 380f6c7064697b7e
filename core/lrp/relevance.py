"""One pass of a network in which every operation gets its rule for relevance.

The network itself is neither copied nor changed: PyTorch hands each of its operations to the mode
below, in this thread only, and the backward of what is returned is the rule's. An operation that
has no rule is refused by its name, so nothing is propagated by an assumption.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from core.lrp import rules

PLAIN = frozenset(
    {
        "__add__",
        "__get__",
        "__getitem__",
        "__neg__",
        "__radd__",
        "__rsub__",
        "__sub__",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_max_pool2d",
        "add",
        "amax",
        "avg_pool2d",
        "cat",
        "chunk",
        "clone",
        "concat",
        "concatenate",
        "contiguous",
        "expand",
        "expand_as",
        "flatten",
        "flip",
        "float",
        "index_select",
        "interpolate",
        "leaky_relu",
        "max_pool2d",
        "mean",
        "movedim",
        "narrow",
        "neg",
        "pad",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
        "relu",
        "repeat",
        "repeat_interleave",
        "reshape",
        "roll",
        "select",
        "softmax",
        "split",
        "squeeze",
        "stack",
        "sub",
        "sum",
        "swapaxes",
        "t",
        "tensor_split",
        "to",
        "transpose",
        "type",
        "type_as",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
    }
)
"""Operations that pass relevance on by their plain gradient: they are linear, or choose."""

IN_PLACE = {
    "__iadd__": "add",
    "add_": "add",
    "__isub__": "sub",
    "sub_": "sub",
    "__imul__": "mul",
    "mul_": "mul",
    "__itruediv__": "div",
    "div_": "div",
    "relu_": "relu",
    "leaky_relu_": "leaky_relu",
}
"""What changes a tensor in place, and what is done instead: rules need the values as they were."""

ACTIVATIONS = frozenset({"gelu", "silu", "relu6", "hardswish", "mish", "tanh", "tanh_"})
"""Activations with ``f(0) = 0`` that have the identity rule."""

GATES = frozenset({"sigmoid", "sigmoid_", "hardsigmoid"})
"""What weighs channels; it is held, so that all relevance goes to what is weighed."""

PRODUCTS = frozenset({"mul", "multiply", "__mul__", "__rmul__"})
QUOTIENTS = frozenset({"div", "divide", "__truediv__", "true_divide"})
MATRIX_PRODUCTS = frozenset({"matmul", "bmm", "__matmul__"})
DROPOUTS = frozenset({"dropout", "dropout2d"})
OF_PIXELS = frozenset({"pad", "to", "contiguous", "float", "clone"})
"""What may be done to pixels before the first layer."""


class NoRule(Exception):
    """An operation has no rule; the argument names it, in words that follow "because"."""


@dataclass(frozen=True)
class Step:
    """A linear layer or a convolution as it is met in a pass.

    Attributes
    ----------
    place : int
        How many were met before.
    is_convolution, is_first, is_head : bool
        Whether it is a convolution, reads the pixels, or gives the logits.
    """

    place: int
    is_convolution: bool
    is_first: bool
    is_head: bool


class RelevancePass(TorchFunctionMode):
    """Gives each operation its rule, for the length of a ``with`` block.

    Parameters
    ----------
    pixels : (batch, 3, height, width)
        The input, which requires a gradient. What arrives there in the backward pass is relevance.
    low, high
        Bounds of the pixels, of the same shape.
    classes
        Number of logits.
    gamma
        ``gamma(step)`` is γ of a layer, or ``None`` for the z^B rule with the pixels' bounds.

    Attributes
    ----------
    count : int
        Linear layers and convolutions met so far.
    """

    def __init__(
        self,
        pixels: Tensor,
        low: Tensor,
        high: Tensor,
        classes: int,
        gamma: Callable[[Step], float | None],
    ) -> None:
        super().__init__()
        self.count = 0
        self._classes, self._gamma = classes, gamma
        self._bounds = WeakTensorKeyDictionary()
        self._bounds[pixels] = (low, high)
        self._convolved = WeakTensorKeyDictionary()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not any(tensor.requires_grad for tensor in tensors):
            return func(*args, **kwargs)
        name = func.__name__
        on_pixels = any(tensor in self._bounds for tensor in tensors)
        if on_pixels and name != "conv2d" and name not in DROPOUTS:
            return self._on_pixels(name, func, args, kwargs)
        if (rule := getattr(self, f"_{name}", None)) is not None:
            return rule(func, *args, **kwargs)
        return self._elementary(name, func, args, kwargs)

    def _elementary(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Whatever is no layer."""
        if name in IN_PLACE:
            name = IN_PLACE[name]
            func = getattr(torch, name, None) or getattr(functional, name)
        kwargs.pop("inplace", None)
        if name in DROPOUTS:
            if kwargs.get("training", args[2] if len(args) > 2 else True):
                raise NoRule("it has dropout that is not switched off")
            return args[0]
        if name in ("relu", "leaky_relu"):  # whose arguments may ask for a change in place
            args = args[:1] if name == "relu" else args[:2]
        if name in ACTIVATIONS:
            plain = getattr(torch, name.rstrip("_"), None) or getattr(functional, name.rstrip("_"))
            own = {"approximate": kwargs["approximate"]} if "approximate" in kwargs else {}
            return rules.identity_rule(args[0], plain(args[0].detach(), **own))
        if name in GATES:
            plain = getattr(functional, name.rstrip("_"), torch.sigmoid)
            return plain(args[0].detach())
        if name in PRODUCTS:
            return self._product(*args[:2])
        if name in QUOTIENTS:
            if isinstance(args[1], Tensor) and args[1].requires_grad:
                raise NoRule("it divides by values that depend on the picture")
            return torch.div(*args[:2])
        if name in MATRIX_PRODUCTS:
            return rules.product(args[0], args[1])
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        floating = [tensor for tensor in made if tensor.is_floating_point()]
        if floating and not (name in PLAIN and all(tensor.requires_grad for tensor in floating)):
            raise NoRule(f"its operation {name!r} has none")
        return result

    @staticmethod
    def _product(first: Any, second: Any) -> Tensor:
        both = [isinstance(one, Tensor) and one.requires_grad for one in (first, second)]
        if all(both):
            first, second = rules.part(first), rules.part(second)
        return torch.mul(first, second)

    def _on_pixels(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Keep the bounds of what is still a picture; relevance itself arrives there."""
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        if name not in OF_PIXELS:
            raise NoRule(f"it begins with the operation {name!r} and not with a convolution")
        if result not in self._bounds:
            low, high = self._bounds[args[0]]
            self._bounds[result] = func(low, *args[1:], **kwargs), func(high, *args[1:], **kwargs)
        return result

    # -- layers ------------------------------------------------------------------------------

    def _layer(
        self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, of: rules.Map
    ) -> tuple[Tensor, float | None]:
        if weight.requires_grad or not x.requires_grad:
            raise NoRule("it makes weights of the picture")
        first = x in self._bounds
        vector = x.ndim == 2 or (x.ndim == 4 and x.shape[2:] == (1, 1))
        head = vector and len(weight) == self._classes
        step = Step(self.count, isinstance(of, rules.Convolution), first, head)
        self.count += 1
        gamma = self._gamma(step)
        return self._ruled(x, y, weight, bias, of, gamma), gamma

    def _ruled(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        of: rules.Map,
        gamma: float | None,
    ) -> Tensor:
        if gamma is None:
            if isinstance(of, rules.Convolution) and of.groups > 1:
                raise NoRule("its first convolution is grouped")
            low, high = self._bounds[x]
            return rules.box_rule(x, y, low, high, weight, of)
        return rules.gamma_rule(x, y, weight, bias, of, gamma, to_relevance=x in self._bounds)

    def _linear(
        self, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        y = func(input.detach(), weight, bias)
        return self._layer(input, y, weight, bias, rules.Linear())[0]

    def _conv2d(
        self,
        func: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        y = func(input.detach(), weight, bias, stride, padding, dilation, groups)
        if isinstance(padding, str):
            padding = _in_numbers(padding, weight, dilation)
        of = rules.Convolution(stride, padding, dilation, groups)
        result, gamma = self._layer(input, y, weight, bias, of)
        self._convolved[result] = (input, weight, bias, of, gamma)
        return result

    def _batch_norm(
        self,
        func: Any,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Folded into the convolution before it; else it is a scale and a bias for itself."""
        if training or running_mean is None or running_var is None:
            raise NoRule("its batch norm takes the statistics of the batch")
        normed = func(input, running_mean, running_var, weight, bias, False, momentum, eps)
        if input not in self._convolved:
            return cast(Tensor, normed)
        x, kernel, before, of, gamma = self._convolved[input]
        scale = (running_var + eps).rsqrt() * (1.0 if weight is None else weight)
        shift = (0.0 if bias is None else bias) - running_mean * scale
        shift = shift if before is None else shift + before * scale
        return self._ruled(x, normed, kernel * scale.view(-1, 1, 1, 1), shift, of, gamma)

    def _hardtanh(
        self,
        func: Any,
        input: Tensor,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
    ) -> Tensor:
        """Also ReLU6."""
        if not min_val <= 0 <= max_val:
            raise NoRule("it has a hardtanh that does not leave zero at zero")
        return rules.identity_rule(input, input.detach().clamp(min_val, max_val))

    # -- norms and attention -------------------------------------------------------------------

    def _layer_norm(
        self,
        func: Any,
        input: Tensor,
        normalized_shape: Any,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        return rules.layer_norm(input, normalized_shape, weight, bias, eps)

    def _rms_norm(
        self,
        func: Any,
        input: Tensor,
        normalized_shape: Any,
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        eps = torch.finfo(input.dtype).eps if eps is None else eps
        return rules.rms_norm(input, normalized_shape, weight, eps)

    def _group_norm(
        self,
        func: Any,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        grouped = input.reshape(len(input), num_groups, -1)
        normed = rules.layer_norm(grouped, grouped.shape[-1:], None, None, eps)
        normed = normed.reshape(input.shape)
        shape = (-1, *[1] * (input.ndim - 2))
        normed = normed if weight is None else normed * weight.view(shape)
        return normed if bias is None else normed + bias.view(shape)

    def _scaled_dot_product_attention(
        self,
        func: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p or (attn_mask is not None and attn_mask.requires_grad):
            raise NoRule("its attention has dropout, or a mask that depends on the picture")
        own = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        return rules.attention(query, key, value, partial(func, attn_mask=attn_mask, **own))

    def _multi_head_attention_forward(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Attention of a sequence (tokens, batch, width) to itself, as torchvision has it."""
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.apply_defaults()
        of = bound.arguments
        x = of["query"]
        unusual = ("bias_k", "bias_v", "key_padding_mask", "attn_mask", "static_k", "static_v")
        if (
            any(of[name] is not None for name in unusual)
            or any(of[name] for name in ("add_zero_attn", "use_separate_proj_weight", "is_causal"))
            or (of["training"] and of["dropout_p"])
            or of["key"] is not x
            or of["value"] is not x
            or x.ndim != 3
        ):
            raise NoRule("its MultiheadAttention is not that of a sequence to itself alone")
        if of["need_weights"]:
            raise NoRule("its MultiheadAttention returns its weights")
        tokens, batch, width = x.shape
        heads = of["num_heads"]
        joint = self._linear(functional.linear, x, of["in_proj_weight"], of["in_proj_bias"])
        query, key, value = (
            part.reshape(tokens, batch, heads, width // heads).permute(1, 2, 0, 3)
            for part in joint.chunk(3, dim=-1)
        )
        gathered = rules.attention(query, key, value, functional.scaled_dot_product_attention)
        gathered = gathered.permute(2, 0, 1, 3).reshape(tokens, batch, width)
        weight, bias = of["out_proj_weight"], of["out_proj_bias"]
        return self._linear(functional.linear, gathered, weight, bias), None


def _in_numbers(padding: str, weight: Tensor, dilation: Any) -> tuple[int, int]:
    """Padding that was given by its name."""
    if padding == "valid":
        return 0, 0
    across = (dilation, dilation) if isinstance(dilation, int) else tuple(dilation)
    whole = [d * (k - 1) for d, k in zip(across, weight.shape[2:], strict=True)]
    if any(one % 2 for one in whole):
        raise NoRule("it has a convolution whose padding differs from side to side")
    return whole[0] // 2, whole[1] // 2
