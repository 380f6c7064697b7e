"""Networks of which nothing but pixels and answers is known."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import core
from core.errors import ParameterError, UnsupportedMethod, UnsupportedModel
from core.models.pixels_only import PixelsOnly
from core.sweep.pictures import Item, Source
from core.sweep.plan import Plan, usual_map
from core.sweep.work import Chunk, Work
from tests.support import pixel_oracles
from tests.support.builders import (
    CLASSES,
    DIGITS_LOST,
    GIVEN,
    PATCH,
    PREPROCESSING,
    SIDE,
    Built,
    as_model,
    close,
    picture,
    pixels_of,
    sentence,
    shake,
)

FROM_OUTSIDE = ("occlusion", "rise", "integrated_gradients", "input_x_gradient", "smooth_grad")


def mixer() -> nn.Module:
    """An MLP-Mixer of timm with 4 × 4 patches: no attention, no maps."""
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(
        num_classes=CLASSES, img_size=SIDE, patch_size=PATCH, num_blocks=2, embed_dim=12
    )


@pytest.fixture(scope="module")
def case() -> Built:
    """The network, opened once, and a bare twin."""
    bare = shake(mixer()).requires_grad_(False)
    return Built("mixer", as_model(copy.deepcopy(bare), title="Tiny mixer"), bare)


def test_it_opens_and_says_what_is_not_shown(case: Built) -> None:
    model = case.model
    assert isinstance(model, PixelsOnly)
    assert [method.name for method in core.methods(model)] == list(FROM_OUTSIDE)
    assert model.limits == (
        "Tiny mixer (MlpMixer) is explained from outside, by its pixels and answers alone: it has "
        "no attention."
    )
    for method in ("grad_cam", "cam", "rollout"):
        with pytest.raises(UnsupportedMethod) as caught:
            core.explain(model, picture(4, 4), method, framing=GIVEN)
        assert sentence(caught).endswith(model.limits)
    with pytest.raises(UnsupportedMethod) as caught:
        core.attention(model, picture(4, 4), GIVEN)
    assert "it has no attention; choose a model" in sentence(caught)
    with pytest.raises(ParameterError) as refused:
        core.features(model, picture(4, 4), "stage.0", GIVEN)
    assert sentence(refused) == f"Layer 'stage.0' cannot be shown. {model.limits}"


@pytest.mark.parametrize("method", FROM_OUTSIDE)
def test_maps_are_what_the_formulas_say(case: Built, method: str) -> None:
    images = [picture(4, 4, seed) for seed in (0, 1)]
    found = core.explain(case.model, images, method, [3, 0], framing=GIVEN, patch=PATCH)
    wanted = pixel_oracles.ORACLES[method](case, pixels_of(case, images), [3, 0], patch=PATCH)
    for one, values in zip(found, wanted, strict=True):
        close(one.relevance, values, 2e-5 * DIGITS_LOST.get(method, 1))
        assert one.relevance.std() > 0


def test_evidence_and_maximization_serve_it(case: Built) -> None:
    model, image = case.model, picture(4, 4)
    relevance = core.explain(model, image, "occlusion", 2, framing=GIVEN, patch=PATCH).relevance
    curves = core.faithfulness(model, image, relevance, 2, framing=GIVEN, steps=4, grid=(4, 4))
    probability = core.predict(model, image, framing=GIVEN).probability(2)
    assert curves.intact == pytest.approx(probability, rel=1e-5)
    removed = np.zeros((4, 4), bool)
    removed[1, 2] = True
    with torch.no_grad():
        view = core.without(image, removed)
        bare = case.bare(model.pixels(view, GIVEN))[0]
    close(core.what_if(model, image, removed, framing=GIVEN).logits, bare, 1e-5)
    assert core.robustness(model, image, "gray", (1.0,), 2, framing=GIVEN).intact > 0
    found = core.randomization(model, image, "input_x_gradient", 2, framing=GIVEN, patch=PATCH)
    assert found.depths == ("network",)
    dream = core.maximize(model, core.class_logit(2), size=SIDE, steps=3)
    assert dream.image.size == (SIDE, SIDE)


def test_a_sweep_keeps_its_answers_for_an_embedding(case: Built, tmp_path: Path) -> None:
    picture(8, 8).save(tmp_path / "one.png")
    plan = Plan(str(tmp_path), models=("efficientnet-lite0",), maps=("input_x_gradient",))
    # It stands in for the model that the plan names.
    model = case.model.rebuilt(copy.deepcopy(case.bare))
    model.spec = dataclasses.replace(model.spec, defaults={"input_x_gradient": {"patch": PATCH}})
    work = Work(plan, [model])
    tables = work(Chunk(0, Source("folder", str(tmp_path)), (Item(0, "one.png"),)))
    [picked] = tables["pictures"].to_pylist()
    assert picked["error"] == ""
    [row] = tables["answers"].to_pylist()
    logits = core.predict(case.model, picture(8, 8), framing=core.Framing("crop")).logits
    np.testing.assert_allclose(row["embedding"], logits, rtol=1e-2, atol=1e-2)
    assert (row["artifacts"], row["answer"]) == (None, f"class {logits.argmax()}")
    [made] = tables["maps"].to_pylist()
    assert made["scale"] > 0
    assert usual_map(case.model) == "occlusion"


def test_its_own_size_is_all_it_takes(case: Built) -> None:
    assert not case.model.flexible
    with pytest.raises(core.ImageError, match="takes only 16 × 16 pixels, not 24 × 16"):
        core.predict(case.model, picture(4, 6), framing=GIVEN)
    assert case.model.footprint((SIDE, SIDE), True) > case.model.footprint((SIDE, SIDE)) > 0


class NeedsValues(nn.Module):
    """It asks its pixels which way to go, so that it cannot be tried on shapes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * SIDE * SIDE, CLASSES)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.fc(pixels.flatten(1)) * (2.0 if float(pixels.detach().mean()) > 100 else 1.0)


