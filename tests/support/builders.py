"""Tiny random models of every family, with the facts of each written down by hand.

And the few helpers that most tests need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core.methods.registry import find_method
from core.models import Model, wrap
from core.models.base import Preprocessing
from core.models.sources import Loaded
from core.models.spec import ModelSpec

CLASSES = 5
WIDTH, HEADS, DEPTH, PATCH, SIDE = 12, 3, 3, 4, 16
PREPROCESSING = Preprocessing(size=SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
CNN_PREPROCESSING = Preprocessing(size=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
GIVEN = core.Framing("given")
TARGETS = [3, 0, 4]


@dataclass(frozen=True, eq=False)
class Built:
    """A model and what a person knows about its build.

    Attributes
    ----------
    bare : torch.nn.Module
        A twin that no probe was ever attached to.
    prefix, class_token
        Transformers: tokens before the patches; whether the head reads the class token.
    pooling
        Convolutional networks: path of the module whose input is pooled.
    linear
        Convolutional networks: whether one linear layer follows the pooling.
    """

    name: str
    model: Model
    bare: nn.Module
    prefix: int = 0
    class_token: bool = True
    pooling: str = ""
    linear: bool = True


def shake(module: nn.Module, seed: int = 0, scale: float = 0.3) -> nn.Module:
    """Fill all parameters and running statistics with noise, so that nothing is zero or uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(1 + 0.2 * noise.abs())
            elif tensor.ndim == 1 and name.endswith(("weight", "gamma", "lambda1")):
                tensor.copy_(1 + 0.2 * noise)
            elif tensor.ndim == 4:
                tensor.copy_(noise * (2.0 / noise[0].numel()) ** 0.5)
            else:
                tensor.copy_(noise * scale)
    return module.eval()


def as_model(
    module: nn.Module,
    family: str = "vit",
    classes: int = CLASSES,
    preprocessing: Preprocessing = PREPROCESSING,
    title: str = "Tiny",
) -> Model:
    """Hand a network to the application as a loaded model."""
    spec = ModelSpec("tiny", title, family, "local", "tiny")  # type: ignore[arg-type]
    labels = tuple(f"class {index}" for index in range(classes))
    return wrap(spec, Loaded(module, labels, preprocessing))


# -- transformers -------------------------------------------------------------------------------


def timm_vit(**options: object) -> nn.Module:
    """A ViT of timm; 4 × 4 patches at its native size."""
    from timm.models.vision_transformer import VisionTransformer

    settings: dict[str, Any] = {
        "img_size": SIDE,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "depth": DEPTH,
        "num_heads": HEADS,
        "mlp_ratio": 2,
        "num_classes": CLASSES,
        "dynamic_img_size": True,
    }
    return VisionTransformer(**(settings | options))


def timm_distilled() -> nn.Module:
    """A distilled DeiT: class and distillation token, two heads."""
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=2,
        num_classes=CLASSES,
        dynamic_img_size=True,
    )


def torchvision_vit() -> nn.Module:
    """A ViT of torchvision; takes its native size only."""
    from torchvision.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        image_size=SIDE,
        patch_size=PATCH,
        num_layers=DEPTH,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        mlp_dim=24,
        num_classes=CLASSES,
    )


def huggingface_vit(kind: str) -> nn.Module:
    """An image classifier of transformers: ``vit``, ``dinov2`` or ``registers``."""
    import transformers

    prefix = {"vit": "ViT", "dinov2": "Dinov2", "registers": "Dinov2WithRegisters"}[kind]
    own: dict[str, int] = {"intermediate_size": 24} if kind == "vit" else {"mlp_ratio": 2}
    if kind == "registers":
        own["num_register_tokens"] = 4
    config = getattr(transformers, f"{prefix}Config")(
        image_size=SIDE,
        patch_size=PATCH,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        num_labels=CLASSES,
        **own,
    )
    module: nn.Module = getattr(transformers, f"{prefix}ForImageClassification")(config)
    return module


