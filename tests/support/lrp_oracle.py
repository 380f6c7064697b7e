"""Layer-wise relevance propagation, slowly and in double precision.

Of every linear layer and convolution the contribution of each input to each output exists as a
number of its own, and is weighed as the rule is written. Other operations of the bare library
network are followed one by one.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tests.support.builders import CLASSES, VITS, Built, answer
from tests.support.pixel_oracles import Array, standardized, summed, view_of

AT_ONCE = 32
"""Places of a convolution whose contributions exist at the same time."""


def away(values: Tensor) -> Tensor:
    """ε added with the sign of the values."""
    return torch.where(values >= 0, values + 1e-6, values - 1e-6)


def gamma_gradient(
    x: Tensor, weight: Tensor, bias: Tensor | None, arrived: Tensor, gamma: float
) -> Tensor:
    """What is to be multiplied by ``x`` (rows, inputs), of what arrived at (rows, outputs)."""
    b = torch.zeros(len(weight), dtype=x.dtype) if bias is None else bias
    found = []
    for inputs, gradient in zip(x, arrived, strict=True):
        contributions = inputs * weight  # (outputs, inputs)
        y = contributions.sum(dim=1) + b
        same = torch.sign(contributions) * torch.where(y >= 0, 1.0, -1.0)[:, None]
        more = 1 + gamma * (same + 1) / 2  # 1 + γ of the output's own sign, 1 of the other
        own = torch.sign(b) * torch.where(y >= 0, 1.0, -1.0)
        whole = (contributions * more).sum(dim=1) + b * (1 + gamma * (own + 1) / 2)
        share = gradient * y / away(whole) if gamma else gradient  # y / y
        found.append((weight * more * share[:, None]).sum(dim=0))
    return torch.stack(found)


def box_relevance(
    x: Tensor, low: Tensor, high: Tensor, weight: Tensor, bias: Tensor | None, arrived: Tensor
) -> Tensor:
    """Relevance of ``x`` (rows, inputs) by z^B."""
    found = []
    for inputs, least, most, gradient in zip(x, low, high, arrived, strict=True):
        y = weight @ inputs + (0 if bias is None else bias)
        parts = inputs * weight
        parts = parts - least * weight.clamp(min=0) - most * weight.clamp(max=0)
        found.append((parts * (gradient * y / away(parts.sum(dim=1)))[:, None]).sum(dim=0))
    return torch.stack(found)


def with_backward(y: Tensor, *pairs: tuple[Tensor, Callable[[Tensor], Tensor]]) -> Tensor:
    """``y``, which hands on to each tensor what its function makes of what arrives."""

    class Given(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Tensor:
            return y.detach().clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Any:
            return tuple(function(gradient.detach()) for _, function in pairs)

    return Given.apply(*(tensor for tensor, _ in pairs))  # type: ignore[no-untyped-call, no-any-return]


def times(factor: Tensor | float) -> Callable[[Tensor], Tensor]:
    """Multiply by a factor."""
    return lambda gradient: gradient * factor


def half(x: Tensor) -> Tensor:
    """Half of what arrives."""
    return with_backward(x, (x, times(0.5)))


class Slow(TorchFunctionMode):
    """Follow the operations of a network."""

    def __init__(self, pixels: Tensor, low: Tensor, high: Tensor, vit: bool, layers: int) -> None:
        super().__init__()
        self.first: list[tuple[Tensor, Tensor, Tensor]] = [(pixels, low, high)]
        self.vit, self.layers, self.count = vit, layers, 0
        self.convolved: dict[int, tuple[Any, ...]] = {}
        self.alive: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        depends = [isinstance(one, Tensor) and one.requires_grad for one in args]
        name = func.__name__.strip("_")
        if not any(depends) and not isinstance(args[0] if args else None, list | tuple):
            return func(*args, **kwargs)
        kwargs.pop("inplace", None)
        of = self.pixels_of(args[0])
        if of is not None and name == "pad":
            padded = tuple(func(one, *args[1:], **kwargs) for one in of)
            self.first.append(padded)  # type: ignore[arg-type]
            return padded[0]
        if name in ("iadd", "add") and len(args) > 1 and isinstance(args[1], Tensor):
            return torch.add(*args[:2])
        if name == "linear":
            named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            return self.linear(named["input"], named["weight"], named.get("bias"))
        if name == "conv2d":
            return self.convolution(*args, **kwargs)
        if name == "batch_norm":
            return self.batch_norm(*args, **kwargs)
        if name in ("layer_norm", "rms_norm", "group_norm"):
            return self.norm(name, func, *args, **kwargs)
        if name in ("gelu", "silu", "relu", "relu6", "hardtanh", "hardswish", "tanh"):
            x = args[0]
            more = args[1:3] if name == "hardtanh" else ()
            plain = getattr(functional, name, torch.tanh)
            y = plain(x.detach(), *more, **({} if name != "gelu" else kwargs))
            return with_backward(y, (x, times(torch.where(x == 0, 0.0, y / x).detach())))
        if name in ("sigmoid", "hardsigmoid"):
            return (torch.sigmoid if name == "sigmoid" else functional.hardsigmoid)(
                args[0].detach()
            )
        if name in ("mul", "rmul", "imul", "matmul"):
            first, second = args[:2]
            if all(depends[:2]):
                first, second = half(first), half(second)
            return first @ second if name == "matmul" else torch.mul(first, second)
        if name == "scaled_dot_product_attention":
            return self.attention(*args[:3], **kwargs)
        if name == "multi_head_attention_forward":
            return self.multi_head(*args, **kwargs)
        return func(*args, **kwargs)

    def pixels_of(self, x: Any) -> tuple[Tensor, Tensor, Tensor] | None:
        """Bounds of a tensor that is still a picture."""
        return next((one for one in self.first if one[0] is x), None)

    def gamma(self, weight: Tensor, x: Tensor, convolution: bool) -> float:
        """The schedule."""
        place, self.count = self.count, self.count + 1
        if len(weight) == CLASSES and x.numel() == x.shape[1]:
            return 0.0
        if self.vit:
            return 0.25 if convolution else 0.01
        return 0.5 - 0.4 * place / max(1, self.layers - 1)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = functional.linear(x, weight, bias).detach()
        gamma, rows = self.gamma(weight, x, False), x.detach().reshape(-1, x.shape[-1])

        def back(arrived: Tensor) -> Tensor:
            flat = arrived.reshape(len(rows), -1)
            return gamma_gradient(rows, weight, bias, flat, gamma).reshape(x.shape)

        return with_backward(y, (x, back))

    def convolution(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        gamma: float | None = None,
    ) -> Tensor:
        y = functional.conv2d(x, weight, bias, stride, padding, dilation, groups).detach()
        gamma = self.gamma(weight, x, True) if gamma is None else gamma
        of = self.pixels_of(x)
        layout: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        layout["kernel_size"] = weight.shape[2:]
        wide = x.shape[1] // groups
        high = len(weight) // groups

        def back(arrived: Tensor) -> Tensor:
            parts = []
            for group in range(groups):
                ins, outs = (slice(group * n, group * n + n) for n in (wide, high))
                kernel = weight[outs].flatten(1)
                b = None if bias is None else bias[outs]
                columns = [
                    functional.unfold(one[:, ins].detach(), **layout)[0].T for one in (of or (x,))
                ]
                gradient = arrived[0, outs].flatten(1).T
                pieces = []
                for start in range(0, len(gradient), AT_ONCE):
                    some = slice(start, start + AT_ONCE)
                    given = [column[some] for column in columns]
                    if of and not self.vit:
                        found = box_relevance(*given, kernel, b, gradient[some])  # type: ignore[misc]
                    else:
                        found = gamma_gradient(given[0], kernel, b, gradient[some], gamma)
                        found = found * given[0] if of else found
                    pieces.append(found)
                folded = functional.fold(torch.cat(pieces).T[None], x.shape[2:], **layout)
                parts.append(folded)
            return torch.cat(parts, dim=1)

        result = with_backward(y, (x, back))
        self.alive.append(result)  # so that no other tensor has its number
        self.convolved[id(result)] = (x, weight, bias, stride, padding, dilation, groups, gamma)
        return result

    def batch_norm(
        self,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Any,
        bias: Any,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Tensor:
        scale = weight / torch.sqrt(variance + eps)
        if id(x) not in self.convolved:
            return x * scale.view(1, -1, 1, 1) + (bias - mean * scale).view(1, -1, 1, 1)
        before, kernel, old, *layout = self.convolved[id(x)]
        old = 0 if old is None else old
        folded = kernel * scale.view(-1, 1, 1, 1)
        return self.convolution(before, folded, (old - mean) * scale + bias, *layout)

    def norm(self, name: str, func: Any, *given: Any, **named: Any) -> Tensor:
        arguments = inspect.signature(func).bind(*given, **named)
        arguments.apply_defaults()
        x, shape, *rest = arguments.args
        y = func(x.detach(), shape, *rest).detach()
        dims = tuple(range(-len(shape), 0)) if name != "group_norm" else ()
        assert dims, "no build has a group norm"
        weight, eps = rest[0], rest[-1]
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        centered = x.detach() - (x.detach().mean(dims, True) if name == "layer_norm" else 0)
        deviation = torch.sqrt((centered**2).mean(dims, True) + eps)

        def back(arrived: Tensor) -> Tensor:
            scaled = arrived * weight / deviation
            return scaled - scaled.mean(dims, True) if name == "layer_norm" else scaled

        return with_backward(y, (x, back))

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
        enable_gqa: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        if query.shape[-3] != key.shape[-3]:
            count = query.shape[-3]
            key, value = (
                one.expand(*one.shape[:-3], count, *one.shape[-2:]) for one in (key, value)
            )
        scale = scale or 1 / np.sqrt(query.shape[-1])
        if query.requires_grad:
            query, key = half(query), half(key)
        scores = torch.einsum("...qc,...kc->...qk", query, key) * scale
        weights = torch.softmax(scores if attn_mask is None else scores + attn_mask, dim=-1)
        return torch.einsum("...qk,...kc->...qc", half(weights), half(value))

    def multi_head(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        width: int,
        heads: int,
        *rest: Any,
        **_: Any,
    ) -> Any:
        weight, bias, *_, out_weight, out_bias = rest[:8]
        parts = self.linear(query, weight, bias).chunk(3, dim=-1)
        each = width // heads
        gathered = [
            self.attention(
                *(part[..., head * each :][..., :each].transpose(0, 1) for part in parts)
            )
            for head in range(heads)
        ]
        return self.linear(torch.cat(gathered, -1).transpose(0, 1), out_weight, out_bias), None


def lrp(case: Built, pixels: Tensor, targets: Sequence[int], patch: int | None = None) -> Array:
    """Relevance of pixels, summed over channels and cells."""
    net, maps, layers = copy.deepcopy(case.bare).double(), [], 0
    for one, target in zip(pixels, targets, strict=True):
        view = view_of(case, one)
        exact = standardized(case, view)[None]
        low, high = (standardized(case, np.full_like(view, v))[None] for v in (0.0, 255.0))
        for _ in range(2):  # the first time tells how many layers there are
            leaf = exact.clone().requires_grad_()
            slow = Slow(leaf, low, high, case.name in VITS, layers)
            with slow:
                logits = answer(net, leaf)
            layers = slow.count
        torch.testing.assert_close(logits, answer(net, exact))
        (found,) = torch.autograd.grad(logits[0, target], leaf)
        maps.append(summed(case, view, found[0], patch))
    return np.stack(maps)
