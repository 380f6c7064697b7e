"""Every method against its oracle on every family; a few numbers computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import core
from core import flow
from core.errors import UnsupportedMethod
from core.methods.registry import Method, all_methods, find_method
from core.models.base import Preprocessing, VisionTransformer
from tests.support import oracles
from tests.support.builders import (
    CNNS,
    DEPTH,
    FIXED_SIZE,
    HEADS,
    TARGETS,
    VITS,
    OneConvolution,
    answer,
    as_model,
    built,
    close,
    explain,
    pictures,
    pixels_of,
)

VIT_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("attention", {}),
    ("attention", {"layer": 0, "head": 2}),
    ("attention", {"layer": 1}),
    *[
        ("rollout", {"fusion": fusion, "discard": discard, "definition": definition})
        for fusion in ("mean", "max", "min")
        for discard in (0.0, 0.35, 0.9)
        for definition in ("paper", "vit-explain")
    ],
    ("rollout", {"layers": (1, 2), "fusion": "max"}),
    ("rollout", {"layers": (2, 0), "definition": "vit-explain", "discard": 0.2}),
    *[
        ("gradient_rollout", {"discard": discard, "definition": definition})
        for discard in (0.0, 0.6, 0.9)
        for definition in ("paper", "vit-explain")
    ],
    ("gradient_rollout", {"layers": (0, 1)}),
    ("gradient_rollout", {"layers": (0, 1), "definition": "vit-explain"}),
    ("transformer_attribution", {}),
    ("transformer_attribution", {"layers": (0, 2)}),
    ("legrad", {}),
    ("legrad", {"layers": (1,)}),
]


# -- against the oracles ------------------------------------------------------------------------


def missing(methods: dict[str, Method]) -> set[str]:
    """Names of methods without an oracle."""
    return set(methods) - set(oracles.ORACLES)


def test_every_method_has_an_oracle_and_is_tried() -> None:
    assert not missing(all_methods())
    assert set(oracles.ORACLES) == set(all_methods())
    tried = {name for name, _ in VIT_CALLS}
    assert tried == {name for name, m in all_methods().items() if m.family == "vit"}


def test_a_method_without_oracle_would_be_noticed() -> None:
    assert missing({**all_methods(), "new": find_method("cam")}) == {"new"}


@pytest.mark.parametrize("name", VITS)
def test_transformer_by_hand_is_the_transformer(name: str) -> None:
    case = built(name)
    pixels = pixels_of(case, pictures(name, 2))
    by_hand = torch.cat([trace.logits for _, trace in oracles.traces(case, pixels)])
    close(by_hand.detach(), answer(case.bare, pixels))


@pytest.mark.parametrize("name", VITS)
def test_facts_of_a_transformer(name: str) -> None:
    case = built(name)
    model = case.model
    assert isinstance(model, VisionTransformer)
    assert (model.depth, model.heads, model.width, model.patch) == (DEPTH, HEADS, 12, 4)
    assert (model.prefix, model.reads_class_token) == (case.prefix, case.class_token)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("method", "params"), VIT_CALLS, ids=str)
@pytest.mark.parametrize("name", VITS)
def test_transformer_method(name: str, method: str, params: dict[str, Any], count: int) -> None:
    case = built(name)
    images = pictures(name, count)
    wanted = oracles.ORACLES[method](case, pixels_of(case, images), TARGETS[:count], **params)
    grid = (4, 4) if name in FIXED_SIZE else (2, 3)
    for explanation, row in zip(explain(case, count, method, **params), wanted, strict=True):
        assert explanation.relevance.shape == grid
        assert explanation.relevance.dtype == np.float32
        close(explanation.relevance, row[case.prefix :].reshape(grid))
        assert explanation.hidden == pytest.approx(row[: case.prefix].sum() / row.sum(), abs=1e-5)


CNN_METHODS = [name for name, method in all_methods().items() if method.family == "cnn"]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("method", CNN_METHODS)
@pytest.mark.parametrize("name", CNNS)
def test_convolutional_method(name: str, method: str, count: int) -> None:
    case = built(name)
    if method == "cam" and not case.linear:
        with pytest.raises(UnsupportedMethod, match="one linear layer follows the pooling"):
            explain(case, count, method)
        return
    wanted = oracles.ORACLES[method](case, pixels_of(case, pictures(name, count)), TARGETS[:count])
    for explanation, relevance in zip(explain(case, count, method), wanted, strict=True):
        # α of Grad-CAM++ divides by a difference, which costs single precision some digits.
        close(explanation.relevance, relevance, 1e-3 if method.endswith("plus") else 2e-5)


@pytest.mark.parametrize("method", [name for name in CNN_METHODS if name != "cam"])
@pytest.mark.parametrize("name", ["plain", "torchvision efficientnet", "timm resnet"])
def test_convolutional_method_at_every_layer(name: str, method: str) -> None:
    case = built(name)
    pixels = pixels_of(case, pictures(name, 1))
    offered = next(m for m in core.methods(case.model) if m.name == method)
    layers = offered.parameters_for(case.model)[0].options
    assert layers[0] == "features"
    assert len(layers) > 2
    for layer in layers:
        (wanted,) = oracles.ORACLES[method](case, pixels, TARGETS[:1], layer=layer)
        (explanation,) = explain(case, 1, method, layer=layer)
        close(explanation.relevance, wanted, 1e-3 if method.endswith("plus") else 5e-5)


# -- by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("layer1", [[11.25, 13.5], [20.25, 22.5]]), ("layer2", [[0.0, 4.0], [28.0, 32.5]])],
)
def test_grad_cam_computed_by_hand(layer: str, expected: list[list[float]]) -> None:
    """A 4 × 4 picture of 0..15, one 3 × 3 convolution of ones into two channels, one logit.

    The sums of the four windows are 45, 54, 81, 90; less 50 and 75 they are -5, 4, 31, 40 and
    -30, -21, 6, 15. The logit adds all positions of channel 0 and the first of channel 1 and
    subtracts the rest. After the ReLU the mean gradients are 1 and -1/2; before it, where the ReLU
    stops some, 3/4 and -1/2: so 28 = 31 - 6/2 and 11.25 = -5 · 3/4 + 30/2.
    """
    ramp = np.arange(16, dtype=np.uint8).reshape(4, 4)
    image = Image.fromarray(ramp).convert("RGB")
    raw = Preprocessing(size=4, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    model = as_model(OneConvolution(), "cnn", classes=1, preprocessing=raw)
    explanation = core.explain(model, image, "grad_cam", 0, layer=layer)
    assert explanation.prediction is not None
    assert explanation.prediction.logits[0] == pytest.approx(54.0)
    np.testing.assert_allclose(explanation.relevance, expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_of_equal_entries_the_first_are_discarded(dtype: torch.dtype) -> None:
    fused = torch.tensor(
        [
            [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.0, 0.25, 0.75]],
            [[0.125, 0.5, 0.375], [0.25, 0.25, 0.5], [0.375, 0.375, 0.25]],
        ],
        dtype=dtype,
    )
    # ⌊0.34 · 9⌋ = 3 entries of each: 0 and two of four .25; .125 and two of three .25.
    wanted = fused.clone()
    wanted[0, 0, 1] = wanted[0, 0, 2] = wanted[0, 2, 0] = 0
    wanted[1, 0, 0] = wanted[1, 1, 0] = wanted[1, 1, 1] = 0
    assert torch.equal(flow.discard(fused, 0.34, False), wanted)
    wanted[1, 0, 0] = 0.125
    assert torch.equal(flow.discard(fused, 0.34, True), wanted)


def test_one_layer_of_attention_by_hand() -> None:
    """Two heads, three tokens, numbers small enough to follow."""
    heads = torch.tensor(
        [
            [
                [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]],
                [[0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2]],
            ]
        ]
    )
    each = heads.split(1, dim=1)
    mean = flow.fuse(each, "mean")
    close(mean[0], [[0.3, 0.2, 0.5], [0.15, 0.5, 0.35], [0.45, 0.25, 0.3]])
    close(flow.fuse(each, "max")[0, 0], [0.5, 0.3, 0.8])
    close(flow.fuse(each, "min")[0, 0], [0.1, 0.1, 0.2])
    # ⌊0.34 · 9⌋ = 3 entries go: .15, .2 and .25; of [.3, …] none is the class token's own.
    close(flow.discard(mean, 0.34, True)[0], [[0.3, 0.0, 0.5], [0.0, 0.5, 0.35], [0.45, 0.0, 0.3]])
    first = torch.tensor([[[1.0, 0.0, 0.0]]])
    # Row 0 of (M + I) / 2, for every row of M sums to one.
    close(flow.propagate(first, mean, "rows")[0, 0], [0.65, 0.1, 0.25])
    close(flow.propagate(first, mean, "none")[0, 0], [1.3, 0.2, 0.5])
    third = torch.tensor([[[0.0, 0.0, 1.0]]])
    kept = flow.discard(mean, 0.34, True)
    # Row sums of kept + I: 1.8, 1.85, 1.75. By rows the last row is divided by its own sum; by
    # columns each of its entries is divided by another row's.
    close(flow.propagate(third, kept, "rows")[0, 0], [0.45 / 1.75, 0.0, 1.3 / 1.75])
    close(flow.propagate(third, kept, "columns")[0, 0], [0.45 / 1.8, 0.0, 1.3 / 1.75])


@pytest.mark.parametrize(("protect", "kept"), [(True, 0.01), (False, 0.0)])
def test_discard_keeps_the_class_tokens_own_entry(protect: bool, kept: float) -> None:
    fused = torch.tensor([[[0.01, 0.99], [0.4, 0.6]], [[0.01, 0.99], [0.7, 0.3]]])
    result = flow.discard(fused, 0.5, protect)
    close(result, [[[kept, 0.99], [0.0, 0.6]], [[kept, 0.99], [0.7, 0.0]]])
    everything = flow.discard(fused, 1.0, protect)
    assert int((everything != 0).sum()) == (2 if protect else 0)


def test_discard_counts_entries_of_the_whole_matrix() -> None:
    fused = torch.rand(2, 10, 10, generator=torch.Generator().manual_seed(0)) + 0.1
    for ratio, gone in [(0.0, 0), (0.009, 0), (0.01, 1), (0.29, 29), (0.57, 57), (1.0, 100)]:
        assert (flow.discard(fused, ratio, False) == 0).sum(dim=(1, 2)).tolist() == [gone, gone]
