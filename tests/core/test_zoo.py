"""Networks as the libraries have them: what is shown of one is right, or it is not shown.

Architectures at their real size where that is cheap, else with fewer or narrower layers; weights
are noise. A bare twin, which never had a probe, says what is right.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core.errors import (
    ImageError,
    ParallaxError,
    ParameterError,
    UnsupportedMethod,
    UnsupportedModel,
)
from core.methods.attention_flow import MOST_CELLS
from core.methods.registry import all_methods
from core.models.biased_vit import BiasedVit
from core.models.huggingface_vit import HuggingFaceVit
from core.models.pixels_only import PixelsOnly
from core.models.preprocessing import Preprocessing
from core.models.rotary_vit import RotaryVit
from core.models.timm_vit import TimmVit
from core.models.windowed import WindowedNet
from core.recording.transformer import TransformerRecording
from tests.support.builders import (
    CLASSES,
    GIVEN,
    SIDE,
    answer,
    as_model,
    close,
    huggingface_vit,
    sentence,
    shake,
    timm_vit,
)

pytestmark = pytest.mark.slow

TARGET = 3


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture of noise."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def timm_network(name: str, **options: object) -> nn.Module:
    """A network of timm by its name there; older releases lack the newest."""
    import timm

    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    torch.manual_seed(0)
    module: nn.Module = timm.create_model(name, num_classes=CLASSES, **options)
    return module


def on_paper(name: str, **options: object) -> nn.Module:
    """The same without memory for its weights."""
    with torch.device("meta"):
        return timm_network(name, **options)


def torchvision_network(name: str) -> nn.Module:
    """A network of torchvision by its name there."""
    import torchvision

    torch.manual_seed(0)
    own = {"init_weights": False} if name == "googlenet" else {}
    module: nn.Module = torchvision.models.get_model(name, num_classes=CLASSES, **own)
    return module


def with_spread(module: nn.Module) -> nn.Module:
    """Zeros and ones of a fresh network become values that would be noticed."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if tensor.ndim < 2 or bool((tensor.abs() < 1e-3).all()):
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(
                    (1.0 if name.endswith("weight") and tensor.ndim < 2 else 0) + noise / 5
                )
    return module.eval()


# -- convolutional networks -----------------------------------------------------------------------


@dataclass(frozen=True)
class Convolutional:
    """What is known of a network.

    Attributes
    ----------
    last
        Channels and places of the layer that is looked at unless another is chosen, at ``side``.
    cam
        Whether one linear layer follows the mean over places, also as a convolution.
    pooling
        Path of the module that pools; empty where a plain function does.
    any_size
        Whether inputs of other sizes than ``side`` are possible.
    """

    make: Callable[[], nn.Module]
    last: tuple[int, tuple[int, int]]
    cam: bool = False
    pooling: str = ""
    side: int = 224
    any_size: bool = True


def narrow_vgg() -> nn.Module:
    """A VGG of timm with few channels; its head is wide and cannot be narrowed."""
    from timm.models.vgg import VGG

    torch.manual_seed(0)
    return VGG([8, "M", 12, "M", 16, "M", 20, "M", 24, "M"], num_classes=CLASSES)


def narrow_nest() -> nn.Module:
    """A NesT of timm with few channels; it takes one size only."""
    from timm.models.nest import Nest

    torch.manual_seed(0)
    return Nest(
        num_levels=3,
        embed_dims=(24, 48, 96),
        num_heads=(1, 2, 4),
        depths=(1, 1, 1),
        num_classes=CLASSES,
    )


def huggingface_convnet(kind: str) -> nn.Module:
    """A small convolutional classifier of transformers."""
    import transformers

    own = {"embedding_size": 8} if kind == "ResNet" else {}
    config = getattr(transformers, f"{kind}Config")(
        hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], num_labels=CLASSES, **own
    )
    module: nn.Module = getattr(transformers, f"{kind}ForImageClassification")(config)
    return module


