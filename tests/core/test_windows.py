"""Swin: stages with channels last, and attention within shifted windows."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import core
from core.errors import ParameterError, UnsupportedMethod
from core.models.preprocessing import Preprocessing
from core.models.windowed import Cut, WindowedNet
from tests.support.builders import (
    CLASSES,
    GIVEN,
    Built,
    as_model,
    close,
    picture,
    pixels_of,
    sentence,
    shake,
)
from tests.support.window_oracles import window_attention

SIDE = 32


def timm_swin(**options: object) -> nn.Module:
    """A Swin of timm: 16 × 16 and 8 × 8 places, windows of 4 × 4."""
    from timm.models.swin_transformer import SwinTransformer

    settings: dict[str, Any] = {
        "img_size": SIDE,
        "patch_size": 2,
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (2, 4),
        "window_size": 4,
        "num_classes": CLASSES,
        "strict_img_size": False,
    }
    return SwinTransformer(**(settings | options))


def torchvision_swin() -> nn.Module:
    """The same of torchvision."""
    from torchvision.models.swin_transformer import SwinTransformer

    return SwinTransformer([2, 2], 8, [2, 2], [2, 4], [4, 4], num_classes=CLASSES)


MAKE = {
    "timm": timm_swin,
    "timm, own size only": lambda: timm_swin(strict_img_size=True),
    "torchvision": torchvision_swin,
}
WINDOWS = [f"window.{i}.attention" for i in range(4)]
SIZES = {"own": (SIDE, SIDE), "no whole number of windows": (36, 44)}


@cache
def opened(name: str) -> Built:
    """One of the networks with biases that matter, opened once."""
    bare = shake(MAKE[name](), scale=0.5).requires_grad_(False)
    model = as_model(
        copy.deepcopy(bare), preprocessing=Preprocessing(size=SIDE), title=f"Tiny {name}"
    )
    return Built(name, model, bare)


@pytest.mark.parametrize("name", MAKE)
def test_a_swin_opens_with_its_stages_and_windows(name: str) -> None:
    model = opened(name).model
    assert isinstance(model, WindowedNet)
    assert [tap for tap in model.taps if tap.startswith("window.")] == WINDOWS
    assert [model.tap(tap).heads for tap in WINDOWS] == [2, 2, 4, 4]
    assert {"cam", "grad_cam", "window_attention", "occlusion"} <= {
        method.name for method in core.methods(model)
    }
    assert "attention within windows, which is shown layer by layer" in model.limits
    for call in (
        lambda: core.attention(model, picture(8, 8), GIVEN),
        lambda: core.explain(model, picture(8, 8), "rollout", framing=GIVEN),
    ):
        with pytest.raises(UnsupportedMethod) as caught:
            call()
        assert "it cannot be followed across layers" in sentence(caught)


@pytest.mark.parametrize("layer", WINDOWS)
@pytest.mark.parametrize(
    ("name", "size"),
    [(name, size) for name in MAKE for size in SIZES if "only" not in name or size == "own"],
)
def test_attention_within_windows(name: str, size: str, layer: str) -> None:
    case = opened(name)
    rows, cols = (side // 4 for side in SIZES[size])
    images = [picture(rows, cols, seed) for seed in (0, 1)]
    for head in (None, 1):
        found = core.explain(
            case.model, images, "window_attention", framing=GIVEN, layer=layer, head=head
        )
        wanted = window_attention(case, pixels_of(case, images), [], layer=layer, head=head)
        for one, values in zip(found, wanted, strict=True):
            close(one.relevance, values, 2e-5)
            assert one.relevance.std() > 1e-3
            assert one.target is None


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_every_window_sums_to_one_where_it_lies(name: str) -> None:
    model = opened(name).model
    for layer, shift in (("window.0.attention", 0), ("window.1.attention", 2)):
        found = core.explain(
            model, picture(8, 8), "window_attention", framing=GIVEN, layer=layer
        ).relevance
        turned = np.roll(found, (-shift, -shift), (0, 1))
        sums = turned.reshape(4, 4, 4, 4).sum(axis=(1, 3))
        np.testing.assert_allclose(sums, 1, rtol=1e-5)


@pytest.mark.parametrize("pads_first", [True, False])
def test_cutting_is_undone(pads_first: bool) -> None:
    cut = Cut((7, 10), (4, 3), (2, 1), pads_first)
    values = torch.arange(2 * 7 * 10 * 3, dtype=torch.float32).reshape(2, 7, 10, 3)
    windows = cut.windows(values)
    assert windows.shape == (2, 2 * 4, 12, 3)
    assert torch.equal(cut.places(windows), values)


@pytest.mark.parametrize("name", MAKE)
def test_grad_cam_of_a_swin(name: str) -> None:
    case = opened(name)
    module: Any = copy.deepcopy(case.bare).double()
    image = picture(8, 8)
    layer = case.model.layers[-1]
    seen: list[torch.Tensor] = []
    module.get_submodule(layer.module).register_forward_hook(
        lambda _module, _args, output: seen.append(output)
    )
    logits = module(case.model.pixels(image, GIVEN).double().requires_grad_())
    (gradient,) = torch.autograd.grad(logits[0, 3], seen[0])
    wanted = (gradient.relu() * seen[0]).sum(dim=3).relu()[0].detach()
    found = core.explain(case.model, image, "layer_cam", 3, framing=GIVEN, layer=layer.name)
    close(found.relevance, wanted, 2e-5)
    cam = core.explain(case.model, image, "cam", 3, framing=GIVEN)
    assert cam.prediction is not None
    head = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    bias = float(head.bias[3])
    close(cam.relevance.mean() + bias, cam.prediction.logits[3], 1e-4)


def test_logits_are_the_bare_ones() -> None:
    for name in MAKE:
        case = opened(name)
        recording = core.record(case.model, picture(8, 8), GIVEN, core.Needs(case.model.taps))
        assert recording.logits is not None
        assert torch.equal(recording.logits, case.bare(recording.pixels))
        for tap in WINDOWS:
            assert recording.tensor(tap).shape[2:] == case.model.grid_of(tap, (SIDE, SIDE))


def test_a_head_that_a_layer_lacks_is_refused() -> None:
    model = opened("timm").model
    with pytest.raises(ParameterError, match=r"head is 3, and window.0.attention has 2; choose 0"):
        core.explain(model, picture(8, 8), "window_attention", layer="window.0.attention", head=3)
    with pytest.raises(UnsupportedMethod, match="holds attention, which is computed beside"):
        core.maximize(model, core.conv_channel("window.0.attention", 0), size=SIDE, steps=1)
    with pytest.raises(ParameterError, match="No gradient is available"):
        core.record(model, picture(8, 8), needs=core.Needs([], ["window.0.attention"]))


def test_windows_that_are_not_what_is_rebuilt_are_not_shown() -> None:
    module: Any = shake(timm_swin())
    module.layers[1].blocks[0].attn.scale *= 2
    model = as_model(module, preprocessing=Preprocessing(size=SIDE), title="Tiny")
    assert type(model) is core.ConvNet
    assert "Attention of Tiny (SwinTransformer) is not shown" in model.limits
    assert "window_attention" not in {method.name for method in core.methods(model)}
