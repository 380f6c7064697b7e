"""What must hold for every method, whatever the numbers."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch

import core
from core.methods.registry import all_methods
from core.recording.batches import ON_CPU
from tests.support.builders import (
    CLASSES,
    CNNS,
    DIGITS_LOST,
    GIVEN,
    HEADS,
    RECIPES,
    VITS,
    Built,
    answer,
    as_model,
    builds,
    built,
    classifier,
    close,
    explain,
    picture,
    pictures,
    timm_vit,
)

VIT_METHODS = [name for name, method in all_methods().items() if "vit" in method.serves]


@pytest.mark.parametrize("name", builds([name for name, recipe in CNNS.items() if recipe.linear]))
def test_cam_adds_up_to_the_logit(name: str) -> None:
    case = built(name)
    bias = classifier(case).bias
    for explanation in explain(case, 3, "cam"):
        assert explanation.prediction is not None
        total = explanation.relevance.mean() + float(bias[explanation.target])
        assert total == pytest.approx(explanation.prediction.logits[explanation.target], rel=1e-4)


@pytest.mark.parametrize("name", builds([name for name, recipe in CNNS.items() if recipe.linear]))
def test_cam_family_agrees_at_the_features(name: str) -> None:
    case = built(name)
    for cam, hires, grad in zip(
        explain(case, 2, "cam"),
        explain(case, 2, "hirescam"),
        explain(case, 2, "grad_cam"),
        strict=True,
    ):
        close(hires.relevance, cam.relevance / cam.relevance.size)
        close(grad.relevance, np.maximum(cam.relevance, 0) / cam.relevance.size)


@pytest.mark.parametrize("name", builds(VITS))
def test_rollout_is_a_share(name: str) -> None:
    for fusion, discard in itertools.product(("mean", "max", "min"), (0.0, 0.5, 1.0)):
        for explanation in explain(built(name), 2, "rollout", fusion=fusion, discard=discard):
            assert explanation.prefix_mass is not None
            assert explanation.relevance.min() >= 0
            whole = explanation.relevance.sum() + explanation.prefix_mass
            assert whole == pytest.approx(1, abs=1e-5), f"{fusion}, {discard}"


@pytest.mark.parametrize("name", ["timm", "timm registers", "hf dinov2"])
def test_class_specific_rollout_is_a_share(name: str) -> None:
    for explanation in explain(built(name), 3, "gradient_rollout", discard=0.3):
        assert explanation.prefix_mass is not None
        assert explanation.relevance.sum() + explanation.prefix_mass == pytest.approx(1, abs=1e-5)


def permuted_heads() -> Built:
    """The timm transformer with its heads in another order: the same function."""
    case = built("timm")
    module = timm_vit()
    module.load_state_dict(case.bare.state_dict())
    order = torch.tensor([2, 0, 1])
    channels = 12 // HEADS
    places = (order[:, None] * channels + torch.arange(channels)).flatten()
    with torch.no_grad():
        for block in module.blocks:  # type: ignore[union-attr]
            qkv = block.attn.qkv  # type: ignore[union-attr]
            three = torch.cat([places + 12 * part for part in range(3)])
            qkv.weight.copy_(qkv.weight[three].clone())
            qkv.bias.copy_(qkv.bias[three].clone())
            proj = block.attn.proj  # type: ignore[union-attr]
            proj.weight.copy_(proj.weight[:, places].clone())
    return Built("timm", as_model(module), module, prefix=1)


@pytest.mark.parametrize("method", VIT_METHODS)
def test_order_of_heads_does_not_matter(method: str) -> None:
    mine, theirs = built("timm"), permuted_heads()
    for a, b in zip(explain(mine, 2, method), explain(theirs, 2, method), strict=True):
        close(a.relevance, b.relevance, 5e-5)
    image = pictures("timm", 1)[0]
    ours = core.attention(mine.model, image, GIVEN).maps(1)
    close(core.attention(theirs.model, image, GIVEN).maps(1), ours[[2, 0, 1]])


@pytest.mark.parametrize(
    ("method", "definition"),
    [
        ("rollout", "paper"),
        ("rollout", "columns"),
        ("rollout", "vit-explain"),
        ("gradient_rollout", "paper"),
        ("gradient_rollout", "vit-explain"),
    ],
)
def test_discarding_nothing_changes_nothing(method: str, definition: str) -> None:
    case = built("timm")
    without = explain(case, 1, method, definition=definition)[0]
    almost = explain(case, 1, method, definition=definition, discard=0.5 / 49)[0]
    np.testing.assert_array_equal(without.relevance, almost.relevance)
    more = explain(case, 1, method, definition=definition, discard=0.9)[0]
    assert np.abs(without.relevance - more.relevance).max() > 1e-4


def test_definitions_of_rollout_differ() -> None:
    """The published code meets the paper where heads are averaged and nothing is discarded."""
    case = built("timm")

    def scaled(definition: str, **params: object) -> npt.NDArray[np.float32]:
        relevance = explain(case, 1, "rollout", definition=definition, **params)[0].relevance
        return relevance / relevance.max()

    close(scaled("vit-explain"), scaled("paper"))
    assert np.abs(scaled("columns") - scaled("paper")).max() > 1e-2
    for params in ({"fusion": "max"}, {"fusion": "min"}, {"discard": 0.5}):
        maps = [scaled(definition, **params) for definition in ("paper", "columns", "vit-explain")]
        for one, other in itertools.combinations(maps, 2):
            assert np.abs(one - other).max() > 1e-2


@pytest.mark.parametrize("name", builds(RECIPES))
def test_a_recording_serves_every_method(name: str) -> None:
    model = built(name).model
    image = pictures(name, 1)[0]
    recording = core.record(model, image, GIVEN)
    for method in core.methods(model):
        for target in (1, 4):
            alone = core.explain(model, image, method.name, target, framing=GIVEN)
            shared = core.explain(model, recording, method.name, target)
            close(shared.relevance, alone.relevance, 1e-5)
            assert shared.target == alone.target == (target if method.class_specific else None)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_a_list_is_its_members(name: str) -> None:
    model = built(name).model
    images = pictures(name, 3)
    for method in core.methods(model):
        target = [2, 0, 2] if method.class_specific else None
        together = core.explain(model, images, method.name, target, framing=GIVEN)
        for image, one, wanted in zip(images, together, target or [None] * 3, strict=True):
            alone = core.explain(model, image, method.name, wanted, framing=GIVEN)
            close(one.relevance, alone.relevance, 2e-5 * DIGITS_LOST.get(method.name, 2.5))
            assert (one.target, one.label, one.params) == (alone.target, alone.label, alone.params)


def test_a_list_of_several_shapes_keeps_its_order() -> None:
    model = built("timm").model
    images = [picture(2, 3), picture(4, 4), picture(2, 3, 1), picture(3, 2)]
    together = core.explain(model, images, "rollout", framing=GIVEN)
    assert [one.relevance.shape for one in together] == [(2, 3), (4, 4), (2, 3), (3, 2)]
    predictions = core.predict(model, images, framing=GIVEN)
    for image, one, prediction in zip(images, together, predictions, strict=True):
        alone = core.explain(model, image, "rollout", framing=GIVEN)
        close(one.relevance, alone.relevance)
        close(prediction.logits, core.predict(model, image, framing=GIVEN).logits)


@pytest.mark.parametrize("name", ["timm", "plain"])
def test_more_pictures_than_one_batch_holds(name: str) -> None:
    model, images = built(name).model, pictures(name, ON_CPU + 3)
    method = "rollout" if name == "timm" else "cam"
    for image, one in zip(images, core.explain(model, images, method, framing=GIVEN), strict=True):
        close(one.relevance, core.explain(model, image, method, framing=GIVEN).relevance)


@pytest.mark.parametrize("name", ["timm", "torchvision", "hf dinov2", "plain"])
def test_gradients_of_several_targets_stay_apart(name: str) -> None:
    """Each target's map, asked for in any order and again, is the one a fresh call gives."""
    model, image = built(name).model, pictures(name, 1)[0]
    method = "gradient_rollout" if name in VITS else "grad_cam_plus_plus"
    recording = core.record(model, image, GIVEN)
    fresh = [
        core.explain(model, image, method, target, framing=GIVEN).relevance
        for target in range(CLASSES)
    ]
    for target in (0, 1, 2, 3, 4, 1, 0, 4):
        close(core.explain(model, recording, method, target).relevance, fresh[target], 1e-5)
    assert np.abs(fresh[0] - fresh[1]).max() > 1e-4


