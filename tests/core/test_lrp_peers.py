"""Layer-wise relevance propagation of the embedded pair against zennit and lxt.

Both packages hand on relevance itself in place of gradients, so zennit's hooks on layers and lxt's
functions between them work together. They run twins of the networks in double precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from PIL import Image
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import Composite
from zennit.layer import Sum
from zennit.rules import Epsilon, Gamma, Norm, Pass, ZBox

import core
from core.models import Model
from core.pictures import samples
from tests.support.builders import GIVEN

TARGET = 285
SIDE = 112
"""Of the picture in pixels; a multiple of the ViT's patches."""


def photograph(model: Model) -> Image.Image:
    """The picture of the cat, small."""
    image = core.read_image(next(one for one in samples() if one.id == "chelsea").path)
    return model.view(image, core.Framing("crop", SIDE))


def bounds(model: Model) -> list[Tensor]:
    """Black and white as the network gets them."""
    return [model.standardize(torch.full((1, 3, 1, 1), value)).double() for value in (0.0, 1.0)]


def relevance(model: Model, twin: nn.Module, rules: Iterable[tuple[str, Any]], run: Any) -> Any:
    """What a twin hands on to the pixels, with a rule for each of its layers."""
    pixels = model.pixels(photograph(model), GIVEN).double().requires_grad_()
    named = dict(rules)
    composite = Composite(lambda context, name, module: named.get(name))
    with composite.context(twin):
        logits = run(pixels)
        (found,) = torch.autograd.grad(logits[0, TARGET], pixels, logits[0, TARGET].detach())
    return found[0].sum(dim=0).numpy()


def assert_near(model: Model, expected: npt.NDArray[np.float64]) -> None:
    """Equal but for the digits that either package's ε and single precision cost."""
    found = core.explain(model, photograph(model), "lrp", TARGET, framing=GIVEN, level="pixels")
    apart = np.abs(found.relevance - expected).max()
    assert apart < 1e-3 * np.abs(expected).max()


def test_convolutional_network_against_zennit() -> None:
    model = core.open_model("efficientnet-lite0", "cpu")
    twin = timm.create_model("tf_efficientnet_lite0")
    twin.load_state_dict(model.module.state_dict())
    twin.double().eval()
    before = None
    for module in list(twin.modules()):
        if isinstance(module, nn.Conv2d):
            before = module
        elif isinstance(module, BatchNormAct2d):
            SequentialMergeBatchNorm().merge_batch_norm((before,), module)
            module.forward = partial(type(module.act).__call__, module.act)
        elif getattr(module, "has_skip", False):
            module.forward = MethodType(with_sum, module)
            module.both = Sum()
    layers = [n for n, m in twin.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    slope = (0.5 - 0.1) / (len(layers) - 1)
    rules = {name: Gamma(0.5 - slope * place) for place, name in enumerate(layers)}
    low, high = bounds(model)
    rules[layers[0]], rules[layers[-1]] = ZBox(low, high), Epsilon()
    for name, module in twin.named_modules():
        if isinstance(module, nn.ReLU6):
            rules[name] = Pass()
        elif isinstance(module, Sum) or name == "global_pool.pool":
            rules[name] = Norm()
    assert_near(model, relevance(model, twin, rules.items(), twin))


def with_sum(self: Any, x: Tensor) -> Tensor:
    """A block of inverted residuals whose sum is a layer."""
    made = self.bn1(self.conv_pw(x))
    made = self.bn3(self.conv_pwl(self.bn2(self.conv_dw(made))))
    return self.both(torch.stack([made, x], dim=-1))


def test_transformer_against_lxt() -> None:
    lxt = pytest.importorskip("lxt.explicit.functional")
    matmul, add = (partial(one, epsilon=1e-12) for one in (lxt.matmul, lxt.add2))
    model = core.open_model("dinov2-small", "cpu")
    twin = timm.create_model("vit_small_patch14_dinov2", num_classes=1000, dynamic_img_size=True)
    twin.load_state_dict(model.module.state_dict())
    twin.double().eval()
    rules: dict[str, Any] = {
        name: Gamma(0.01) for name, one in twin.named_modules() if isinstance(one, nn.Linear)
    }
    rules |= {name: Pass() for name, one in twin.named_modules() if isinstance(one, nn.GELU)}
    rules |= {"patch_embed.proj": Gamma(0.25), "head": Epsilon()}

    def norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
        return lxt.layer_norm(x, module.weight.detach(), module.bias.detach(), module.eps)

    def attention(module: Any, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = module.qkv(x).reshape(batch, tokens, 3, module.num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = matmul(lxt.mul2(query, module.scale), key.transpose(-2, -1))
        gathered = matmul(lxt.softmax(scores, -1), value)
        return module.proj(gathered.transpose(1, 2).reshape(batch, tokens, width))

    def run(pixels: Tensor) -> Tensor:
        patches = twin.patch_embed(pixels)
        places = twin._pos_embed(torch.zeros_like(patches)).detach()
        tokens = functional.pad(patches.flatten(1, 2), (0, 0, 1, 0))
        x = add(tokens, places)
        for block in twin.blocks:
            made = attention(block.attn, norm(block.norm1, x))
            x = add(x, lxt.mul2(made, block.ls1.gamma.detach()))
            made = block.mlp(norm(block.norm2, x))
            x = add(x, lxt.mul2(made, block.ls2.gamma.detach()))
        return twin.head(norm(twin.norm, x)[:, 0])

    assert_near(model, relevance(model, twin, rules.items(), run))
