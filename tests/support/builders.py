"""Tiny random models of every family, with the facts of each as its library documents them.

And the few helpers that most tests need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core.methods.registry import all_methods, find_method
from core.models import Model, wrap
from core.models.heads import suit_head
from core.models.preprocessing import Preprocessing
from core.models.sources import Loaded
from core.models.spec import ModelSpec

CLASSES = 5
WIDTH, HEADS, DEPTH, PATCH, SIDE = 12, 3, 3, 4, 16
PREPROCESSING = Preprocessing(size=SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
CNN_PREPROCESSING = Preprocessing(size=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
GIVEN = core.Framing("given")
TARGETS = [3, 0, 4]

BRIEF: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 5},
    "occlusion": {"window": 2, "stride": 2},
    "rise": {"count": 12},
    "smooth_grad": {"count": 3},
}
"""Parameters of methods that run the network many times, small enough for tests; the entries of
tiny models have them as defaults."""

FEW_PASSES = BRIEF | {"occlusion": {"window": 8, "stride": 8}, "attention_flow": {"pool": 4}}
"""The same for real models, whose grids are larger."""

DIGITS_LOST = {"occlusion": 5, "grad_cam_plus_plus": 50, "integrated_gradients": 50}
"""How much less exact single precision is for methods that subtract nearly equal numbers (two
answers of the network, or what α of Grad-CAM++ divides by), or that may pass the kink of a ReLU one
step earlier."""

Reads = Literal["class", "class and distillation", "class and patches", "patches", "pooling"]
"""What a transformer's classifier reads of the last tokens."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a build.

    Attributes
    ----------
    prefix, reads, width
        Transformers: tokens before the patches, what the classifier reads, channels per token.
    mlp
        Transformers: what makes the MLP's hidden layer of its first layer's output.
    pooling
        Convolutional networks: path of the module whose input is pooled.
    stages
        Convolutional networks: paths of the modules whose outputs are the stages.
    linear
        Convolutional networks: whether one linear layer follows the pooling.
    """

    prefix: int = 0
    reads: Reads = "class"
    width: int = WIDTH
    mlp: Literal["gelu", "gated", "normed"] = "gelu"
    pooling: str = ""
    stages: tuple[str, ...] = ()
    linear: bool = True

    @property
    def reads_class(self) -> bool:
        """Whether the class token takes part in what the classifier reads."""
        return self.reads.startswith("class")


@dataclass(frozen=True)
class Recipe(Facts):
    """How to build a model."""

    make: Callable[[], nn.Module]


@dataclass(frozen=True, eq=False)
class Built(Facts):
    """A model and the facts of its build.

    Attributes
    ----------
    bare : torch.nn.Module
        A twin that no probe was ever attached to.
    """

    name: str
    model: Model
    bare: nn.Module


def shake(module: nn.Module, seed: int = 0, scale: float = 0.3) -> nn.Module:
    """Fill all parameters and running statistics with noise, so that nothing is zero or uniform."""
    generator = torch.Generator().manual_seed(seed)
    stored = module.state_dict().keys()  # what is computed from settings (frequencies) stays
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if not tensor.is_floating_point() or name not in stored:
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(1 + 0.2 * noise.abs())
            elif name.endswith(("gamma_1", "gamma_2")) or (
                tensor.ndim == 1 and name.endswith(("weight", "gamma", "lambda1"))
            ):
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
    answer: Literal["", "softmax", "sigmoid"] = "",
) -> Model:
    """Hand a network to the application as a loaded model."""
    spec = ModelSpec("tiny", title, family, "local", "tiny", defaults=BRIEF, answer=answer)  # type: ignore[arg-type]
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


def timm_post_norm() -> nn.Module:
    """A ViT of timm whose norms follow the attention and the MLP."""
    from timm.models.vision_transformer import ResPostBlock

    return timm_vit(block_fn=ResPostBlock)


def timm_beside_mean(**options: object) -> nn.Module:
    """A ViT of timm that reads the class token beside the mean of the patches."""
    module = timm_vit(**options)
    suit_head(module, {"head.weight": torch.zeros(CLASSES, 2 * WIDTH)})
    return module


def timm_rotary(**options: object) -> nn.Module:
    """A transformer of timm that rotates queries and keys; 8 channels a head, so two bands."""
    from timm.models.eva import Eva

    settings: dict[str, Any] = {
        "img_size": SIDE,
        "patch_size": PATCH,
        "embed_dim": 2 * WIDTH,
        "depth": DEPTH,
        "num_heads": HEADS,
        "mlp_ratio": 2,
        "num_classes": CLASSES,
        "dynamic_img_size": True,
        "use_rot_pos_emb": True,
    }
    return Eva(**(settings | options))


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
    """An image classifier of transformers: one of `HUGGING_FACE`."""
    import transformers

    prefix = HUGGING_FACE[kind]
    own: dict[str, object] = {"mlp_ratio": 2} if "Dino" in prefix else {"intermediate_size": 24}
    if kind == "registers":
        own["num_register_tokens"] = 4
    if kind == "gated":
        own["use_swiglu_ffn"] = True
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


HUGGING_FACE = {
    "vit": "ViT",
    "deit": "DeiT",
    "ijepa": "IJepa",
    "dinov2": "Dinov2",
    "gated": "Dinov2",
    "registers": "Dinov2WithRegisters",
}
"""What transformers calls each kind."""

ROTARY: dict[str, Recipe] = {
    # As EVA-02 tiny: joint projection with biases of their own, gated MLP, mean of the patches.
    "timm rotary": Recipe(
        lambda: timm_rotary(swiglu_mlp=True, ref_feat_shape=6),
        prefix=1,
        reads="patches",
        width=24,
        mlp="gated",
    ),
    # As EVA-02 base: three projections, norms inside the attention and the MLP, size fixed.
    "timm rotary separate": Recipe(
        lambda: timm_rotary(
            qkv_fused=False,
            scale_attn_inner=True,
            scale_mlp=True,
            swiglu_mlp=True,
            init_values=0.1,
            global_pool="token",
            dynamic_img_size=False,
        ),
        prefix=1,
        width=24,
        mlp="normed",
    ),
    # As DINOv3: registers, no absolute positions, pairs half a head apart, no biases.
    "timm rotary dinov3": Recipe(
        lambda: timm_rotary(
            rope_type="dinov3",
            rope_temperature=100,
            rope_rotate_half=True,
            num_reg_tokens=4,
            use_abs_pos_emb=False,
            qkv_bias=False,
            init_values=0.1,
            global_pool="token",
        ),
        prefix=5,
        width=24,
    ),
    # Frequencies learned for each layer and head, norms of queries and keys, attention pooling.
    "timm rotary mixed": Recipe(
        lambda: timm_rotary(rope_type="mixed", qk_norm=True, class_token=False, global_pool="map"),
        reads="pooling",
        width=24,
    ),
    # As the Perception Encoder: columns first, counted from 1, attention pooling over the prefix.
    "timm rotary pooled": Recipe(
        lambda: timm_rotary(
            attn_type="rope",
            use_pre_transformer_norm=True,
            ref_feat_shape=(3, 5),
            rope_grid_offset=1.0,
            rope_grid_indexing="xy",
            global_pool="map",
            attn_pool_num_heads=4,
        ),
        prefix=1,
        reads="pooling",
        width=24,
    ),
    # As Sapiens 2: all queries share one key and one value.
    "timm rotary grouped": Recipe(
        lambda: timm_rotary(
            attn_type="rope",
            qkv_fused=False,
            num_kv_heads=1,
            qk_norm=True,
            rope_type="dinov3",
            rope_rotate_half=True,
            num_reg_tokens=2,
            init_values=0.1,
            attn_only_layer_scale=True,
            global_pool="token",
        ),
        prefix=3,
        width=24,
    ),
    # As GenLIP: rows and columns in turn, size fixed.
    "timm rotary interleaved": Recipe(
        lambda: timm_rotary(rope_type="mrope", class_token=False, dynamic_img_size=False),
        reads="patches",
        width=24,
    ),
    "timm rotary post-norm": Recipe(
        lambda: timm_rotary(use_post_norm=True, class_token=False), reads="patches", width=24
    ),
}


def timm_beit(**options: object) -> nn.Module:
    """A BEiT of timm, whose attention has a bias for each offset; takes its native size only."""
    from timm.models.beit import Beit

    settings: dict[str, Any] = {
        "img_size": SIDE,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "depth": DEPTH,
        "num_heads": HEADS,
        "mlp_ratio": 2,
        "num_classes": CLASSES,
        "qkv_bias": True,
        "use_abs_pos_emb": False,
        "init_values": 0.1,
    }
    return Beit(**(settings | options))


def timm_relative() -> nn.Module:
    """A ViT-RelPos of timm: a bias of each layer, norms of queries and keys, no class token."""
    from timm.models.vision_transformer_relpos import VisionTransformerRelPos

    return VisionTransformerRelPos(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=2,
        num_classes=CLASSES,
        qk_norm=True,
        init_values=0.1,
        rel_pos_type="bias",
    )


BIASED: dict[str, Recipe] = {
    "timm beit": Recipe(lambda: timm_beit(use_rel_pos_bias=True), prefix=1, reads="patches"),
    "timm beit shared": Recipe(
        lambda: timm_beit(use_shared_rel_pos_bias=True, use_abs_pos_emb=True, global_pool="token"),
        prefix=1,
    ),
    "timm relative": Recipe(timm_relative, reads="patches"),
}

VITS: dict[str, Recipe] = {
    "timm": Recipe(timm_vit, prefix=1),
    "timm average": Recipe(lambda: timm_vit(class_token=False, global_pool="avg"), reads="patches"),
    "timm average beside class token": Recipe(
        lambda: timm_vit(global_pool="avg"), prefix=1, reads="patches"
    ),
    "timm attention pool": Recipe(
        lambda: timm_vit(class_token=False, global_pool="map"), reads="pooling"
    ),
    "timm attention pool beside class token": Recipe(
        lambda: timm_vit(global_pool="map"), prefix=1, reads="pooling"
    ),
    "timm attention pool over prefix": Recipe(
        lambda: timm_vit(reg_tokens=2, global_pool="map", pool_include_prefix=True),
        prefix=3,
        reads="pooling",
    ),
    "timm distilled": Recipe(timm_distilled, prefix=2, reads="class and distillation"),
    "timm registers": Recipe(
        lambda: timm_vit(reg_tokens=4, init_values=0.1, qk_norm=True, no_embed_class=True), prefix=5
    ),
    "timm inner norms": Recipe(
        lambda: timm_vit(scale_attn_norm=True, scale_mlp_norm=True, fc_norm=True),
        prefix=1,
        mlp="normed",
    ),
    "timm post-norm": Recipe(timm_post_norm, prefix=1),
    "timm class token beside average": Recipe(
        timm_beside_mean, prefix=1, reads="class and patches"
    ),
    "timm registers, class token beside average": Recipe(
        lambda: timm_beside_mean(reg_tokens=3, init_values=0.1, no_embed_class=True),
        prefix=4,
        reads="class and patches",
    ),
    "torchvision": Recipe(torchvision_vit, prefix=1),
    "hf vit": Recipe(lambda: huggingface_vit("vit"), prefix=1),
    "hf deit": Recipe(lambda: huggingface_vit("deit"), prefix=2),
    "hf ijepa": Recipe(lambda: huggingface_vit("ijepa"), reads="patches"),
    "hf dinov2": Recipe(lambda: huggingface_vit("dinov2"), prefix=1, reads="class and patches"),
    "hf dinov2 gated": Recipe(
        lambda: huggingface_vit("gated"), prefix=1, reads="class and patches", mlp="gated"
    ),
    "hf dinov2 registers": Recipe(
        lambda: huggingface_vit("registers"), prefix=5, reads="class and patches"
    ),
    **ROTARY,
    **BIASED,
}
FIXED_SIZE = {"torchvision", "timm rotary separate", "timm rotary interleaved", *BIASED}


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
    """One convolution of ones, a ReLU and a layer of ±1 over all positions: see test_methods.

    Small enough to be computed with a pencil.
    """

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


def numbered(start: str, numbers: Sequence[int]) -> tuple[str, ...]:
    """Paths that differ in a number."""
    return tuple(f"{start}{number}" for number in numbers)


CNNS: dict[str, Recipe] = {
    "plain": Recipe(Plain, pooling="avgpool", stages=("layer1", "layer2")),
    "torchvision resnet": Recipe(resnet, pooling="avgpool", stages=numbered("layer", range(1, 5))),
    "torchvision efficientnet": Recipe(
        efficientnet, pooling="avgpool", stages=numbered("features.", range(4))
    ),
    "torchvision regnet": Recipe(
        regnet, pooling="avgpool", stages=numbered("trunk_output.block", range(1, 3))
    ),
    "torchvision mobilenet": Recipe(
        mobilenet, pooling="avgpool", stages=numbered("features.", range(3)), linear=False
    ),
    "torchvision convnext": Recipe(
        convnext, pooling="avgpool", stages=numbered("features.", range(4)), linear=False
    ),
    "timm resnet": Recipe(
        lambda: timm_convnet("test_resnet"),
        pooling="global_pool",
        stages=("act1", *numbered("layer", range(1, 5))),
    ),
    "timm efficientnet": Recipe(
        lambda: timm_convnet("test_efficientnet"),
        pooling="global_pool",
        stages=numbered("blocks.", range(5)),
    ),
    "timm byobnet": Recipe(
        lambda: timm_convnet("test_byobnet"),
        pooling="head.global_pool",
        stages=("stem", *numbered("stages.", range(3)), "final_conv"),
    ),
    "timm convnext": Recipe(
        lambda: timm_convnet("test_convnext"),
        pooling="head.global_pool",
        stages=numbered("stages.", range(4)),
        linear=False,
    ),
}
RECIPES = VITS | CNNS


USUAL = {
    "timm",
    "timm attention pool over prefix",
    "timm registers",
    "torchvision",
    "hf dinov2",
    "timm rotary",
    "timm rotary dinov3",
    "timm beit",
    "plain",
    "torchvision resnet",
    "timm convnext",
}
"""Builds of every library and kind that each run of the tests looks at; see `builds`."""


def builds(names: Iterable[str]) -> list[Any]:
    """Values of a test's parameter: builds, of which all but the usual ones are slow tests."""
    return [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in names]


