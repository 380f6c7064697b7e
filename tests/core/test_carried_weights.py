"""One network, built by three libraries from the same weights: its maps must be the same.

The shape of ViT-B with less of everything but layers and heads, that of DeiT with its two heads,
and that of DINOv2 (layer scale, with and without registers, with its own head).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import core
from core.methods.registry import all_methods
from core.models import Model, VisionTransformer
from core.models.heads import suit_head
from tests.support.builders import (
    CLASSES,
    DIGITS_LOST,
    GIVEN,
    SIDE,
    TARGETS,
    answer,
    as_model,
    close,
    picture,
    shake,
)

LAYERS, HEADS, WIDTH, PATCH = 12, 12, 96, 4
SHAPES: dict[str, tuple[str, ...]] = {
    "ViT": ("timm", "torchvision", "hf"),
    "DeiT": ("timm", "hf"),
    "DINOv2": ("timm", "hf"),
    "DINOv2 with registers": ("timm", "hf"),
    "DINOv2 read beside its mean": ("timm", "hf"),
}
PAIRS = [(shape, family) for shape, families in SHAPES.items() for family in families[1:]]
CALLS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name, method in all_methods().items() if "vit" in method.serves],
    ("attention", {"layer": 4, "head": 7}),
    ("rollout", {"fusion": "max", "discard": 0.9}),
    ("rollout", {"fusion": "min", "definition": "vit-explain"}),
    ("gradient_rollout", {"definition": "vit-explain"}),
    ("gradient_rollout", {"layers": (2, 5)}),
]


def timm(shape: str) -> nn.Module:
    """timm's network of this shape, filled with noise: the weights that the others are given."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer as Timm

    kind = VisionTransformerDistilled if shape == "DeiT" else Timm
    own = {"init_values": 0.1} if "DINOv2" in shape else {}
    if "registers" in shape:
        own |= {"reg_tokens": 4, "no_embed_class": True}
    module = kind(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=LAYERS,
        num_heads=HEADS,
        num_classes=CLASSES,
        **own,
    )
    if "beside" in shape:
        suit_head(module, {"head.weight": torch.zeros(CLASSES, 2 * WIDTH)})
    return shake(module, scale=0.12)


def torchvision(weights: dict[str, Tensor], shape: str) -> nn.Module:
    """The same network in torchvision."""
    from torchvision.models.vision_transformer import VisionTransformer as Torchvision

    names = {
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "patch_embed.proj": "conv_proj",
        "norm": "encoder.ln",
        "head": "heads.head",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.weight": "self_attention.in_proj_weight",
        "attn.qkv.bias": "self_attention.in_proj_bias",
        "attn.proj": "self_attention.out_proj",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.3",
    }
    module = Torchvision(
        image_size=SIDE,
        patch_size=PATCH,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        mlp_dim=4 * WIDTH,
        num_classes=CLASSES,
    )
    module.load_state_dict(renamed(weights, names, "encoder.layers.encoder_layer_{}"))
    return module


