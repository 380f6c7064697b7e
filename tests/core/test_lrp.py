"""Layer-wise relevance propagation: the rules with a pencil, what is conserved, what is refused.

Against its oracle it is tried on every build beside the other methods, in test_methods.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import core
from core.errors import ParameterError, UnsupportedMethod
from core.lrp import rules
from core.models import Model
from core.probes import copied
from tests.support.builders import (
    CLASSES,
    CNN_PREPROCESSING,
    GIVEN,
    as_model,
    built,
    picture,
    pictures,
    shake,
)

KINDS = ("timm", "torchvision", "hf dinov2", "plain", "torchvision resnet", "timm convnext")


def relevance(model: Model, image: Any, target: Any = 1, **params: Any) -> Any:
    """A map in double precision's type, to be summed."""
    return core.explain(model, image, "lrp", target, framing=GIVEN, **params).relevance


# -- the rules with a pencil ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "gamma", "expected"),
    [
        # y = 2·3 + 1·(−2) + 1 = 5 > 0: with γ = 1, 12 − 2 + 2 = 12, and 5 is shared out by it.
        ([2.0, 1.0], 1.0, [5 * 12 / 12, 5 * -2 / 12]),
        ([2.0, 1.0], 0.0, [6.0, -2.0]),
        # y = −6 − 2 + 1 = −7 < 0: the negative products count twice, −12 − 4 + 1 = −15.
        ([-2.0, 1.0], 1.0, [-7 * -12 / -15, -7 * -4 / -15]),
        # y = 6 + 4 + 1 = 11 > 0 by a negative input times a negative weight.
        ([2.0, -2.0], 1.0, [11 * 12 / 22, 11 * 8 / 22]),
    ],
)
def test_gamma_rule_of_two_inputs(inputs: list[float], gamma: float, expected: list[float]) -> None:
    x = torch.tensor([inputs], dtype=torch.float64, requires_grad=True)
    weight, bias = torch.tensor([[3.0, -2.0]]).double(), torch.tensor([1.0]).double()
    y = rules.Linear().forward(x, weight) + bias
    found = rules.gamma_rule(x, y, weight, bias, rules.Linear(), gamma)
    assert torch.equal(found, y)
    (arrived,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close((x * arrived)[0], torch.tensor(expected).double(), atol=1e-5, rtol=0)


def test_box_rule_of_two_inputs() -> None:
    """y = 0·3 + 1·(−2) + 1 = −1; parts 0·3 + 1·3 = 3 and −2 + 2·2 = 2: three fifths and two."""
    x = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[3.0, -2.0]]).double()
    low, high = torch.full_like(x, -1.0), torch.full_like(x, 2.0)
    y = x @ weight.T + 1
    found = rules.box_rule(x, y, low, high, weight, rules.Linear())
    (arrived,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(arrived[0], torch.tensor([-0.6, -0.4]).double(), atol=1e-5, rtol=0)


def test_products_are_halved_and_norms_held() -> None:
    x = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64, requires_grad=True)
    (arrived,) = torch.autograd.grad(rules.part(x).sum(), x)
    assert arrived.tolist() == [[0.5, 0.5, 0.5]]
    normed = rules.layer_norm(x, (3,), None, None, 1e-5)
    torch.testing.assert_close(normed, torch.nn.functional.layer_norm(x, (3,)))
    (arrived,) = torch.autograd.grad(normed[0, 2], x)
    held = float((torch.tensor([4.0, 1.0, 9.0]).mean() + 1e-5).sqrt())
    torch.testing.assert_close(arrived[0] * held, torch.tensor([-1 / 3, -1 / 3, 2 / 3]).double())
    assert (x * arrived).sum().item() == pytest.approx(normed[0, 2].item())


# -- what is conserved ----------------------------------------------------------------------------