def served(name: str) -> list[str]:
    """Names of the methods that serve a build, in alphabetical order."""
    kind = "vit" if name in VITS else "cnn"
    found = [method for method, entry in all_methods().items() if kind in entry.serves]
    return sorted(method for method in found if method != "cam" or RECIPES[name].linear)


def spread(least: int = 2) -> list[tuple[str, str]]:
    """Pairs of a build and a method, for what need not be tried on their full product.

    Each method meets each library (and what rotates its tokens), each build ``least`` methods.
    """
    libraries: dict[tuple[bool, bool, str], list[str]] = {}
    for name in RECIPES:
        library = (name in VITS, name in ROTARY, name.partition(" ")[0])
        libraries.setdefault(library, []).append(name)
    found: set[tuple[str, str]] = set()
    for names in libraries.values():
        methods = sorted({method for name in names for method in served(name)})
        for place in range(max(len(methods), least * len(names))):
            method = methods[place % len(methods)]
            able = [name for name in names if method in served(name)]
            found.add((able[(place + place // len(methods)) % len(able)], method))
    for name in RECIPES:
        methods = served(name)
        have = [method for one, method in found if one == name]
        found |= {(name, m) for m in [m for m in methods if m not in have][: least - len(have)]}
    return sorted(found)


@cache
def built(name: str) -> Built:
    """The model of this name, built once; tests must leave it as it is."""
    recipe = RECIPES[name]
    bare = shake(recipe.make()).requires_grad_(False)
    module = recipe.make()
    module.load_state_dict(bare.state_dict())
    family, preprocessing = ("vit", PREPROCESSING) if name in VITS else ("cnn", CNN_PREPROCESSING)
    model = as_model(module, family, preprocessing=preprocessing, title=f"Tiny {name}")
    known = {field.name: getattr(recipe, field.name) for field in fields(Facts)}
    return Built(name, model, bare, **known)


def picture(rows: int, cols: int, seed: int = 0) -> Image.Image:
    """A random picture of ``rows`` × ``cols`` patches (4 pixels each)."""
    values = np.random.default_rng(seed).integers(0, 256, (rows * PATCH, cols * PATCH, 3))
    return Image.fromarray(values.astype(np.uint8))


def grid_of(name: str) -> tuple[int, int]:
    """Rows and columns of patches that suit a transformer: 2 × 3 where it takes any, else its own.

    Pictures of this size are what `pictures` gives.
    """
    return (4, 4) if name in FIXED_SIZE else (2, 3)


def pictures(name: str, count: int) -> list[Image.Image]:
    """Pictures of a size that suits a model."""
    rows, cols = (16, 24) if name in CNNS else grid_of(name)
    return [picture(rows, cols, seed) for seed in range(count)]


def wants_to_be_told(module: nn.Module) -> bool:
    """Whether a network interpolates its positions only when asked."""
    kinds = ("ViT", "DeiT", "IJepa")
    return type(module).__name__ in {f"{kind}ForImageClassification" for kind in kinds}


def answer(module: nn.Module, pixels: Tensor) -> Tensor:
    """Logits of a bare network, called as its library documents it."""
    if wants_to_be_told(module):
        fits = pixels.shape[-2:] == (SIDE, SIDE)
        return module(pixels, **({} if fits else {"interpolate_pos_encoding": True})).logits
    output = module(pixels)
    return output if isinstance(output, Tensor) else output.logits


def classifier(case: Built) -> nn.Linear:
    """The last layer of a convolutional network, which gives its logits."""
    found = [part for part in case.bare.modules() if isinstance(part, nn.Linear)][-1]
    assert found.out_features == CLASSES
    return found


def close(
    found: npt.ArrayLike,
    wanted: npt.ArrayLike,
    tolerance: float = 2e-5,
    least: float = 0.0,
    note: str = "",
) -> None:
    """Equal up to single precision, measured against the largest value.

    Parameters
    ----------
    least
        A difference that is never more than rounding, whatever the largest value.
    note
        What is said beside where they differ.
    """
    scale = np.abs(np.asarray(wanted)).max()
    np.testing.assert_allclose(
        found, wanted, rtol=tolerance, atol=max(least, tolerance * scale), err_msg=note
    )


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