def hf(weights: dict[str, Tensor], shape: str) -> nn.Module:
    """The same network in transformers.

    DINOv2's head always reads the mean patch too there; its weight is zero where timm's does not.
    """
    import transformers

    plain = "DINOv2" not in shape
    registers = "registers" in shape
    kind = shape if plain else "Dinov2WithRegisters" if registers else "Dinov2"
    head = "ForImageClassification" + ("WithTeacher" if shape == "DeiT" else "")
    own: dict[str, int] = {"intermediate_size": 4 * WIDTH} if plain else {"mlp_ratio": 4}
    if registers:
        own |= {"num_register_tokens": 4}
    module = getattr(transformers, kind + head)(
        getattr(transformers, f"{kind}Config")(
            image_size=SIDE,
            patch_size=PATCH,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_labels=CLASSES,
            layer_norm_eps=1e-6,
            **own,
        )
    )
    before, after = ("layernorm_before", "layernorm_after") if plain else ("norm1", "norm2")
    names = {
        "cls_token": "embeddings.cls_token",
        "dist_token": "embeddings.distillation_token",
        "pos_embed": "embeddings.position_embeddings",
        "reg_token": "embeddings.register_tokens",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
        "head": "cls_classifier" if shape == "DeiT" else "classifier",
        "head_dist": "distillation_classifier",
        "norm1": before,
        "norm2": after,
        "attn.proj": "attention.o_proj",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    split: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if "attn.qkv" in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                split[name.replace("attn.qkv", f"attention.{part}_proj")] = piece
        elif name == "head.weight" and not plain and "beside" not in shape:
            split[name] = torch.cat([tensor, torch.zeros_like(tensor)], dim=1)
        elif name == "pos_embed" and "registers" in shape:  # timm has none for the class token
            split[name] = torch.cat([torch.zeros(1, 1, WIDTH), tensor], dim=1)
        else:
            split[name] = tensor
    found = renamed(split, names, "layers.{}" if plain else "encoder.layer.{}")
    inner = next(name for name, _ in module.named_children())
    found = {k if "classifier" in k else f"{inner}.{k}": v for k, v in found.items()}
    missing, unexpected = module.load_state_dict(found, strict=False)
    assert not unexpected
    assert all(name.endswith("mask_token") for name in missing)
    return module


def renamed(weights: dict[str, Tensor], names: dict[str, str], layer: str) -> dict[str, Tensor]:
    """timm's names in another library's words; a block's number goes into ``layer``."""
    found = {}
    for name, tensor in weights.items():
        prefix, own = "", name
        if name.startswith("blocks."):
            _, number, own = name.split(".", 2)
            prefix = layer.format(number) + "."
        for mine in (own, own.rsplit(".", 1)[0]):
            if mine in names:
                own = names[mine] + own[len(mine) :]
                break
        found[prefix + own] = tensor.clone()
    return found


@cache
def network(shape: str, family: str) -> nn.Module:
    """A bare network."""
    if family == "timm":
        return timm(shape).requires_grad_(False)
    weights = network(shape, "timm").state_dict()
    make = {"torchvision": torchvision, "hf": hf}[family]
    return make(weights, shape).eval().requires_grad_(False)


@cache
def model(shape: str, family: str) -> Model:
    """The network as the application opens it."""
    return as_model(network(shape, family), title=f"{shape} of {family}")


def images() -> list[Any]:
    """Pictures that all libraries take without resizing their position embedding."""
    return [picture(SIDE // PATCH, SIDE // PATCH, seed) for seed in range(3)]


@pytest.mark.parametrize(("shape", "family"), PAIRS)
def test_the_weights_arrived(shape: str, family: str) -> None:
    pixels = torch.cat([model(shape, family).pixels(image, GIVEN) for image in images()])
    mine, theirs = (answer(network(shape, name), pixels) for name in ("timm", family))
    close(theirs, mine, 1e-5)
    assert mine.std() > 0.1
    facts = [
        (m.depth, m.heads, m.width, m.patch, m.prefix, m.reads_class_token)
        for m in (model(shape, "timm"), model(shape, family))
        if isinstance(m, VisionTransformer)
    ]
    assert facts[0] == facts[1]


@pytest.mark.parametrize(("method", "params"), CALLS, ids=str)
@pytest.mark.parametrize(("shape", "family"), PAIRS)
def test_maps_agree(shape: str, family: str, method: str, params: dict[str, Any]) -> None:
    targets = TARGETS if all_methods()[method].class_specific else None
    mine, theirs = (
        core.explain(model(shape, name), images(), method, targets, framing=GIVEN, **params)
        for name in ("timm", family)
    )
    for one, other in zip(mine, theirs, strict=True):
        close(other.relevance, one.relevance, 1e-5 * DIGITS_LOST.get(method, 1))
        assert other.prefix_mass == pytest.approx(one.prefix_mass, abs=1e-5)
        assert one.relevance.std() > 0


@pytest.mark.parametrize(("shape", "family"), PAIRS)
def test_everything_on_the_attention_page_agrees(shape: str, family: str) -> None:
    mine, theirs = (
        core.attention(model(shape, name), images()[0], GIVEN) for name in ("timm", family)
    )
    close(theirs.mosaic(), mine.mosaic(), 1e-5)
    close(theirs.mosaic(query=(1, 2)), mine.mosaic(query=(1, 2)), 1e-5)
    close(theirs.joints("max", 0.5), mine.joints("max", 0.5), 1e-5)
    close(theirs.mass_on_prefix, mine.mass_on_prefix, 1e-5)
    close(theirs.received(), mine.received(), 1e-5)
    for kind in ("query", "key", "value"):
        close(theirs.projection(kind, 11, 5, 3), mine.projection(kind, 11, 5, 3), 1e-5)
    assert np.abs(mine.mosaic()[0, 0] - mine.mosaic()[11, 11]).max() > 1e-3


def test_other_weights_would_be_noticed() -> None:
    weights = dict(network("ViT", "timm").state_dict())
    weights["blocks.3.attn.qkv.weight"] = weights["blocks.3.attn.qkv.weight"].flip(0)
    other = as_model(torchvision(weights, "ViT").eval().requires_grad_(False))
    mine = core.explain(model("ViT", "timm"), images()[0], "rollout", framing=GIVEN).relevance
    found = core.explain(other, images()[0], "rollout", framing=GIVEN).relevance
    assert np.abs(found - mine).max() > 1e-3 * mine.max()
