"""Pictures are prepared as the processors of transformers prepare them, or the model is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from core.errors import UnsupportedModel
from core.models import sources
from core.models.processors import preprocessing_of
from core.models.spec import ModelSpec
from tests.support.builders import (
    Plain,
    as_model,
    huggingface_vit,
    save_hub_folder,
    sentence,
    shake,
)

SIZES = [(300, 300), (480, 270), (210, 340)]
"""Width and height in pixels: square, wide and tall; the latter two leave odd margins."""

LEVELS_SLOW, LEVELS_FAST = 0.01, 0.75
"""Mean difference in 255 levels. The slow processors resize with Pillow as we do, up to rounding in
float32; the fast ones resize tensors, which rounds otherwise."""

MOST_SLOW, MOST_FAST = 0.02, 8.0
"""The same for the largest difference of a single value."""

SQUARE = {"height": 192, "width": 192}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "whole picture": ("ViT", {"size": SQUARE}),
    "whole picture, bicubic": ("ViT", {"size": SQUARE, "resample": 3}),
    "short side and crop": (
        "Bit",
        {"size": {"shortest_edge": 219}, "crop_size": {"height": 192, "width": 192}},
    ),
    "odd margins": (
        "Bit",
        {"size": {"shortest_edge": 219}, "crop_size": {"height": 190, "width": 190}},
    ),
    "square, then crop": (
        "ViT",
        {"size": {"height": 219, "width": 219}, "crop_size": SQUARE, "do_center_crop": True},
    ),
    "square, then crop (BEiT)": (
        "Beit",
        {"size": {"height": 219, "width": 219}, "crop_size": SQUARE, "do_center_crop": True},
    ),
    "no standardization": ("ViT", {"size": SQUARE, "do_normalize": False}),
    "levels": ("ViT", {"size": SQUARE, "do_rescale": False, "do_normalize": False}),
    "standardized levels": (
        "ViT",
        {
            "size": SQUARE,
            "do_rescale": False,
            "image_mean": [120.0, 110.0, 100.0],
            "image_std": [60.0, 61.0, 62.0],
        },
    ),
    "another factor": ("ViT", {"size": SQUARE, "rescale_factor": 1 / 127.5}),
    "own colors": (
        "ViT",
        {"size": SQUARE, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]},
    ),
    "no conversion": ("ViT", {"size": SQUARE, "do_convert_rgb": False}),
    "ConvNeXt": ("ConvNext", {"size": {"shortest_edge": 192}, "crop_pct": 0.875}),
    "large ConvNeXt": ("ConvNext", {"size": {"shortest_edge": 384}}),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no resize": ("ViT", {"do_resize": False}, "does not resize"),
    "not square": ("ViT", {"size": {"height": 192, "width": 256}}, "256 × 192"),
    "crop not square": (
        "Bit",
        {"size": {"shortest_edge": 256}, "crop_size": {"height": 192, "width": 224}},
        "not to a square",
    ),
    "crop beyond the picture": (
        "Bit",
        {"size": {"shortest_edge": 192}, "crop_size": {"height": 224, "width": 224}},
        "crops 224 pixels out of 192",
    ),
    "keeps the shape": (
        "Bit",
        {"size": {"shortest_edge": 192}, "do_center_crop": False},
        "keeps the shape",
    ),
    "longest side": (
        "ViT",
        {"size": {"shortest_edge": 192, "longest_edge": 300}},
        "longest_edge, shortest_edge",
    ),
    "pads": ("ViT", {"size": SQUARE, "do_pad": True, "pad_size": SQUARE}, "pads"),
    "colors exchanged": (
        "MobileViT",
        {
            "size": {"shortest_edge": 192},
            "crop_size": SQUARE,
            "do_flip_channel_order": True,
            "do_center_crop": True,
        },
        "does something that its fields do not state",
    ),
    "standardized twice": (
        "EfficientNet",
        {"size": SQUARE, "do_center_crop": False, "include_top": True},
        "does something that its fields do not state",
    ),
    "divides by zero": ("ViT", {"size": SQUARE, "image_std": [0.0, 1.0, 1.0]}, "divides by"),
    "two colors": ("ViT", {"size": SQUARE, "image_mean": [0.5, 0.5]}, "three numbers"),
    "no factor": ("ViT", {"size": SQUARE, "rescale_factor": 0.0}, "multiplies levels"),
}


def processor(kind: str, fast: bool, options: dict[str, Any]) -> Any:
    """A processor of transformers, of the backend for tensors or for Pillow."""
    return getattr(transformers, f"{kind}ImageProcessor{'' if fast else 'Pil'}")(**options)


def textured(width: int, height: int) -> Image.Image:
    """Shapes of all sizes, with edges and colors, as photographs have them."""
    generator = np.random.default_rng(width)
    total = np.zeros((height, width, 3))
    for cells in (3, 9, 27):
        coarse = (generator.random((cells, cells, 3)) * 255).astype(np.uint8)
        large = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(large, dtype=np.float64) / 3
    total[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 90)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "slow"])
@pytest.mark.parametrize("name", PROCESSORS)
def test_input_is_the_processors_own(name: str, fast: bool) -> None:
    kind, options = PROCESSORS[name]
    own = processor(kind, fast, options)
    preprocessing = preprocessing_of(own, "Tiny")
    model = as_model(shake(Plain()), "cnn", preprocessing=preprocessing)
    std = torch.tensor(preprocessing.std).view(3, 1, 1)
    for size in SIZES:
        image = textured(*size)
        wanted = torch.as_tensor(own(image, return_tensors="pt")["pixel_values"][0]).float()
        found = model.pixels(image)[0]
        assert found.shape == wanted.shape
        levels = ((found - wanted) * std * 255).abs()
        assert levels.mean() < (LEVELS_FAST if fast else LEVELS_SLOW)
        assert levels.max() < (MOST_FAST if fast else MOST_SLOW)


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "slow"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_honored_is_refused_in_a_sentence(name: str, fast: bool) -> None:
    kind, options, reason = REFUSED[name]
    with pytest.raises(UnsupportedModel, match=reason) as error:
        preprocessing_of(processor(kind, fast, options), "Tiny")
    assert "image processor" in sentence(error)


def test_a_processor_without_fields_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="states no size") as error:
        preprocessing_of(object(), "Tiny")
    sentence(error)


def test_a_folder_with_a_square_and_a_crop(tmp_path: Path) -> None:
    """From the file that the hub holds to the pixels of the model."""
    save_hub_folder(tmp_path, "vit")
    square = {"height": 20, "width": 20}
    transformers.ViTImageProcessor(
        size=square, crop_size={"height": 16, "width": 16}, do_center_crop=True
    ).save_pretrained(tmp_path)
    found = sources.from_hub(ModelSpec("x", "X", "vit", "hub", "owner/name"), tmp_path)
    assert found.preprocessing.squash
    assert found.preprocessing.crop_fraction == pytest.approx(0.8)
    view = as_model(shake(Plain()), "cnn", preprocessing=found.preprocessing).view(textured(90, 30))
    assert view.size == (16, 16)


def test_weights_in_half_precision_are_computed_with_in_single(tmp_path: Path) -> None:
    save_hub_folder(tmp_path, "vit")
    module: Any = shake(huggingface_vit("vit")).half()
    module.save_pretrained(tmp_path)
    found = sources.from_hub(ModelSpec("x", "X", "vit", "hub", "owner/name"), tmp_path)
    assert {parameter.dtype for parameter in found.module.parameters()} == {torch.float32}


def test_a_square_that_timm_squeezes_is_cropped_as_timm_does() -> None:
    import timm
    from timm.data import create_transform, resolve_data_config

    module = timm.create_model("test_vit")
    module.pretrained_cfg |= {"crop_mode": "squash", "crop_pct": 0.875}  # type: ignore[operator]
    spec = ModelSpec("x", "X", "cnn", "timm", "test_vit", input_size=160)
    ours = as_model(shake(Plain()), "cnn", preprocessing=sources.timm_preprocessing(module, spec))
    own = create_transform(**resolve_data_config(model=module))
    for size in SIZES:
        found, wanted = ours.pixels(textured(*size))[0], own(textured(*size))
        assert found.shape == wanted.shape
        assert (found - wanted).abs().mean() < 2e-3


@pytest.mark.parametrize("change", [{"crop_mode": "border"}, {"interpolation": "random"}])
def test_what_timm_does_beyond_is_refused(change: dict[str, str]) -> None:
    import timm

    module = timm.create_model("test_vit")
    module.pretrained_cfg |= change  # type: ignore[operator]
    with pytest.raises(UnsupportedModel, match="not supported") as error:
        sources.timm_preprocessing(module, ModelSpec("x", "X", "cnn", "timm", "test_vit"))
    sentence(error)