CONVOLUTIONAL: dict[str, Convolutional] = {
    # What enters its pooling is one place, of which no map can be made.
    "vgg": Convolutional(narrow_vgg, (24, (7, 7))),
    "resnetv2": Convolutional(
        lambda: timm_network("resnetv2_18"), (512, (7, 7)), cam=True, pooling="head.global_pool"
    ),
    "efficientvit": Convolutional(
        lambda: timm_network("efficientvit_b0"), (1024, (7, 7)), pooling="head.global_pool"
    ),
    "efficientvit_m": Convolutional(
        lambda: timm_network("efficientvit_m0"), (192, (4, 4)), pooling="global_pool"
    ),
    "inception_next": Convolutional(
        lambda: timm_network("inception_next_atto"), (320, (7, 7)), pooling="head.global_pool"
    ),
    "starnet": Convolutional(
        lambda: timm_network("starnet_s050"), (128, (7, 7)), cam=True, pooling="global_pool"
    ),
    "nest": Convolutional(
        narrow_nest,
        (96, (14, 14)),
        cam=True,
        pooling="global_pool",
        any_size=False,
    ),
    "legacy_seresnet": Convolutional(
        lambda: timm_network("legacy_seresnet18"), (512, (7, 7)), cam=True, pooling="global_pool"
    ),
    # Its inner stages return lists of maps.
    "hrnet": Convolutional(
        lambda: timm_network("hrnet_w18_small"), (2048, (7, 7)), cam=True, pooling="global_pool"
    ),
    "dpn": Convolutional(
        lambda: timm_network("dpn48b"), (832, (7, 7)), cam=True, pooling="global_pool"
    ),
    # No module pools.
    "efficientformerv2": Convolutional(
        lambda: timm_network("efficientformerv2_s0"), (176, (7, 7)), any_size=False
    ),
    "torchvision mobilenet_v2": Convolutional(
        lambda: torchvision_network("mobilenet_v2"), (1280, (7, 7)), cam=True
    ),
    # The output of its last module is changed in place, so that of the one before it is looked at.
    "torchvision densenet": Convolutional(
        lambda: torchvision_network("densenet121"), (1024, (7, 7))
    ),
    # Every second of its modules has its output changed in place.
    "torchvision squeezenet": Convolutional(
        lambda: torchvision_network("squeezenet1_1"), (512, (13, 13))
    ),
    "torchvision googlenet": Convolutional(
        lambda: torchvision_network("googlenet"), (1024, (7, 7)), cam=True, pooling="avgpool"
    ),
    "hf resnet": Convolutional(lambda: huggingface_convnet("ResNet"), (24, (7, 7)), cam=True),
    "hf convnext": Convolutional(lambda: huggingface_convnet("ConvNext"), (24, (7, 7))),
}


@dataclass(frozen=True, eq=False)
class Pair:
    """An opened network and its bare twin."""

    model: core.Model
    twin: nn.Module


@cache
def convolutional(name: str) -> Pair:
    """One of the convolutional networks, opened once."""
    known = CONVOLUTIONAL[name]
    twin = shake(known.make()).requires_grad_(False)
    model = as_model(
        copy.deepcopy(twin), "cnn", preprocessing=Preprocessing(size=known.side), title=name
    )
    assert isinstance(model, core.ConvNet)
    return Pair(model, twin)


