"""What a model sees of a picture: every fit, and the pixels of the library's own evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import core
from core import capacity
from core.errors import ImageError
from core.images import FITS, MAX_PIXELS, MAX_SIDE, fit_image
from core.models import sources
from core.models.preprocessing import Preprocessing
from core.models.spec import ModelSpec, find_spec
from tests.support.builders import (
    CNNS,
    PATCH,
    RECIPES,
    VITS,
    Plain,
    as_model,
    built,
    picture,
    save_hub_folder,
    sentence,
    shake,
)


def test_one_pixel() -> None:
    image = Image.new("RGB", (1, 1), (9, 8, 7))
    for name in ("timm", "plain"):
        model = built(name).model
        method = "rollout" if name in VITS else "cam"
        for fit in ("native", "crop", "pad", "stretch", "whole"):
            explanation = core.explain(model, image, method, framing=core.Framing(fit))
            assert np.isfinite(explanation.relevance).all()


@pytest.mark.parametrize("size", [(1, 2048), (2048, 1), (3, 2048)])
@pytest.mark.parametrize("fit", ["native", "crop", "pad", "stretch", "whole"])
@pytest.mark.parametrize("name", ["timm", "plain"])
def test_sliver_is_fitted_or_refused_but_never_blown_up(
    name: str, fit: Any, size: tuple[int, int]
) -> None:
    """A sliver scaled until its short side fills the view would take all memory."""
    model = built(name).model
    model = as_model(
        shake(RECIPES[name].make()),
        "vit" if name in VITS else "cnn",
        preprocessing=dataclasses.replace(model.preprocessing, size=224),
    )
    image = Image.new("RGB", size, (10, 200, 30))
    largest = 0
    real = Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        nonlocal largest
        largest = max(largest, size[0] * size[1])
        if largest > MAX_PIXELS:
            raise AssertionError(f"a picture of {size[0]} × {size[1]} was about to be made")
        return real(self, size, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", resize)
        if fit in ("crop", "pad", "stretch") or (fit == "native" and min(size) > 1):
            view = model.view(image, core.Framing(fit))
            assert view.size == (224, 224)
            assert (np.asarray(view) == (10, 200, 30)).all(axis=2).any(), "something of it is left"
        else:
            with pytest.raises(ImageError, match=r"too narrow for this fit; choose"):
                model.view(image, core.Framing(fit))


def quarters(width: int, height: int) -> Image.Image:
    """Left half black, right half white, upper half with red added."""
    values = np.zeros((height, width, 3), dtype=np.uint8)
    values[:, width // 2 :] = 255
    values[: height // 2, :, 0] = 255
    return Image.fromarray(values)


@pytest.mark.parametrize("name", ["timm", "torchvision", "hf dinov2", "plain"])
@pytest.mark.parametrize("size", [(64, 64), (90, 40), (40, 90), (17, 33), (3, 5)])
@pytest.mark.parametrize("fit", ["native", "crop", "pad", "stretch"])
def test_square_fits(name: str, size: tuple[int, int], fit: Any) -> None:
    model = built(name).model
    side = model.preprocessing.size
    view = model.view(quarters(*size), core.Framing(fit))
    assert view.size == (side, side)
    assert view.mode == "RGB"
    assert model.pixels(quarters(*size), core.Framing(fit)).shape == (1, 3, side, side)


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((90, 40), 16, (36, 16)),
        ((40, 90), 16, (16, 36)),
        ((64, 64), 8, (8, 8)),
        ((30, 20), 8, (12, 8)),
        ((100, 90), 12, (12, 12)),
        ((50, 40), 18, (20, 16)),
    ],
)
def test_whole_picture_keeps_its_shape_in_whole_patches(
    size: tuple[int, int], short: int, expected: tuple[int, int]
) -> None:
    model = built("timm").model
    framing = core.Framing("whole", short)
    assert model.view(quarters(*size), framing).size == expected
    grid = core.attention(model, quarters(*size), framing).grid
    assert grid == (expected[1] // PATCH, expected[0] // PATCH)


def test_pad_keeps_the_whole_picture_and_crop_its_middle() -> None:
    model = built("timm").model
    wide = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (16, 1))).convert("RGB")
    padded = np.asarray(model.view(wide, core.Framing("pad"))).astype(int)
    assert padded[8, 0, 0] < 20
    assert padded[8, -1, 0] > 235
    bar = padded[0].reshape(-1, 3)
    assert (bar == bar[0]).all()
    assert bar.std(axis=1).max() < 15
    cropped = np.asarray(model.view(wide, core.Framing("crop"))).astype(int)
    assert np.abs(cropped[..., 0].mean() - 126) < 4
    assert cropped[0, 0, 0] > 80
    stretched = np.asarray(model.view(wide, core.Framing("stretch"))).astype(int)
    assert stretched[0, 0, 0] < 20
    assert stretched[0, -1, 0] > 235


def test_given_view_is_left_alone() -> None:
    model, image = built("timm").model, picture(3, 5)
    assert np.array_equal(np.asarray(model.view(image, core.Framing("given"))), np.asarray(image))
    with pytest.raises(ImageError, match="multiples of 4 pixels, not 10 × 8"):
        model.view(image.resize((10, 8)), core.Framing("given"))


def test_view_is_what_the_model_gets() -> None:
    for name in (*VITS, *CNNS):
        model = built(name).model
        image = quarters(50, 40)
        unit = torch.from_numpy(np.asarray(model.view(image)).copy()).double() / 255
        mean, std = torch.tensor(model.preprocessing.mean), torch.tensor(model.preprocessing.std)
        wanted = ((unit - mean) / std).permute(2, 0, 1).unsqueeze(0)
        torch.testing.assert_close(model.pixels(image).double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fit", [fit for fit in FITS if fit not in ("whole", "given")])
def test_shared_view_is_the_same_for_both(fit: Any) -> None:
    pair = [built("plain").model, built("timm").model]
    view = core.shared_view(pair, quarters(90, 40), core.Framing(fit))
    assert view.size == (16, 16)
    for model in pair:
        seen = model.view(view, core.Framing("given"))
        assert np.array_equal(np.asarray(seen), np.asarray(view))


def test_refused_framings() -> None:
    with pytest.raises(ImageError, match=r"Fit 'zoom' is unknown.*crop, pad"):
        core.Framing("zoom")  # type: ignore[arg-type]
    for size in (0, MAX_SIDE + 1):
        with pytest.raises(ImageError, match=f"Size {size} px is out of range"):
            core.Framing("crop", size)
    fixed = built("torchvision").model
    with pytest.raises(ImageError, match="takes only 16 × 16 pixels, not 24 × 16"):
        fixed.view(quarters(30, 20), core.Framing("whole"))
    with pytest.raises(ImageError, match="several sizes"):
        core.record(built("timm").model, [picture(2, 3), picture(3, 2)], core.Framing("given"))


# -- what fits into memory ------------------------------------------------------------------------

GB = 2**30


@pytest.fixture
def memory() -> Iterator[Callable[[int], None]]:
    """Set the memory budget for one test."""
    usual = capacity.memory_budget()
    yield lambda budget: core.configure(memory=budget)
    core.configure(memory=usual)


@cache
def small_vit() -> core.VisionTransformer:
    """A network as large as ViT-S/8, of random weights."""
    from timm.models.vision_transformer import VisionTransformer

    module = VisionTransformer(
        img_size=64,
        patch_size=8,
        embed_dim=384,
        num_heads=6,
        num_classes=5,
        dynamic_img_size=True,
    )
    model = as_model(module.eval(), title="ViT-S/8")
    assert isinstance(model, core.VisionTransformer)
    assert (model.depth, model.width, model.patch) == (12, 384, 8)
    return model


@pytest.mark.parametrize(
    ("width", "height", "framing"),
    [
        (480, 480, core.Framing("crop", 480)),
        (672, 672, core.Framing("crop", 672)),
        (672, 672, core.Framing("given")),
        (1344, 448, core.Framing("whole", 448)),
        (448, 1344, core.Framing("given")),
    ],
)
def test_large_grids_fit_the_usual_budget(width: int, height: int, framing: core.Framing) -> None:
    """Up to 84 × 84 patches, and wide pictures: 56 × 168."""
    view = small_vit().view(Image.new("RGB", (width, height), (9, 8, 7)), framing)
    assert view.size == (width, height)
    rows, cols = small_vit().grid((height, width))
    scores = 4 * (rows * cols) ** 2
    assert 2 * scores < small_vit().footprint((height, width)) < 2 * GB


def test_grid_beyond_the_budget_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        small_vit().view(Image.new("RGB", (1024, 1024)), core.Framing("given"))
    message = sentence(caught)
    assert "128 × 128 patches" in message
    assert "3.8 GB" in message
    assert "2.0 GB" in message
    assert "choose a smaller size" in message


def test_budget_is_what_was_configured(memory: Callable[[int], None]) -> None:
    image, framing = Image.new("RGB", (480, 480)), core.Framing("given")
    memory(GB // 4)
    with pytest.raises(ImageError, match=r"about 0\.3 GB where 0\.2 GB are allowed"):
        small_vit().view(image, framing)
    memory(GB)
    assert small_vit().view(image, framing).size == (480, 480)


@pytest.mark.parametrize("method", ["gradient_rollout", "transformer_attribution", "legrad"])
def test_gradients_beyond_the_budget_are_refused_before_the_pass(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(pixels: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the network was run")

    monkeypatch.setattr(small_vit(), "score", run)
    with pytest.raises(ImageError) as caught:
        core.explain(
            small_vit(), Image.new("RGB", (672, 672)), method, 1, framing=core.Framing("given")
        )
    message = sentence(caught)
    assert "672 × 672 pixels" in message
    assert "gradients" in message
    assert "2.7 GB" in message
    assert "2.0 GB" in message
    assert "choose" in message


def test_batches_count_as_often_as_they_hold_pictures(memory: Callable[[int], None]) -> None:
    image, framing = Image.new("RGB", (128, 128)), core.Framing("given")
    memory(40 * 2**20)
    assert len(core.record(small_vit(), [image], framing)) == 1
    with pytest.raises(ImageError, match=r"4 picture.*128 × 128 pixels.*GB"):
        core.record(small_vit(), [image] * 4, framing)


# -- the same as the library's own evaluation -----------------------------------------------------


@given(st.integers(1, 700), st.integers(1, 700))
def test_short_side_is_never_a_pixel_short(width: int, height: int) -> None:
    """The library resizes the short side to exactly this many pixels, then cuts."""
    made: list[tuple[int, int]] = []
    real = Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        made.append(size)
        return real(self, size, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", resize)
        fit_image(Image.new("RGB", (width, height)), "native", (28, 28), crop_fraction=28 / 32)
    short = min(width, height)
    long = 32 * max(width, height) // short
    assert [sorted(size) for size in made] == [[32, long]]


def textured(width: int, height: int) -> Image.Image:
    """Smooth waves, so that a shift by a pixel shows."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + phase) * np.cos(y / 7 - phase) for phase in (0, 1, 2)]
    return Image.fromarray((np.stack(waves, axis=2) * 127 + 128).astype(np.uint8))