@dataclass(frozen=True)
class Recipe:
    """How to build one model; see `Built` for the fields."""

    make: Callable[[], nn.Module]
    prefix: int = 0
    class_token: bool = True
    pooling: str = ""
    linear: bool = True


VITS: dict[str, Recipe] = {
    "timm": Recipe(timm_vit, prefix=1),
    "timm average": Recipe(
        lambda: timm_vit(class_token=False, global_pool="avg"), prefix=0, class_token=False
    ),
    "timm average beside class token": Recipe(
        lambda: timm_vit(global_pool="avg"), prefix=1, class_token=False
    ),
    "timm attention pool": Recipe(
        lambda: timm_vit(class_token=False, global_pool="map"), prefix=0, class_token=False
    ),
    "timm distilled": Recipe(timm_distilled, prefix=2),
    "timm registers": Recipe(
        lambda: timm_vit(reg_tokens=4, init_values=0.1, qk_norm=True, no_embed_class=True), prefix=5
    ),
    "torchvision": Recipe(torchvision_vit, prefix=1),
    "hf vit": Recipe(lambda: huggingface_vit("vit"), prefix=1),
    "hf dinov2": Recipe(lambda: huggingface_vit("dinov2"), prefix=1),
    "hf dinov2 registers": Recipe(lambda: huggingface_vit("registers"), prefix=5),
}
FIXED_SIZE = {"torchvision"}


# -- convolutional networks ---------------------------------------------------------------------


class Plain(nn.Module):
    """Two stages, global average pooling, one linear layer, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.layer2 = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Tanh())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer2(self.layer1(pixels))).flatten(1))


class OneConvolution(nn.Module):
    """One convolution of ones, a ReLU and a layer of ±1 over all positions: see test_methods."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 2, 3)
        self.layer2 = nn.ReLU()
        self.avgpool = nn.Identity()
        self.fc = nn.Linear(8, 1, bias=False)
        with torch.no_grad():
            self.layer1.weight.zero_()[:, 0] = 1.0
            self.layer1.bias.copy_(torch.tensor([-50.0, -75.0]))  # type: ignore[union-attr]
            self.fc.weight.copy_(torch.tensor([[1.0] * 5 + [-1.0] * 3]))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer2(self.layer1(pixels))).flatten(1))


def timm_convnet(name: str) -> nn.Module:
    """One of the small networks that timm keeps for tests."""
    import timm

    module: nn.Module = timm.create_model(name, num_classes=CLASSES)
    return module


def resnet() -> nn.Module:
    """A narrow ResNet of torchvision."""
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)


def efficientnet() -> nn.Module:
    """A short EfficientNet of torchvision."""
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    blocks = [MBConvConfig(1, 3, 1, 8, 8, 1, 1, 1), MBConvConfig(4, 3, 2, 8, 12, 2, 1, 1)]
    return EfficientNet(blocks, dropout=0.2, num_classes=CLASSES, last_channel=16)


def regnet() -> nn.Module:
    """A short RegNet of torchvision."""
    from torchvision.models.regnet import BlockParams, RegNet

    return RegNet(
        BlockParams([1, 1], [8, 16], [4, 4], [1.0, 1.0], [2, 2], 0.25), CLASSES, stem_width=8
    )


def mobilenet() -> nn.Module:
    """A short MobileNetV3 of torchvision: two layers after the pooling."""
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    blocks = [InvertedResidualConfig(16, 3, 16, 24, True, "HS", 2, 1, 1.0)]
    return MobileNetV3(blocks, last_channel=32, num_classes=CLASSES)