def seen_by_twin(name: str, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What plain hooks see at the taps, and the logits; both with a graph."""
    pair, pooling = convolutional(name), CONVOLUTIONAL[name].pooling
    twin = copy.deepcopy(pair.twin)
    found: dict[str, Tensor] = {}

    def keep(tap: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, output: Any = None) -> None:
            found[tap] = args[0] if output is None else output

        return hook

    for layer in pair.model.layers:
        twin.get_submodule(layer.module).register_forward_hook(keep(layer.name))
    if pooling:
        twin.get_submodule(pooling).register_forward_pre_hook(keep("head.input"))
    elif "head.input" in pair.model.taps:
        last = pair.model.layers[-1].module
        twin.get_submodule(last).register_forward_hook(keep("head.input"))
    logits = answer(twin, pixels.clone().requires_grad_())
    return found, logits


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_taps_of_a_convolutional_network_are_what_it_computes(name: str) -> None:
    known, model = CONVOLUTIONAL[name], convolutional(name).model
    shapes = [(64, 96), (96, 64)] if known.any_size else [(known.side, known.side)]
    for height, width in shapes:
        image = noise(height, width)
        recording = core.record(model, image, GIVEN, core.Needs(model.taps))
        found, logits = seen_by_twin(name, recording.pixels)
        assert recording.logits is not None
        assert torch.equal(recording.logits, logits.detach())
        assert found.keys() >= model.taps.keys()
        for tap, declared in model.taps.items():
            assert declared.axes == ("batch", "channel", "row", "column")
            tensor = recording.tensor(tap)
            assert torch.equal(tensor, found[tap].detach()), tap
            assert tensor.shape == (1, declared.channels, *model.grid_of(tap, (height, width)))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_methods_of_a_convolutional_network(name: str) -> None:
    known, model = CONVOLUTIONAL[name], convolutional(name).model
    offered = {method.name: method for method in core.methods(model)}
    assert offered.keys() >= {"grad_cam", "grad_cam_plus_plus", "hirescam", "layer_cam"}
    assert ("cam" in offered) == known.cam
    layer = offered["grad_cam"].parameters_for(model)[0]
    assert layer.name == "layer"
    channels, grid = known.last
    assert model.taps[layer.default].channels == channels
    assert model.grid_of(layer.default, (known.side, known.side)) == grid
    assert all(min(model.grid_of(tap, (known.side,) * 2)) >= 2 for tap in layer.options)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_maps_of_a_convolutional_network(name: str) -> None:
    """Grad-CAM at the last two taps against the formula on the twin, CAM against the logits."""
    known, model = CONVOLUTIONAL[name], convolutional(name).model
    images = [noise(known.side, known.side, seed) for seed in (0, 1)]
    recording = core.record(model, images, GIVEN, core.Needs(model.taps))
    found, logits = seen_by_twin(name, recording.pixels)
    assert recording.logits is not None
    for tap in list(model.taps)[-2:]:
        maps = core.explain(model, recording, "grad_cam", TARGET, layer=tap)
        (gradient,) = torch.autograd.grad(
            logits[:, TARGET].sum(), found[tap], retain_graph=True, materialize_grads=True
        )
        parts = gradient.mean(dim=(2, 3), keepdim=True) * found[tap]
        wanted = parts.sum(dim=1).relu().detach().numpy()
        largest = float(parts.detach().abs().sum(dim=1).max())
        np.testing.assert_allclose([e.relevance for e in maps], wanted, atol=1e-5 * largest)
    if known.cam:
        maps = core.explain(model, recording, "cam", TARGET)
        biases = [
            float(logit) - float(one.relevance.mean())
            for logit, one in zip(recording.logits[:, TARGET], maps, strict=True)
        ]
        assert biases[0] == pytest.approx(biases[1], abs=1e-4 * float(recording.logits.abs().max()))
        difference = np.abs(maps[0].relevance - maps[1].relevance).max()
        assert difference > 1e-2 * np.abs(maps[0].relevance).max()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("size", [(224, 224), (192, 256)])
def test_other_sizes_are_taken_or_refused_in_a_sentence(name: str, size: tuple[int, int]) -> None:
    known, model = CONVOLUTIONAL[name], convolutional(name).model
    image = noise(*size)
    if known.any_size or size == (known.side, known.side):
        recording = core.record(model, image, GIVEN, core.Needs(model.taps))
        for layer in model.layers:
            assert recording.tensor(layer.name).shape[2:] == layer.grid(size)
        return
    for call in (
        lambda: core.explain(model, image, "grad_cam", framing=GIVEN),
        lambda: model.layers[-1].grid(size),
    ):
        with pytest.raises(ImageError) as caught:
            call()
        assert "256 × 192 pixels" in sentence(caught)
        assert "choose another fit or size" in sentence(caught)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_tiny_pictures_are_taken_or_refused_in_a_sentence(name: str) -> None:
    model = convolutional(name).model
    for side in (4, 16, 40):
        places, told = 0, ""
        try:
            found = core.explain(model, noise(side, side), "grad_cam", TARGET, framing=GIVEN)
            places = min(found.relevance.shape)
        except (ImageError, ParameterError) as error:
            told = str(error)
        assert places >= 2 or "choose" in told


def test_linear_head_is_not_found_for_its_bias_alone() -> None:
    """A norm after the pooling, and a bias beside which all else is next to nothing."""
    module = shake(ChannelsLast(False))
    module.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.GroupNorm(1, 8))
    with torch.no_grad():
        module.fc.bias += 1e5  # type: ignore[union-attr, operator]
    model = as_model(module.eval(), "cnn", preprocessing=Preprocessing(size=32))
    assert "cam" not in {method.name for method in core.methods(model)}


# -- layouts that are no maps of (channels, rows, columns) ----------------------------------------


class ChannelsLast(nn.Module):
    """Layer 1 returns rows, columns and channels, 8 of each; layer 2 and the pooling a map."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.fixed = fixed
        self.layer1 = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), Turn(0, 2, 3, 1))
        self.layer2 = nn.Sequential(Turn(0, 3, 1, 2), nn.Conv2d(8, 8, 3, padding=1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        if self.fixed:
            assert pixels.shape[2:] == (32, 32)
        return self.fc(self.avgpool(self.layer2(self.layer1(pixels))).flatten(1))


class Turn(nn.Module):
    """Change the order of the axes."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, tensor: Tensor) -> Tensor:
        """The same values."""
        return tensor.permute(*self.order)


def test_channels_are_where_the_table_says() -> None:
    model = as_model(shake(ChannelsLast(False)), "cnn", preprocessing=Preprocessing(size=32))
    assert list(model.taps) == ["stage.0", "stage.1", "head.input"]
    assert {model.grid_of(tap, (32, 64)) for tap in model.taps} == {(8, 16)}
    # At 32 pixels there are as many channels as rows and columns; another width tells them apart.
    first = core.record(model, noise(32, 64), GIVEN, core.Needs(["stage.0"]))
    assert core.features(model, first, "stage.0").shape == (8, 8, 16)
    image = noise(32, 64)
    assert core.explain(model, image, "cam", 1, framing=GIVEN).relevance.shape == (8, 16)


class ChangedInPlace(nn.Module):
    """What layer 2 returns is overwritten by layer 3, so only layers 1 and 3 can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 6, 4, stride=4)
        self.layer2 = nn.Conv2d(6, 8, 3, padding=1)
        self.layer3 = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer3(self.layer2(self.layer1(pixels)))).flatten(1))