def without_biases(name: str) -> Model:
    """The same network with everything at zero that is no weight."""
    model = built(name).model
    module = copied(model.module)
    with torch.no_grad():
        for key, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if key.endswith(("bias", "running_mean", "pos_embed")):
                tensor.zero_()
    return model.rebuilt(module)


def attention_held(query: Tensor, key: Tensor, value: Tensor, run: rules.Attention) -> Tensor:
    """Attention whose weights take no relevance."""
    return run(query.detach(), key.detach(), value)


@pytest.mark.parametrize("name", ["timm average", "torchvision resnet", "timm efficientnet"])
def test_without_biases_relevance_sums_to_the_logit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = without_biases(name), pictures(name, 1)[0]
    monkeypatch.setattr(rules, "attention", attention_held)
    logits = core.predict(model, image, framing=GIVEN).logits
    for target in range(CLASSES):
        total = float(relevance(model, image, target).sum(dtype=np.float64))
        assert total == pytest.approx(logits[target], abs=1e-4 * float(np.abs(logits).max()))


def test_attention_whose_weights_are_not_held_does_not_conserve() -> None:
    model, image = without_biases("timm average"), pictures("timm average", 1)[0]
    logit = core.predict(model, image, framing=GIVEN).logits[1]
    assert abs(float(relevance(model, image).sum()) - logit) > 1e-2 * abs(logit)


# -- what is promised -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_class_rather_than_another_is_the_difference_exactly(name: str) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    found = relevance(model, image, core.rather_than(1, 3))
    first, second = relevance(model, image, 1), relevance(model, image, 3)
    np.testing.assert_array_equal(found, first - second)
    assert np.abs(found).max() > 0


@pytest.mark.parametrize("name", KINDS)
def test_pixels_sum_to_patches(name: str) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    fine = relevance(model, image, level="pixels")
    view = model.view(image, GIVEN)
    assert fine.shape == (view.height, view.width)
    side = 4
    coarse = relevance(model, image, patch=side)
    rows, cols = coarse.shape
    assert (rows * side, cols * side) == (view.height // side * side, view.width // side * side)
    if view.height % side == view.width % side == 0:
        summed = fine.reshape(rows, side, cols, side).sum(axis=(1, 3))
        np.testing.assert_allclose(coarse, summed, atol=1e-5 * np.abs(coarse).max())


@pytest.mark.parametrize("name", KINDS)
def test_shared_network_stays_as_it_is_and_serves_threads(name: str) -> None:
    model, image = built(name).model, pictures(name, 1)[0]
    wanted = relevance(model, image)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    hooks = [dict(part._forward_hooks) for part in model.module.modules()]
    logits = core.predict(model, image, framing=GIVEN).logits
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(lambda _: relevance(model, image), range(8)))
        plain = list(pool.map(lambda _: core.predict(model, image, framing=GIVEN).logits, range(4)))
    for found in several:
        np.testing.assert_array_equal(found, wanted)
    for found in plain:
        np.testing.assert_array_equal(found, logits)
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert [dict(part._forward_hooks) for part in model.module.modules()] == hooks
    assert all(torch.equal(before[key], now) for key, now in model.module.state_dict().items())


def test_gamma_is_a_number_or_the_schedule() -> None:
    model, image = built("timm").model, pictures("timm", 1)[0]
    usual = relevance(model, image)
    np.testing.assert_array_equal(relevance(model, image, gamma=None), usual)
    np.testing.assert_array_equal(relevance(model, image, gamma=0.01), usual)
    assert not np.array_equal(relevance(model, image, gamma=0.2), usual)
    with pytest.raises(ParameterError, match="gamma is -1, expected a number from 0"):
        relevance(model, image, gamma=-1)
    with pytest.raises(ParameterError, match="level is 'tokens'"):
        relevance(model, image, level="tokens")


def test_the_sum_is_told_and_is_not_the_logit() -> None:
    found = core.explain(built("timm").model, pictures("timm", 1)[0], "lrp", 1, framing=GIVEN)
    told = " ".join(found.notes)
    assert f"sums to {found.relevance.sum():.3g} and the logit is" in told
    assert "γ is 0.01 in linear layers and 0.25 in convolutions." in told
    assert found.signed


