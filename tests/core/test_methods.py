"""Every method against its oracle on every family; a few numbers that a pencil can follow."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import core
from core.errors import UnsupportedMethod
from core.methods import attention_propagation as propagation
from core.methods.registry import GRADIENT, Method, all_methods, find_method
from core.models.preprocessing import Preprocessing
from core.models.transformer import VisionTransformer
from core.recording.transformer import TransformerRecording
from tests.support import oracles
from tests.support.builders import (
    CNNS,
    DEPTH,
    DIGITS_LOST,
    GIVEN,
    HEADS,
    PATCH,
    TARGETS,
    VITS,
    Built,
    OneConvolution,
    answer,
    as_model,
    builds,
    built,
    close,
    explain,
    grid_of,
    pictures,
    pixels_of,
)

FUSIONS, DISCARDS = ("mean", "max", "min"), (0.0, 0.35, 0.9)
DEFINITIONS = ("paper", "columns", "vit-explain")
ROLLOUTS = [
    [
        {"fusion": FUSIONS[f], "discard": DISCARDS[d], "definition": DEFINITIONS[(f + d + s) % 3]}
        for f in range(3)
        for d in range(3)
    ]
    for s in range(3)
]
"""All 27 choices of rollout in three parts; in each part every two values of them meet once."""

TOKEN_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("attention", {}),
    ("attention", {"layer": 0, "head": 2}),
    ("attention", {"layer": 1}),
    ("rollout", {"layers": (1, 2), "fusion": "max"}),
    ("rollout", {"layers": (0, 2), "definition": "columns"}),
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


TOKEN_METHODS = sorted({name for name, _ in TOKEN_CALLS})


def token_calls(name: str, method: str) -> list[dict[str, Any]]:
    """Parameters that a method of tokens is tried with on a build.

    Of rollout the builds of a library share them, where they are three or more.
    """
    calls = [params for one, params in TOKEN_CALLS if one == method]
    if method != "rollout":
        return calls
    others = [one for one in VITS if one.partition(" ")[0] == name.partition(" ")[0]]
    parts = ROLLOUTS if len(others) < 3 else [ROLLOUTS[others.index(name) % 3]]
    return calls + [params for part in parts for params in part]


MAPS_OF_TOKENS = [name for name in oracles.PER_PLACE if "vit" in find_method(name).serves]


# -- against the oracles ------------------------------------------------------------------------


def missing(methods: dict[str, Method]) -> set[str]:
    """Names of methods without an oracle."""
    return set(methods) - set(oracles.ORACLES)


def test_every_method_has_an_oracle_and_is_tried() -> None:
    assert not missing(all_methods())
    assert set(oracles.ORACLES) == set(all_methods())
    assert set(TOKEN_METHODS) == set(oracles.PER_TOKEN)
    served = {name for name, method in all_methods().items() if "vit" in method.serves}
    assert served == {*oracles.PER_TOKEN, *MAPS_OF_TOKENS}


def test_a_method_without_oracle_would_be_noticed() -> None:
    assert missing({**all_methods(), "new": find_method("cam")}) == {"new"}


@pytest.mark.parametrize("name", builds(VITS))
def test_reference_transformer_is_the_librarys(name: str) -> None:
    case = built(name)
    pixels = pixels_of(case, pictures(name, 2))
    found = torch.cat([trace.logits for _, trace in oracles.traces(case, pixels)])
    close(found.detach(), answer(copy.deepcopy(case.bare).double(), pixels.double()), 1e-6)
    close(found.detach(), answer(case.bare, pixels))


@pytest.mark.parametrize("name", builds(VITS))
def test_facts_of_a_transformer(name: str) -> None:
    case = built(name)
    model = case.model
    assert isinstance(model, VisionTransformer)
    facts = (model.depth, model.heads, model.width, model.head_width, model.patch)
    assert facts == (DEPTH, HEADS, case.width, case.width // HEADS, PATCH)
    assert (model.prefix, model.reads_class_token) == (case.prefix, case.reads_class)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", builds(VITS))
def test_readout_is_what_the_classifier_reads(name: str, count: int) -> None:
    case = built(name)
    images = pictures(name, count)
    recording = core.record(case.model, images, GIVEN)
    assert isinstance(recording, TransformerRecording)
    found = recording.readout_row()[:, 0]
    readout = case.model.readout  # type: ignore[attr-defined]
    assert readout.is_plain == (case.reads == "class")
    assert readout.attended == (case.reads == "pooling")
    close(found.sum(dim=1), np.ones(count), 1e-6)
    runs = oracles.traces(case, pixels_of(case, images))
    for row, (_, trace) in zip(found, runs, strict=True):
        # What is read of the unit matrix is the share of each token.
        close(row, oracles.readout(case, trace, np.eye(len(row))), 1e-5)


@pytest.mark.parametrize("method", TOKEN_METHODS)
@pytest.mark.parametrize("name", builds(VITS))
def test_transformer_method(name: str, method: str) -> None:
    case = built(name)
    images, grid = pictures(name, 3), grid_of(name)
    for number, params in enumerate(token_calls(name, method)):
        count = 3 if number % 3 else 1
        wanted = oracles.ORACLES[method](
            case, pixels_of(case, images[:count]), TARGETS[:count], **params
        )
        for explanation, row in zip(explain(case, count, method, **params), wanted, strict=True):
            assert explanation.relevance.shape == grid, params
            assert explanation.relevance.dtype == np.float32
            close(explanation.relevance, row[case.prefix :].reshape(grid), note=str(params))
            share = row[: case.prefix].sum() / row.sum()
            assert explanation.prefix_mass == pytest.approx(share, abs=1e-5), params


def test_every_library_is_tried_with_every_choice_of_rollout() -> None:
    every = [params for part in ROLLOUTS for params in part]
    assert len({tuple(params.values()) for params in every}) == 27
    for library in ("timm", "torchvision", "hf"):
        names = [name for name in VITS if name.startswith(library)]
        tried = [params for name in names for params in token_calls(name, "rollout")]
        assert all(params in tried for params in every)


def has_layers(case: Built, method: str) -> bool:
    """Whether a method lets the reader choose the layer that it looks at."""
    parameters = all_methods()[method].parameters_for(case.model)
    return any(p.name == "layer" and p.kind == "choice" for p in parameters)


@pytest.mark.parametrize("method", MAPS_OF_TOKENS)
@pytest.mark.parametrize("name", builds(VITS))
def test_map_of_the_tokens_that_enter_a_block(name: str, method: str) -> None:
    case = built(name)
    layers = [f"block.{i}.input" for i in range(DEPTH)] if has_layers(case, method) else []
    calls: list[tuple[int, str | None]] = [(1, None), (3, None), *((3, layer) for layer in layers)]
    for count, layer in calls:
        pixels = pixels_of(case, pictures(name, count))
        params = {} if layer is None else {"layer": layer}
        wanted = oracles.ORACLES[method](case, pixels, TARGETS[:count], **params)
        explanations = explain(case, count, method, **params)
        for explanation, relevance in zip(explanations, wanted, strict=True):
            assert explanation.relevance.shape == grid_of(name)
            if layers:
                assert explanation.params["layer"] == (layer or layers[-1])
                assert explanation.prefix_mass is None
            close(explanation.relevance, relevance, 2e-5 * DIGITS_LOST.get(method, 1))


CNN_METHODS = [name for name, method in all_methods().items() if "cnn" in method.serves]


@pytest.mark.parametrize(
    ("method", "count"),
    [
        (method, count)
        for method in CNN_METHODS
        for count in ((2,) if method == "lrp" else (1, 3))  # its oracle is slow
    ],
)
@pytest.mark.parametrize("name", builds(CNNS))
def test_convolutional_method(name: str, method: str, count: int) -> None:
    case = built(name)
    if refusal := all_methods()[method].unsupported(case.model):
        with pytest.raises(UnsupportedMethod) as caught:
            explain(case, count, method)
        assert refusal in str(caught.value)
        return
    wanted = oracles.ORACLES[method](case, pixels_of(case, pictures(name, count)), TARGETS[:count])
    # Occlusion is a difference of two logarithms of probabilities, each rounded to 1e-7.
    least = 5e-7 if method == "occlusion" else 0.0
    for explanation, relevance in zip(explain(case, count, method), wanted, strict=True):
        close(explanation.relevance, relevance, 2e-5 * DIGITS_LOST.get(method, 1), least)


@pytest.mark.parametrize("method", [m for m in CNN_METHODS if has_layers(built("plain"), m)])
@pytest.mark.parametrize("name", builds(["plain", "torchvision efficientnet", "timm resnet"]))
def test_convolutional_method_at_every_layer(name: str, method: str) -> None:
    case = built(name)
    pixels = pixels_of(case, pictures(name, 1))
    parameters = all_methods()[method].parameters_for(case.model)
    layers = next(parameter.options for parameter in parameters if parameter.name == "layer")
    assert layers == ("head.input", *reversed(oracles.stage_paths(case)))
    for layer in layers:
        (wanted,) = oracles.ORACLES[method](case, pixels, TARGETS[:1], layer=layer)
        (explanation,) = explain(case, 1, method, layer=layer)
        close(explanation.relevance, wanted, 1e-3 if method.endswith("plus") else 5e-5)


# -- with a pencil ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("stage.0", [[11.25, 13.5], [20.25, 22.5]]), ("stage.1", [[0.0, 4.0], [28.0, 32.5]])],
)
def test_grad_cam_of_sixteen_pixels(layer: str, expected: list[list[float]]) -> None:
    """A 4 × 4 picture of 0..15, one 3 × 3 convolution of ones into two channels, one logit.

    The sums of the four windows are 45, 54, 81, 90; less 50 and 75 they are -5, 4, 31, 40 and
    -30, -21, 6, 15. The logit adds all positions of channel 0 and the first of channel 1 and
    subtracts the rest. After the ReLU the mean gradients are 1 and -1/2; before it, where the ReLU
    stops some, 3/4 and -1/2: so 28 = 31 - 6/2 and 11.25 = -5 · 3/4 + 30/2.
    """
    ramp = np.arange(16, dtype=np.uint8).reshape(4, 4)
    image = Image.fromarray(ramp).convert("RGB")
    raw = Preprocessing(size=4, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    model = as_model(OneConvolution(), "cnn", classes=1, preprocessing=raw, answer="sigmoid")
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
    assert torch.equal(propagation.discard(fused, 0.34, False), wanted)
    wanted[1, 0, 0] = 0.125
    assert torch.equal(propagation.discard(fused, 0.34, True), wanted)


def test_one_layer_of_attention() -> None:
    """Two heads, three tokens, numbers small enough to follow."""
    heads = torch.tensor(
        [
            [
                [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]],
                [[0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2]],
            ]
        ]
    )
    each = heads.split(1, dim=2)  # a row at a time
    mean = propagation.fuse(each, "mean")
    close(mean[0], [[0.3, 0.2, 0.5], [0.15, 0.5, 0.35], [0.45, 0.25, 0.3]])
    close(propagation.fuse(each, "max")[0, 0], [0.5, 0.3, 0.8])
    close(propagation.fuse(each, "min")[0, 0], [0.1, 0.1, 0.2])
    # ⌊0.34 · 9⌋ = 3 entries go: .15, .2 and .25; of [.3, …] none is the class token's own.
    close(
        propagation.discard(mean, 0.34, True)[0],
        [[0.3, 0.0, 0.5], [0.0, 0.5, 0.35], [0.45, 0.0, 0.3]],
    )
    first = torch.tensor([[[1.0, 0.0, 0.0]]])
    # Row 0 of (M + I) / 2, for every row of M sums to one.
    close(propagation.propagate(first, mean, "rows")[0, 0], [0.65, 0.1, 0.25])
    close(propagation.propagate(first, mean, "none")[0, 0], [1.3, 0.2, 0.5])
    third = torch.tensor([[[0.0, 0.0, 1.0]]])
    kept = propagation.discard(mean, 0.34, True)
    # Row sums of kept + I: 1.8, 1.85, 1.75; column sums: 1.75, 1.5, 2.15. By rows the last row is
    # divided by its own sum, by columns each entry by its column's, and vit-explain divides each
    # by the sum of the row that has the column's number.
    close(propagation.propagate(third, kept, "rows")[0, 0], [0.45 / 1.75, 0.0, 1.3 / 1.75])
    close(propagation.propagate(third, kept, "columns")[0, 0], [0.45 / 1.75, 0.0, 1.3 / 2.15])
    close(propagation.propagate(third, kept, "vit-explain")[0, 0], [0.45 / 1.8, 0.0, 1.3 / 1.75])


@pytest.mark.parametrize(("protect", "kept"), [(True, 0.01), (False, 0.0)])
def test_discard_keeps_the_class_tokens_own_entry(protect: bool, kept: float) -> None:
    fused = torch.tensor([[[0.01, 0.99], [0.4, 0.6]], [[0.01, 0.99], [0.7, 0.3]]])
    result = propagation.discard(fused, 0.5, protect)
    close(result, [[[kept, 0.99], [0.0, 0.6]], [[kept, 0.99], [0.7, 0.0]]])
    everything = propagation.discard(fused, 1.0, protect)
    assert int((everything != 0).sum()) == (2 if protect else 0)


def test_discard_counts_entries_of_the_whole_matrix() -> None:
    fused = torch.rand(2, 10, 10, generator=torch.Generator().manual_seed(0)) + 0.1
    for ratio, gone in [(0.0, 0), (0.009, 0), (0.01, 1), (0.29, 29), (0.57, 57), (1.0, 100)]:
        assert (propagation.discard(fused, ratio, False) == 0).sum(dim=(1, 2)).tolist() == [
            gone,
            gone,
        ]


# -- what a map takes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "timm"])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("occlusion", {"stride": 2}),
        ("occlusion", {"stride": 1, "window": 2}),
        ("rise", {"count": 7}),
        ("integrated_gradients", {"steps": 5}),
        ("smooth_grad", {"count": 3}),
    ],
)
def test_passes_are_as_many_as_are_counted_before(
    name: str, method: str, params: dict[str, Any]
) -> None:
    model = built(name).model
    recording = core.record(model, pictures(name, 1)[0], GIVEN)
    seen = [0]

    def count(_module: Any, given: tuple[Any, ...]) -> None:
        seen[0] += len(given[0]) * (GRADIENT if torch.is_grad_enabled() else 1)

    handle = model.module.register_forward_pre_hook(count)
    try:
        core.explain(model, recording, method, 1, **params)
    finally:
        handle.remove()
    stated = core.count_passes(recording, method, **params)
    assert stated <= seen[0] <= stated + GRADIENT, "but for the pass of a baseline"


def test_a_map_read_off_its_recording_costs_no_pass() -> None:
    recording = core.record(built("plain").model, pictures("plain", 1)[0], GIVEN)
    quick = [method.name for method in core.methods(recording.model) if method.is_quick]
    assert {"cam", "grad_cam"} <= set(quick)
    assert {core.count_passes(recording, name) for name in quick} == {0}
    assert not {"rise", "occlusion", "integrated_gradients", "smooth_grad"} & set(quick)


class OneChannel(nn.Module):
    """The negated mean of the pixels, times a weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 1, 1, bias=False)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.layer1.weight.zero_()[:, 0] = -1.0
            self.fc.weight.fill_(weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer1(pixels)).flatten(1))


@pytest.mark.parametrize(("weight", "said"), [(0.5, True), (0.25, False)])
def test_a_denominator_near_zero_is_said(weight: float, said: bool) -> None:
    """2 + (Σ A) g, with A = −4 everywhere and g = weight / 16, is 2 − 4 · weight."""
    raw = Preprocessing(size=4, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    image = Image.new("RGB", (4, 4), (4, 4, 4))
    model = as_model(OneChannel(weight), "cnn", classes=1, preprocessing=raw, answer="sigmoid")
    found = core.explain(model, image, "grad_cam_plus_plus", 0)
    assert any("rounding dominates this map" in note for note in found.notes) == said