def test_a_layer_that_is_overwritten_is_not_offered() -> None:
    model = as_model(shake(ChangedInPlace()), "cnn", preprocessing=Preprocessing(size=32))
    assert list(model.taps) == ["stage.0", "stage.2", "head.input"]
    for tap in model.taps:
        assert core.explain(model, noise(32, 32), "grad_cam", 1, framing=GIVEN, layer=tap)


CHANNELS_LAST: dict[str, Callable[[], nn.Module]] = {
    "swinv2": lambda: timm_network(
        "swinv2_tiny_window8_256", depths=(1, 1, 1, 1), embed_dim=24, num_heads=(1, 2, 3, 4)
    ),
    "mambaout": lambda: timm_network("mambaout_femto", depths=(1, 1, 1, 1), dims=(8, 12, 16, 20)),
    "torchvision swin": lambda: torchvision_network("swin_t"),
    "torchvision swin v2": lambda: torchvision_network("swin_v2_t"),
}
"""Their stages return (rows, columns, channels)."""


@pytest.mark.parametrize("family", ["vit", "cnn"])
@pytest.mark.parametrize("name", CHANNELS_LAST)
def test_stages_with_channels_last_are_read_in_the_usual_order(name: str, family: str) -> None:
    twin = with_spread(CHANNELS_LAST[name]()).requires_grad_(False)
    side = 256 if "v2" in name else 224
    model = as_model(copy.deepcopy(twin), family, preprocessing=Preprocessing(size=side))
    assert type(model) is (WindowedNet if name == "torchvision swin" else core.ConvNet)
    image = noise(side, side)
    recording = core.record(model, image, GIVEN, core.Needs(model.taps))
    for layer in model.layers[-2:]:
        found: list[Tensor] = []
        seen = copy.deepcopy(twin)
        seen.get_submodule(layer.module).register_forward_hook(
            lambda _module, _args, output, found=found: found.append(output)
        )
        logits = answer(seen, recording.pixels.clone().requires_grad_())
        assert recording.logits is not None
        assert torch.equal(recording.logits, logits.detach())
        rows, cols = model.grid_of(layer.name, (side, side))
        assert found[0].shape == (1, rows, cols, layer.channels)
        (gradient,) = torch.autograd.grad(logits[0, TARGET], found[0])
        wanted = (gradient.mean(dim=(1, 2), keepdim=True) * found[0]).sum(dim=3).relu()
        explained = core.explain(model, recording, "grad_cam", TARGET, layer=layer.name)
        close(explained.relevance, wanted[0].detach(), 1e-4)


@pytest.mark.parametrize("name", ["hiera_tiny_224", "convit_tiny"])
def test_tokens_are_not_taken_for_a_map(name: str) -> None:
    options: dict[str, object] = {"depth": 1, "local_up_to_layer": 1}
    if name.startswith("hiera"):
        options = {"embed_dim": 24, "stages": (1, 1, 1, 1)}
    for family in ("cnn", "vit"):
        model = as_model(timm_network(name, **options), family, preprocessing=Preprocessing(224))
        assert isinstance(model, PixelsOnly)
        assert not model.taps


# -- vision transformers that are shown -----------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What is known of a vision transformer.

    Attributes
    ----------
    read
        What its classifier reads, as the note says it; empty for the class token alone.
    """

    make: Callable[[], nn.Module]
    kind: type[core.VisionTransformer]
    patch: int
    prefix: int
    read: str = ""
    side: int = 224


def gated() -> nn.Module:
    """A ViT of timm whose attention passes a gate before the output projection."""
    from timm.layers import Attention

    module: Any = timm_vit()
    for block in module.blocks:
        block.attn = Attention(12, num_heads=3, qkv_bias=True, gated=True)
        assert isinstance(block.attn.gate, nn.Linear)
    return module


def with_biases(module: nn.Module) -> nn.Module:
    """Biases of offsets so large that attention is another one without them."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if name.endswith("relative_position_bias_table"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return module


def distilled_huggingface() -> nn.Module:
    """DeiT with its teacher's head beside its own."""
    import transformers

    config = transformers.DeiTConfig(
        image_size=16,
        patch_size=4,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=24,
        num_labels=CLASSES,
    )
    return transformers.DeiTForImageClassificationWithTeacher(config)


