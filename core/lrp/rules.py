"""What each operation does with relevance, as a backward of its own.

Every backward is such that the relevance of a tensor is the tensor times what arrives there in
place of a gradient, so that operations without a rule of their own (sums, means, reshaping) pass
relevance on by their plain gradient. All rules are linear in what arrives: the relevance of a
difference of two logits is the difference of their relevances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

EPSILON = 1e-6
"""Keeps denominators of relevance away from zero."""


@dataclass(frozen=True)
class Linear:
    """A linear layer ``x Wᵀ + b``."""

    channels = -1

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return functional.linear(x, weight, bias)

    def transposed(self, s: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """(..., outputs) to (..., inputs)."""
        return s @ weight


@dataclass(frozen=True)
class Convolution:
    """A convolution in two dimensions."""

    channels = 1

    stride: Any
    padding: Any
    dilation: Any
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, rows, columns)."""
        return functional.conv2d(
            x, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )

    def transposed(self, s: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """(batch, outputs, rows, columns) to ``shape``."""
        if self.groups == len(weight) == shape[1] and set(_pair(self.stride)) == {1}:
            # Depthwise: a convolution with the mirrored kernels, several times as fast.
            sides = zip(_pair(self.dilation), weight.shape[2:], _pair(self.padding), strict=True)
            around = [apart * (side - 1) - padding for apart, side, padding in sides]
            mirrored = weight.flip(2, 3)
            return functional.conv2d(s, mirrored, None, 1, around, self.dilation, self.groups)
        return cast(
            Tensor,
            conv2d_input(  # type: ignore[no-untyped-call]
                shape, weight, s, self.stride, self.padding, self.dilation, self.groups
            ),
        )


Map = Linear | Convolution


def stabilized(values: Tensor) -> Tensor:
    """Values moved away from zero by ε, zero itself upward."""
    return torch.where(values >= 0, values + EPSILON, values - EPSILON)


def _pair(value: Any) -> tuple[int, ...]:
    """A number for both sides, or one for each."""
    return (value, value) if isinstance(value, int) else tuple(value)


class _Gamma(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        of: Map,
        gamma: float,
        to_relevance: bool,
    ) -> Tensor:
        ctx.save_for_backward(x if gamma or to_relevance else None, y, weight, bias)
        ctx.shape = x.shape
        ctx.rule = of, gamma, to_relevance
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, bias = ctx.saved_tensors
        of, gamma, to_relevance = ctx.rule
        if not gamma:
            found = of.transposed(gradient, weight, ctx.shape)
        else:
            # With p the sum of the positive products and n of the negative, the bias among them,
            # |y| = |p + n| and |x| |W| + |b| = p − n, so the sum with γ is, but for a factor of
            # 1 + γ / 2 that cancels, |y| + part · (p − n): two maps do for four, and without signs.
            part = gamma / (2 + gamma)
            least = EPSILON * 2 / gamma  # becomes ε with the factors of both
            size, far = weight.abs(), y.abs()
            beside = weight.new_full((len(weight),), least) if bias is None else bias.abs() + least
            whole = torch.add(far, of.forward(x.abs(), size, beside), alpha=part)
            share = gradient / whole
            plain = of.transposed(share * far, weight, ctx.shape)
            signed = of.transposed(share * y, size, ctx.shape)
            found = torch.addcmul(plain, x.sign(), signed, value=part)
        return (found * x if to_relevance else found), None, None, None, None, None, None


def gamma_rule(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    of: Map,
    gamma: float,
    to_relevance: bool = False,
) -> Tensor:
    """The signed γ rule of a linear layer or a convolution.

    To an output ``y > 0`` the input ``j`` contributed ``x_j (w_j + γ w_j⁺)`` where ``x_j > 0`` and
    ``x_j (w_j + γ w_j⁻)`` where ``x_j < 0``; it gets that share of the sum of all, to which the
    bias belongs likewise. Mirrored for ``y < 0``. γ = 0 is the ε rule with ε = 0: the sum is the
    output itself, so nothing is divided. Montavon et al. 2019; for either sign as zennit has it
    (Anders et al. 2021).

    Parameters
    ----------
    y
        What the layer has returned for ``x``, with its bias.
    to_relevance
        Whether relevance itself is to arrive at ``x``, not what is to be multiplied by ``x``.

    Returns
    -------
    Tensor
        ``y``, with this rule for its backward.
    """
    found: Tensor = _Gamma.apply(x, y.detach(), weight, bias, of, gamma, to_relevance)
    return found


class _Box(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, low: Tensor, high: Tensor, weight: Tensor, of: Map
    ) -> Tensor:
        ctx.save_for_backward(x, y, low, high, weight)
        ctx.of = of
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, low, high, weight = ctx.saved_tensors
        of: Map = ctx.of
        # One map of three times as many inputs: the values and either bound.
        inputs = torch.cat([x, -low, -high], of.channels)
        parts = torch.cat([weight, weight.clamp(min=0), weight.clamp(max=0)], 1)
        share = gradient * y / stabilized(of.forward(inputs, parts))
        found = sum((inputs * of.transposed(share, parts, inputs.shape)).chunk(3, of.channels))
        return cast(Tensor, found), None, None, None, None, None


def box_rule(x: Tensor, y: Tensor, low: Tensor, high: Tensor, weight: Tensor, of: Map) -> Tensor:
    """The z^B rule of a first layer, whose inputs lie between bounds (Montavon et al. 2017).

    The input ``j`` contributed ``x_j w_j − l_j w_j⁺ − h_j w_j⁻``, which is never negative.
    Relevance itself arrives at ``x``, not what is to be multiplied by it.

    Parameters
    ----------
    y
        What the layer has returned for ``x``, with its bias.
    low, high
        The least and the greatest value of each input, of the shape of ``x``.
    """
    found: Tensor = _Box.apply(x, y.detach(), low, high, weight, of)
    return found


class _Held(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        return (y / x).nan_to_num_(0.0).mul_(gradient), None  # 0 / 0 is 0


def identity_rule(x: Tensor, y: Tensor) -> Tensor:
    """An activation of each value for itself: ``y = x · held(y / x)``."""
    found: Tensor = _Held.apply(x, y.detach())
    return found


class _Part(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        ctx.share = share
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.share, None


def part(x: Tensor, share: float = 0.5) -> Tensor:
    """The same values, with a share of what arrives: of two factors each gets one half.

    Achtibat et al. 2024 (AttnLRP).
    """
    found: Tensor = _Part.apply(x, share)
    return found


def product(first: Tensor, second: Tensor) -> Tensor:
    """A matrix product; by halves where both factors depend on the picture."""
    if first.requires_grad and second.requires_grad:
        first, second = part(first), part(second)
    return first @ second


Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def attention(query: Tensor, key: Tensor, value: Tensor, run: Attention) -> Tensor:
    """``softmax(q kᵀ) v``: products by halves, the softmax by its gradient (AttnLRP).

    Half of what arrives goes to the values and half to the weights, and of that each half to
    queries and keys. Shares are factors of the plain gradient, so fused attention can be used.
    The softmax's gradient does not conserve relevance.

    Parameters
    ----------
    query, key, value : (..., tokens, channels)
    run
        Attention itself.
    """
    of_scores = 0.25 if query.requires_grad and key.requires_grad else 0.5
    return run(part(query, of_scores), part(key, of_scores), part(value))


class _LayerNorm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shape: tuple[int, ...],
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        y, _, scale = torch.native_layer_norm(x, shape, weight, bias, eps)
        ctx.save_for_backward(scale, weight)
        ctx.dims = tuple(range(-len(shape), 0))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scale, weight = ctx.saved_tensors
        scaled = gradient * scale
        scaled = scaled if weight is None else scaled.mul_(weight)
        return scaled - scaled.mean(ctx.dims, keepdim=True), None, None, None, None


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Layer norm over the last axes, with its deviation held: the mean alone has a gradient."""
    found: Tensor = _LayerNorm.apply(x, tuple(shape), weight, bias, eps)
    return found


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float) -> Tensor:
    """The norm by the root of the mean square over the last axes, with that root held."""
    dims = tuple(range(-len(tuple(shape)), 0))
    normed = x * (x.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
    return normed if weight is None else normed * weight