def test_moving_a_slider_never_runs_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    vit, cnn = built("timm").model, built("plain").model
    recordings = [core.record(m, pictures(n, 1), GIVEN) for m, n in [(vit, "timm"), (cnn, "plain")]]
    core.explain(vit, recordings[0], "gradient_rollout", 1)

    def refuse(*_: object) -> None:
        raise AssertionError("the network ran again")

    for model in (vit, cnn):
        monkeypatch.setattr(model, "score", refuse)
    for discard in (0.0, 0.5):
        core.explain(vit, recordings[0], "rollout", discard=discard, fusion="max")
        core.explain(vit, recordings[0], "gradient_rollout", 1, discard=discard)
    core.explain(vit, recordings[0], "transformer_attribution", 1)
    core.explain(vit, recordings[0], "attention", layer=0, head=1)
    core.attention(vit, recordings[0]).joints()
    for target in range(CLASSES):
        for method in ("cam", "grad_cam", "grad_cam_plus_plus", "hirescam", "layer_cam"):
            core.explain(cnn, recordings[1], method, target)


@pytest.mark.parametrize("name", builds(RECIPES))
def test_default_target_is_the_top_class(name: str) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    top = int(answer(built(name).bare, model.pixels(image, GIVEN)).argmax())
    for method in core.methods(model):
        explanation = core.explain(model, image, method.name, framing=GIVEN)
        assert explanation.target == (top if method.class_specific else None)
        assert explanation.label == (f"class {top}" if method.class_specific else "")
        assert explanation.prediction is not None
        assert explanation.prediction.top == top
        assert explanation.method == method.name
        assert explanation.model_id == "tiny"
        assert explanation.seconds > 0
        assert explanation.view.size == image.size


def test_prediction_of_a_picture() -> None:
    case = built("torchvision")
    image = pictures("torchvision", 1)[0]
    logits = answer(case.bare, case.model.pixels(image))[0].double()
    prediction = core.predict(case.model, image, k=3)
    shares = (logits.exp() / logits.exp().sum()).numpy()
    order = np.argsort(-shares)
    assert prediction.indices.tolist() == order[:3].tolist()
    assert prediction.labels == tuple(f"class {i}" for i in order[:3])
    close(prediction.probabilities, shares[order[:3]])
    assert prediction.probability(int(order[4])) == pytest.approx(shares[order[4]], rel=1e-4)
    assert len(core.predict(case.model, image, k=99).indices) == CLASSES


def test_display_map() -> None:
    explanation = explain(built("plain"), 1, "cam")[0]
    heatmap = explanation.heatmap()
    assert heatmap.shape == (64, 96)
    assert heatmap.dtype == np.float32
    assert heatmap.min() >= 0
    assert heatmap.max() <= 1
    assert explanation.heatmap((7, 5)).shape == (7, 5)
    assert explanation.heatmap(percentile=50).mean() > heatmap.mean()
    assert explanation.relevance.min() < 0