PATCHES = "the mean of the patches"
POOLED = "the tokens as weighted by its attention pooling"
SHORT = {"depth": 2, "dynamic_img_size": True}
SHOWN: dict[str, Shown] = {
    "deit3": Shown(lambda: timm_network("deit3_small_patch16_224", **SHORT), TimmVit, 16, 1),
    "deit distilled": Shown(
        lambda: timm_network("deit_tiny_distilled_patch16_224", **SHORT),
        TimmVit,
        16,
        2,
        "the class and the distillation token, half each, as its two heads are averaged",
    ),
    "siglip": Shown(
        lambda: timm_network("vit_base_patch32_siglip_256", embed_dim=96, **SHORT),
        TimmVit,
        32,
        0,
        POOLED,
        side=256,
    ),
    "norm after the attention": Shown(
        lambda: timm_network("vit_base_patch16_rpn_224", embed_dim=96, **SHORT),
        TimmVit,
        16,
        0,
        PATCHES,
    ),
    "norm before the projection (BEiT-3)": Shown(
        lambda: timm_network("beit3_base_patch16_224", embed_dim=96, **SHORT),
        TimmVit,
        16,
        1,
        PATCHES,
    ),
    "gate before the projection": Shown(gated, TimmVit, 4, 1, side=16),
    # Hybrids: their patch is one of a feature map.
    "hybrid vit_tiny_r": Shown(
        lambda: timm_network("vit_tiny_r_s16_p8_224", **SHORT), TimmVit, 32, 1
    ),
    "hybrid resnet26d": Shown(
        lambda: timm_network("vit_small_resnet26d_224", **SHORT), TimmVit, 32, 1
    ),
    "hybrid mci": Shown(lambda: timm_network("vit_base_mci_224", **SHORT), TimmVit, 16, 1),
    "vitamin": Shown(lambda: timm_network("vitamin_small_224", **SHORT), TimmVit, 16, 0, PATCHES),
    "eva02": Shown(
        lambda: timm_network("eva02_tiny_patch14_224", **SHORT), RotaryVit, 14, 1, PATCHES
    ),
    "dinov3": Shown(
        lambda: timm_network("vit_small_patch16_dinov3", **SHORT), RotaryVit, 16, 5, PATCHES, 256
    ),
    "rope": Shown(lambda: timm_network("vit_small_patch16_rope_224", **SHORT), RotaryVit, 16, 1),
    "rope mixed": Shown(
        lambda: timm_network("vit_small_patch16_rope_mixed_224", **SHORT), RotaryVit, 16, 1
    ),
    "rope, attention pooling (PE)": Shown(
        lambda: timm_network("vit_pe_core_tiny_patch16_384", **SHORT),
        RotaryVit,
        16,
        1,
        POOLED,
        384,
    ),
    # Several queries share a key and a value.
    "rope, grouped queries": Shown(
        lambda: timm_network(
            "vit_small_patch16_rope_224",
            qkv_fused=False,
            num_kv_heads=2,
            **SHORT,
        ),
        RotaryVit,
        16,
        1,
    ),
    "beit": Shown(
        lambda: with_biases(timm_network("beit_base_patch16_224", depth=2, embed_dim=96)),
        BiasedVit,
        16,
        1,
        PATCHES,
    ),
    "beit v2, one bias for all": Shown(
        lambda: with_biases(
            timm_network(
                "beitv2_base_patch16_224",
                depth=2,
                embed_dim=96,
                use_rel_pos_bias=False,
                use_shared_rel_pos_bias=True,
            )
        ),
        BiasedVit,
        16,
        1,
        PATCHES,
    ),
    "relative positions": Shown(
        lambda: with_biases(timm_network("vit_relpos_small_patch16_224", depth=2)),
        BiasedVit,
        16,
        0,
        PATCHES,
    ),
    "relative positions by an MLP, shared": Shown(
        lambda: timm_network("vit_srelpos_small_patch16_224", depth=2), BiasedVit, 16, 0, PATCHES
    ),
    "hf vit": Shown(lambda: huggingface_vit("vit"), HuggingFaceVit, 4, 1, side=16),
    "hf deit": Shown(lambda: huggingface_vit("deit"), HuggingFaceVit, 4, 2, side=16),
    "hf deit distilled": Shown(
        distilled_huggingface,
        HuggingFaceVit,
        4,
        2,
        "the class and the distillation token, half each, as its two heads are averaged",
        side=16,
    ),
    "hf ijepa": Shown(lambda: huggingface_vit("ijepa"), HuggingFaceVit, 4, 0, PATCHES, side=16),
    "hf dinov2": Shown(
        lambda: huggingface_vit("dinov2"),
        HuggingFaceVit,
        4,
        1,
        "the class token and the mean of the patches, half each, which lie side by side before "
        "the classifier",
        side=16,
    ),
}


FIXED = {name for name in SHOWN if SHOWN[name].kind is BiasedVit}
"""Biases of offsets are for one grid of patches."""


@cache
def shown(name: str) -> Pair:
    """One of the vision transformers, opened once."""
    known = SHOWN[name]
    twin = with_spread(known.make()).requires_grad_(False)
    model = as_model(copy.deepcopy(twin), preprocessing=Preprocessing(size=known.side), title=name)
    assert type(model) is known.kind
    return Pair(model, twin)