SIZES = [(320, 240), (240, 320), (333, 333), (98, 140), (300, 300), (801, 412)]
TIMM = [
    "timm/resnet50.a1_in1k",
    "timm/deit_small_patch16_224.fb_in1k",
    "timm/convnext_tiny.fb_in1k",
    "timm/vit_small_patch16_224.augreg_in1k",
    "timm/vit_small_patch14_dinov2.lvd142m",
]


def with_preprocessing(preprocessing: Preprocessing) -> core.Model:
    """A tiny network that is fed like another."""
    return as_model(shake(Plain()), "cnn", preprocessing=preprocessing)


def assert_same_pixels(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Same shape, and equal up to the rounding of a resize."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().mean() < 2e-3


@pytest.mark.parametrize("model_id", TIMM)
def test_native_fit_is_timms_own(model_id: str) -> None:
    import timm
    from timm.data import create_transform, resolve_data_config

    spec = find_spec(model_id)
    with torch.device("meta"):
        module = timm.create_model(spec.architecture)
    ours = with_preprocessing(sources.timm_preprocessing(module, spec))
    own = create_transform(**resolve_data_config(model=module))
    for size in SIZES:
        assert_same_pixels(ours.pixels(textured(*size))[0], own(textured(*size)))


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta")
@pytest.mark.parametrize(
    "model_id", ["resnet18", "resnet50", "convnext_tiny", "mobilenet_v3_large", "vit_b_16"]
)
def test_native_fit_is_torchvisions_own(model_id: str) -> None:
    import torchvision

    spec = find_spec(f"torchvision/{model_id}")
    weights = torchvision.models.get_model_weights(spec.architecture)[spec.weights]
    with torch.device("meta"):
        module = torchvision.models.get_model(spec.architecture)
        zero = torch.zeros((), device="cpu")
        state = {name: zero.expand(t.shape) for name, t in module.state_dict().items()}
        loaded = sources.from_torchvision(spec, state)
    ours = with_preprocessing(loaded.preprocessing)
    own = weights.transforms()
    for size in SIZES:
        assert_same_pixels(ours.pixels(textured(*size))[0], own(textured(*size)))


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_native_fit_is_the_hubs_own(kind: str, tmp_path: Path) -> None:
    save_hub_folder(tmp_path, kind)
    spec = ModelSpec("x", "X", "vit", "hub", "owner/name")
    loaded = sources.from_hub(spec, tmp_path)
    from transformers import AutoImageProcessor

    own = AutoImageProcessor.from_pretrained(tmp_path)
    ours = with_preprocessing(loaded.preprocessing)
    for size in SIZES:
        wanted = own(textured(*size), return_tensors="pt")["pixel_values"][0]
        found = ours.pixels(textured(*size))[0]
        assert found.shape == wanted.shape
        assert (found - wanted).abs().mean() < 2e-2