def test_gamma_is_told() -> None:
    model, image = built("torchvision resnet").model, pictures("torchvision resnet", 1)[0]
    for gamma, words in ((None, "γ falls from 0.5 in early layers to 0.1."), (0.3, "γ is 0.3.")):
        told = core.explain(model, image, "lrp", 1, framing=GIVEN, gamma=gamma).notes
        assert words in " ".join(told)


# -- what is refused ------------------------------------------------------------------------------


class Odd(nn.Module):
    """A network with one operation of choice."""

    def __init__(self, operation: Any) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
        self.layer2 = nn.Conv2d(6, 8, 3, stride=2)
        self.fc = nn.Linear(8, CLASSES)
        self.operation = operation

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.operation(self.layer2(self.layer1(pixels))).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (torch.cumsum, "its operation 'cumsum' has none"),
        (lambda x, _: x.pow(2), "its operation 'pow' has none"),
        (lambda x, _: x.detach(), "its operation 'detach' has none"),
        (lambda x, _: x / x.sum(), "it divides by values that depend on the picture"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(operation: Any, reason: str) -> None:
    def applied(x: Tensor) -> Tensor:
        return operation(x, 1)

    model = as_model(shake(Odd(applied)), "cnn", preprocessing=CNN_PREPROCESSING)
    assert "lrp" not in {method.name for method in core.methods(model)}
    with pytest.raises(UnsupportedMethod, match=reason):
        core.explain(model, picture(4, 4), "lrp", 1)


def test_other_logits_than_the_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = rules.identity_rule
    monkeypatch.setattr(rules, "identity_rule", lambda x, y: rule(x, 1.01 * y))
    with pytest.raises(UnsupportedMethod, match="the logits differ from the model's by up to"):
        relevance(built("timm").model, pictures("timm", 1)[0])


def test_dropout_that_is_off_may_stand_before_the_first_layer() -> None:
    wanted = as_model(shake(Odd(lambda x: x)), "cnn", preprocessing=CNN_PREPROCESSING)

    class Dropped(Odd):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(nn.functional.dropout(pixels, training=self.training))

    other = as_model(shake(Dropped(lambda x: x)), "cnn", preprocessing=CNN_PREPROCESSING)
    maps = [relevance(one, picture(4, 4), level="pixels") for one in (other, wanted)]
    assert maps[1].any()
    np.testing.assert_array_equal(*maps)


class Shifted(Odd):
    """Its first layer is no convolution."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return super().forward(pixels * 2)


class Grouped(Odd):
    """Its first convolution sees each color alone."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.layer1[0] = nn.Conv2d(3, 6, 3, stride=2, groups=3)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Shifted(nn.Identity()), "begins with the operation 'mul'"),
        (Grouped, "its first convolution is grouped"),
    ],
)
def test_a_first_layer_that_is_no_whole_convolution_is_refused(make: Any, reason: str) -> None:
    model = as_model(shake(make()), "cnn", preprocessing=CNN_PREPROCESSING)
    with pytest.raises(UnsupportedMethod, match=reason):
        core.explain(model, picture(4, 4), "lrp", 1)


def test_what_has_no_rule_at_another_size_is_refused_then() -> None:
    class Other(Odd):
        def forward(self, pixels: Tensor) -> Tensor:
            logits = super().forward(pixels)
            return logits.cumsum(1) if pixels.shape[-1] > 64 else logits

    model = as_model(shake(Other(nn.Identity())), "cnn", preprocessing=CNN_PREPROCESSING)
    assert "lrp" in {method.name for method in core.methods(model)}
    with pytest.raises(UnsupportedMethod, match="its operation 'cumsum' has none"):
        core.explain(model, picture(4, 4).resize((96, 96)), "lrp", 1, framing=GIVEN)