def convnext() -> nn.Module:
    """A short ConvNeXt of torchvision: a norm after the pooling."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=CLASSES)


CNNS: dict[str, Recipe] = {
    "plain": Recipe(Plain, pooling="avgpool"),
    "torchvision resnet": Recipe(resnet, pooling="avgpool"),
    "torchvision efficientnet": Recipe(efficientnet, pooling="avgpool"),
    "torchvision regnet": Recipe(regnet, pooling="avgpool"),
    "torchvision mobilenet": Recipe(mobilenet, pooling="avgpool", linear=False),
    "torchvision convnext": Recipe(convnext, pooling="avgpool", linear=False),
    "timm resnet": Recipe(lambda: timm_convnet("test_resnet"), pooling="global_pool"),
    "timm efficientnet": Recipe(lambda: timm_convnet("test_efficientnet"), pooling="global_pool"),
    "timm byobnet": Recipe(lambda: timm_convnet("test_byobnet"), pooling="head.global_pool"),
    "timm convnext": Recipe(
        lambda: timm_convnet("test_convnext"), pooling="head.global_pool", linear=False
    ),
}
RECIPES = VITS | CNNS


@cache
def built(name: str) -> Built:
    """The model of this name, built once; tests must leave it as it is."""
    recipe = RECIPES[name]
    bare = shake(recipe.make()).requires_grad_(False)
    module = recipe.make()
    module.load_state_dict(bare.state_dict())
    family, preprocessing = ("vit", PREPROCESSING) if name in VITS else ("cnn", CNN_PREPROCESSING)
    model = as_model(module, family, preprocessing=preprocessing, title=f"Tiny {name}")
    return Built(
        name, model, bare, recipe.prefix, recipe.class_token, recipe.pooling, recipe.linear
    )


def picture(rows: int, cols: int, seed: int = 0) -> Image.Image:
    """A random picture of ``rows`` × ``cols`` patches (4 pixels each)."""
    values = np.random.default_rng(seed).integers(0, 256, (rows * PATCH, cols * PATCH, 3))
    return Image.fromarray(values.astype(np.uint8))


def pictures(name: str, count: int) -> list[Image.Image]:
    """Pictures of the grid that suits a model: 2 × 3 where it takes any, else its own."""
    if name in CNNS:
        return [picture(16, 24, seed) for seed in range(count)]
    rows, cols = (4, 4) if name in FIXED_SIZE else (2, 3)
    return [picture(rows, cols, seed) for seed in range(count)]


def answer(module: nn.Module, pixels: Tensor) -> Tensor:
    """Logits of a bare network, called as its library documents it."""
    if type(module).__name__ == "ViTForImageClassification":
        fits = pixels.shape[-2:] == (SIDE, SIDE)
        return module(pixels, **({} if fits else {"interpolate_pos_encoding": True})).logits
    output = module(pixels)
    return output if isinstance(output, Tensor) else output.logits


def close(found: npt.ArrayLike, wanted: npt.ArrayLike, tolerance: float = 2e-5) -> None:
    """Equal up to single precision, measured against the largest value."""
    scale = np.abs(np.asarray(wanted)).max()
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale)


def pixels_of(case: Built, images: Sequence[Image.Image]) -> Tensor:
    """The input of a batch."""
    return torch.cat([case.model.pixels(image, GIVEN) for image in images])


def explain(case: Built, count: int, method: str, **params: Any) -> list[core.Explanation]:
    """Explain pictures that suit the model, with a different class each."""
    specific = find_method(method).class_specific
    return core.explain(
        case.model,
        pictures(case.name, count),
        method,
        TARGETS[:count] if specific else None,
        framing=GIVEN,
        **params,
    )


def save_hub_folder(folder: Path, kind: str) -> nn.Module:
    """Save a tiny classifier of transformers with its image processor, as a hub folder holds it."""
    import transformers

    module: Any = shake(huggingface_vit(kind))
    module.config.id2label = {index: f"name {index}" for index in range(CLASSES)}
    module.save_pretrained(folder)
    if kind == "vit":
        processor = transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    else:
        processor = transformers.BitImageProcessor(
            size={"shortest_edge": 20}, crop_size={"height": SIDE, "width": SIDE}
        )
    processor.save_pretrained(folder)
    return module


def sentence(error: pytest.ExceptionInfo[Any]) -> str:
    """The message, which must fit on the page as it is."""
    message = str(error.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert message.endswith((".", "?"))
    assert len(message) < 500
    return message