def attention_of_twin(twin: Any, pixels: Tensor) -> list[Tensor]:
    """Attention of every block, as a copy without fused kernels gives it."""
    twin = copy.deepcopy(twin)
    if hasattr(twin, "config"):
        twin.set_attn_implementation("eager")
        told = "DINO" not in type(twin).__name__.upper()
        options = {"interpolate_pos_encoding": True} if told else {}
        return list(twin(pixels, output_attentions=True, **options).attentions)
    found: list[Tensor] = []
    for part in twin.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
    for block in twin.blocks:
        block.attn.attn_drop.register_forward_pre_hook(lambda _module, args: found.append(args[0]))
    twin(pixels)
    return found


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", SHOWN)
def test_attention_is_what_the_network_uses(name: str, wide: bool) -> None:
    known, pair = SHOWN[name], shown(name)
    assert isinstance(pair.model, core.VisionTransformer)
    assert (pair.model.patch, pair.model.prefix) == (known.patch, known.prefix)
    own = (known.side // known.patch,) * 2
    rows, cols = (2, 3) if wide and name not in FIXED else own
    image = noise(rows * known.patch, cols * known.patch)
    recording = core.record(pair.model, image, GIVEN, core.Needs(pair.model.taps))
    assert isinstance(recording, TransformerRecording)
    assert recording.grid == (rows, cols)
    with torch.no_grad():
        attention = attention_of_twin(pair.twin, recording.pixels)
    assert len(attention) == pair.model.depth
    for layer, wanted in enumerate(attention):
        close(recording.attention(layer), wanted)
        assert wanted.std() > 1e-4
    explanations = {
        method.name: core.explain(pair.model, recording, method.name)
        for method in core.methods(pair.model)
        if "cnn" not in method.serves
    }
    assert explanations.keys() >= {"attention", "rollout", "gradient_rollout", "legrad"}
    for name_of, explanation in explanations.items():
        merged = name_of == "attention_flow" and rows * cols > MOST_CELLS
        assert (explanation.relevance.shape == (rows, cols)) is not merged
        assert np.isfinite(explanation.relevance).all()


@pytest.mark.parametrize("name", sorted({*SHOWN, *CONVOLUTIONAL} - {"efficientvit"}))
def test_every_operation_of_a_network_has_a_rule_for_relevance(name: str) -> None:
    if name in SHOWN:
        model, side = shown(name).model, SHOWN[name].side
    else:
        model, side = convolutional(name).model, CONVOLUTIONAL[name].side
    image = noise(side, side)
    found = core.explain(model, image, "lrp", TARGET, framing=GIVEN, level="pixels").relevance
    assert found.shape == (side, side)
    assert np.isfinite(found).all()
    assert found.any()


def test_attention_that_divides_has_no_rule_for_relevance() -> None:
    reason = core.find_method("lrp").why_not(convolutional("efficientvit").model)
    assert reason is not None
    assert "because it divides by values that depend on the picture" in reason


@pytest.mark.parametrize("name", SHOWN)
def test_logits_are_the_bare_ones(name: str) -> None:
    known, pair = SHOWN[name], shown(name)
    image = noise(known.side, known.side)
    recording = core.record(pair.model, image, GIVEN)
    with torch.no_grad():
        assert recording.logits is not None
        assert torch.equal(recording.logits, answer(pair.twin, recording.pixels))


@pytest.mark.parametrize("name", SHOWN)
def test_note_says_what_the_classifier_reads(name: str) -> None:
    known, pair = SHOWN[name], shown(name)
    image = noise(known.side, known.side)
    notes = core.explain(pair.model, image, "rollout", framing=GIVEN).notes
    told = [note for note in notes if note.startswith("Read at ")]
    assert told == ([f"Read at {known.read}."] if known.read else [])


@pytest.mark.parametrize("name", SHOWN)
def test_one_patch_is_refused_in_a_sentence(name: str) -> None:
    known, pair = SHOWN[name], shown(name)
    with pytest.raises(ParallaxError) as caught:
        core.explain(pair.model, noise(known.patch, known.patch), "rollout", framing=GIVEN)
    assert "choose" in sentence(caught)


# -- networks whose attention is not shown --------------------------------------------------------


@dataclass(frozen=True)
class Outside:
    """A network of timm that is looked at from outside, and what the sentence says that it has."""

    words: str
    options: dict[str, object] = field(default_factory=dict)
    stages: bool = False


BIAS = "a bias for relative positions inside its attention"
WITHIN = "attention within windows"
OUTSIDE: dict[str, Outside] = {
    "cait_xxs24_224": Outside("ends with class-attention layers", {"depth": 2}),
    "coat_lite_tiny": Outside("factorized attention"),
    "convit_tiny": Outside("gates that mix its attention with positional attention"),
    "crossvit_tiny_240": Outside("two streams of patches with cross-attention"),
    "hiera_tiny_224": Outside("attention within windows, and pooling between its stages"),
    "levit_128s": Outside(f"{BIAS}, and pooling between its stages"),
    "mixer_s16_224": Outside("no attention"),
    "mvitv2_tiny": Outside("pooling inside its attention and between its stages"),
    "naflexvit_base_patch16_gap": Outside("patch sequences of any length", {"depth": 2}),
    "pvt_v2_b0": Outside("keys that represent several patches", stages=True),
    "samvit_base_patch16_224": Outside(WITHIN, {"depth": 2, "embed_dim": 96}, stages=True),
    "swinv2_tiny_window8_256": Outside(WITHIN, {"depths": (1, 1, 1, 1)}, stages=True),
    "tnt_s_legacy_patch16_224": Outside("a small transformer inside every patch", {"depth": 2}),
    "twins_pcpvt_small": Outside("keys that represent several patches"),
    "vit_base_patch16_xp_224": Outside(
        "blocks with one projection for attention and MLP", {"depth": 2, "embed_dim": 96}
    ),
    "vit_dwee_patch16_reg1_gap_256": Outside(
        "attention that is a difference of two softmaxes", {"depth": 2}
    ),
    "vit_small_patch16_18x2_224": Outside(
        "several parallel attention layers in a block", {"depth": 2}
    ),
    "volo_d1_224": Outside("outlook attention, without queries and keys"),
    "xcit_nano_12_p16_224": Outside("attention between channels, not between patches"),
}
FROM_OUTSIDE = {"occlusion", "rise", "integrated_gradients", "input_x_gradient", "smooth_grad"}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_needs_pixels_alone_serves_every_network(name: str) -> None:
    known = OUTSIDE[name]
    torch.manual_seed(0)
    twin = with_spread(timm_network(name, **known.options)).requires_grad_(False)
    side = int(twin.pretrained_cfg["input_size"][-1])  # type: ignore[union-attr, index]
    side = 224 if side == 384 else side
    model = as_model(copy.deepcopy(twin), preprocessing=Preprocessing(size=side), title="Mine")
    assert isinstance(model, core.ConvNet if known.stages else PixelsOnly)
    assert known.words in model.limits
    assert f"Mine ({type(twin).__name__})" in model.limits
    offered = {method.name for method in core.methods(model)}
    assert offered >= FROM_OUTSIDE
    assert known.stages or offered == FROM_OUTSIDE
    with pytest.raises(UnsupportedMethod) as caught:
        core.explain(model, noise(side, side), "rollout", framing=GIVEN)
    assert known.words in sentence(caught)
    image = noise(side, side)
    pixels = model.pixels(image, GIVEN).requires_grad_()
    logits = answer(twin, pixels)
    (gradient,) = torch.autograd.grad(logits[0, TARGET], pixels)
    found = core.explain(model, image, "input_x_gradient", TARGET, framing=GIVEN, patch=side // 8)
    wanted = (pixels * gradient).detach()[0].sum(dim=0).double()
    cells = wanted.unflatten(0, (8, -1)).unflatten(2, (8, -1)).sum(dim=(1, 3))
    close(found.relevance, cells, 1e-3)
    assert found.prediction is not None
    close(found.prediction.logits, logits[0].detach(), 1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda transformers: beit(transformers), BIAS),
        (lambda transformers: swin(transformers), WITHIN),
        (lambda transformers: clip(transformers), "one half of an image-text model"),
    ],
    ids=["beit", "swin", "clip"],
)
def test_transformers_that_are_looked_at_from_outside(
    make: Callable[[Any], nn.Module], words: str
) -> None:
    import transformers

    twin = with_spread(make(transformers)).requires_grad_(False)
    model = as_model(copy.deepcopy(twin), preprocessing=Preprocessing(size=16))
    assert isinstance(model, PixelsOnly)
    assert words in model.limits
    found = core.predict(model, noise(16, 16), framing=GIVEN)
    close(found.logits, twin(model.pixels(noise(16, 16), GIVEN)).logits[0], 1e-5)