def test_a_network_that_cannot_be_tried_on_shapes_is_tried_with_values() -> None:
    module = shake(NeedsValues())
    twin = copy.deepcopy(module)
    model = as_model(module, title="Asks")
    assert isinstance(model, PixelsOnly)
    assert "it is built in an unknown way" in model.limits
    pixels = model.pixels(picture(4, 4), GIVEN)
    assert torch.equal(model.score(pixels), twin(pixels))
    assert core.explain(model, picture(4, 4), "input_x_gradient", 1, framing=GIVEN, patch=PATCH)


def test_what_answers_with_something_else_is_refused() -> None:
    for make, words in (
        (lambda: shake(mixer()), "answers with (5,) where 4 classes were expected"),
        (lambda: nn.Linear(3, 4), "it fails at its own 16 × 16 pixels"),
    ):
        with pytest.raises(UnsupportedModel) as caught:
            as_model(make(), classes=4)
        assert words in sentence(caught)
    headless: Any = shake(mixer())
    with pytest.raises(UnsupportedModel) as caught:
        as_model(headless, classes=0)
    assert "no classes to explain" in sentence(caught)


class ChannelsLast(nn.Module):
    """Two stages that return rows, columns and channels; as many channels as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 8, 4, stride=2, padding=1), Turn(0, 2, 3, 1))
        self.layer2 = nn.Sequential(nn.Linear(8, 8), nn.GELU())
        self.norm = nn.Tanh()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.norm(self.layer2(self.layer1(pixels))).mean(dim=(1, 2)))


class Turn(nn.Module):
    """Change the order of the axes."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same values."""
        return tensor.permute(*self.order)


def test_channels_that_stand_last_are_found_and_read() -> None:
    """With as many channels as rows and columns only the other width tells them apart."""
    bare = shake(ChannelsLast()).requires_grad_(False)
    model = as_model(copy.deepcopy(bare), "cnn", preprocessing=PREPROCESSING)
    assert isinstance(model, core.ConvNet)
    assert list(model.taps) == ["stage.0", "stage.1"]
    assert model.grid_of("stage.1", (16, 24)) == (8, 12)
    exact = copy.deepcopy(bare).double()
    for layer in ("stage.0", "stage.1"):
        image = picture(4, 6)
        pixels = model.pixels(image, GIVEN).double().requires_grad_()
        first = exact.layer1(pixels)
        second = exact.layer2(first)
        tensor = first if layer == "stage.0" else second
        logit = exact.head(exact.norm(second).mean(dim=(1, 2)))[0, 3]
        (gradient,) = torch.autograd.grad(logit, tensor)
        found = core.explain(model, image, "hirescam", 3, layer=layer, framing=GIVEN)
        close(found.relevance, (gradient * tensor).sum(dim=3)[0].detach(), 2e-5)
        weights = gradient.mean(dim=(1, 2), keepdim=True)
        found = core.explain(model, image, "grad_cam", 3, layer=layer, framing=GIVEN)
        close(found.relevance, (weights * tensor).sum(dim=3).relu()[0].detach(), 2e-5)
        features = core.features(model, image, layer, GIVEN)
        close(features, tensor[0].permute(2, 0, 1).detach(), 2e-5)


def test_rows_of_a_picture_are_not_columns() -> None:
    """A bright corner lies in the same corner of what is read."""
    model = as_model(shake(ChannelsLast()), "cnn", preprocessing=PREPROCESSING)
    values = np.zeros((16, 24, 3), np.uint8)
    dark = core.features(model, Image.fromarray(values), "stage.0", GIVEN)
    values[12:, :4] = 255
    bright = core.features(model, Image.fromarray(values), "stage.0", GIVEN)
    changed = np.abs(bright - dark).max(axis=0) > 1e-6
    assert changed[6:, :2].all()
    assert not changed[:5].any()
    assert not changed[:, 3:].any()