def test_a_backbone_without_answers_is_refused() -> None:
    import transformers

    with pytest.raises(UnsupportedModel) as caught:
        as_model(dinov3(transformers), preprocessing=Preprocessing(size=16))
    assert "rotates queries and keys by position" in sentence(caught)
    assert "does not answer a picture with one number for each class" in sentence(caught)


TINY = {
    "image_size": 16,
    "patch_size": 4,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 24,
}


def beit(transformers: Any) -> nn.Module:
    """BEiT with a bias for relative positions, as its published checkpoints have it."""
    config = transformers.BeitConfig(**TINY, num_labels=CLASSES, use_relative_position_bias=True)
    module: nn.Module = transformers.BeitForImageClassification(config)
    return module


def dinov3(transformers: Any) -> nn.Module:
    """The backbone of DINOv3."""
    module: nn.Module = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**TINY))
    return module


def swin(transformers: Any) -> nn.Module:
    """A small Swin."""
    config = transformers.SwinConfig(
        image_size=16,
        patch_size=2,
        embed_dim=12,
        depths=[1, 1],
        num_heads=[1, 2],
        window_size=2,
        num_labels=CLASSES,
    )
    module: nn.Module = transformers.SwinForImageClassification(config)
    return module


def clip(transformers: Any) -> nn.Module:
    """The image half of CLIP."""
    config = transformers.CLIPConfig(vision_config=TINY, num_labels=CLASSES)
    module: nn.Module = transformers.CLIPForImageClassification(config)
    return module


# -- what only a pass can tell --------------------------------------------------------------------


def outside(module: nn.Module) -> str:
    """Why the inside of a network is not shown, which still answers as it did."""
    twin = copy.deepcopy(module).eval()
    model = as_model(module, title="My network", preprocessing=Preprocessing(size=SIDE))
    assert isinstance(model, PixelsOnly)
    pixels = model.pixels(noise(SIDE, SIDE), GIVEN)
    assert torch.equal(model.score(pixels), answer(twin, pixels)), "no probe is left behind"
    return model.limits


def test_attention_that_is_not_what_is_rebuilt_is_found() -> None:
    """It looks like any other ViT from outside, and works; only its scale is another."""
    module: Any = shake(huggingface_vit("vit"))
    assert as_model(copy.deepcopy(module))
    block = module.vit.layers[1]
    block.attention.scaling *= 2
    assert "answers alone: the attention of block 1 is not" in outside(module)


def test_a_norm_of_values_is_found() -> None:
    module: Any = shake(timm_vit())
    module.blocks[2].attn.norm.register_forward_pre_hook(lambda _module, args: (args[0] * 1.01,))
    assert "the attention of block 2 is not" in outside(module)


def blocks_run_at_opening(module: Any) -> list[int]:
    """Which blocks a network was sent through while it was opened."""
    run: list[int] = []
    for i, block in enumerate(module.blocks):
        block.register_forward_hook(lambda *_, i=i: run.append(i))
    as_model(module)
    return run


def test_blocks_of_one_build_are_proven_once() -> None:
    assert blocks_run_at_opening(shake(timm_vit(depth=6))) == [0]
    other: Any = shake(timm_vit(depth=6))
    other.blocks[3].mlp.act = nn.ReLU()
    assert blocks_run_at_opening(other) == [0, 1, 2, 3]
    normed: Any = shake(timm_vit(depth=6))
    normed.blocks[1].norm1.eps *= 2
    assert blocks_run_at_opening(normed) == [0, 1]
    hooked: Any = shake(timm_vit(depth=6))
    hooked.blocks[5].attn.register_forward_hook(lambda *_: None)
    assert blocks_run_at_opening(hooked) == [0, 1, 2, 3, 4, 5]
    narrow: Any = shake(timm_vit(depth=6))
    narrow.blocks[4].mlp.fc1.weight = nn.Parameter(torch.zeros(25, 12))
    narrow.blocks[4].mlp.fc1.bias = nn.Parameter(torch.zeros(25))
    narrow.blocks[4].mlp.fc2.weight = nn.Parameter(torch.zeros(12, 25))
    assert blocks_run_at_opening(narrow) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"global_pool": "avg", "pool_include_prefix": True}, "does not read the mean of"),
        ({"global_pool": "max"}, "its head pools by 'max'"),
        ({"global_pool": "avgmax"}, "its head pools by 'avgmax'"),
        ({"global_pool": "prr"}, "its head pools by 'prr'"),
    ],
)
def test_what_the_classifier_reads_is_proven(options: dict[str, object], words: str) -> None:
    assert words in outside(shake(timm_vit(**options)))


def test_labels_must_be_as_many_as_the_classes() -> None:
    for module in (timm_vit(), timm_vit(global_pool="")):
        with pytest.raises(UnsupportedModel) as caught:
            as_model(shake(module), classes=4)
        assert "where 4 classes were expected; correct the labels" in sentence(caught)
    with pytest.raises(UnsupportedModel, match=r"answers with \(5,\) where 4 classes"):
        as_model(torchvision_network("resnet18").eval(), "cnn", classes=4)


def test_patches_that_are_not_square_are_not_shown() -> None:
    assert "its patches are 4 × 8 pixels, not square" in outside(shake(timm_vit(patch_size=(4, 8))))


def test_a_build_that_no_family_foresaw_is_refused_in_a_sentence() -> None:
    looks_like_torchvisions = nn.ModuleDict({"encoder": nn.Identity(), "conv_proj": nn.Identity()})
    for module, families in (
        (nn.Sequential(nn.Conv2d(3, 5, 3)), ("cnn", "vit")),
        (nn.Linear(3, 5), ("cnn", "vit")),
        (looks_like_torchvisions, ("vit",)),
    ):
        for family in families:
            with pytest.raises(UnsupportedModel) as caught:
                as_model(module, family, title="My network")
            assert "My network" in sentence(caught)
            assert re.search("; (choose|correct) ", sentence(caught))


def test_every_method_is_offered_to_some_network_here() -> None:
    offered = {method.name for method in core.methods(convolutional("resnetv2").model)}
    offered |= {method.name for method in core.methods(shown("deit3").model)}
    swin = as_model(CHANNELS_LAST["torchvision swin"](), preprocessing=Preprocessing(size=224))
    offered |= {method.name for method in core.methods(swin)}
    assert offered == set(all_methods())
