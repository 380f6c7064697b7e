"""What must hold whatever the attention, the picture and the parameters: property tests."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from PIL import Image
from torch import Tensor

import core
from core.methods import attention_propagation as propagation
from core.methods.registry import all_methods
from core.pictures import samples
from tests.support.builders import (
    CLASSES,
    CNNS,
    FEW_PASSES,
    GIVEN,
    HEADS,
    RECIPES,
    VITS,
    Built,
    as_model,
    builds,
    built,
    classifier,
    close,
    picture,
)

FUSIONS = st.sampled_from(["mean", "max", "min"])
RATIOS = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))
NEVER_WITHOUT_GRADIENT = ("legrad", "transformer_attribution")
"""Methods that ask for gradients and find one on every picture here."""


@st.composite
def stacks(draw: st.DrawFn) -> Tensor:
    """Attention of a few layers, (layers, heads, query, key), rows sum to one, some entries zero.

    Scores are drawn far apart too, so that a softmax may put everything on one token.
    """
    layers, heads, tokens = (draw(st.integers(1, n)) for n in (4, 4, 7))
    scores = draw(
        arrays.arrays(np.float64, (layers, heads, tokens, tokens), elements=st.floats(-800, 800))
    )
    return torch.from_numpy(scores).softmax(-1)


def products(stack: Tensor, fusion: Any, ratio: float, rows: Tensor) -> Tensor:
    """Rows of the rollout product, (rows, tokens), as the application multiplies them."""
    for layer in reversed(range(len(stack))):
        fused = propagation.discard(
            propagation.fuse(stack[layer, None].split(2, dim=2), fusion), ratio, True
        )
        rows = propagation.propagate(rows, fused, "rows")
    return rows[0]


@given(stacks(), FUSIONS, RATIOS)
def test_rows_of_a_rollout_sum_to_one(stack: Tensor, fusion: str, ratio: float) -> None:
    every = torch.eye(stack.shape[-1], dtype=stack.dtype)[None]
    product = products(stack, fusion, ratio, every)
    assert bool((product >= 0).all())
    close(product.sum(dim=-1), np.ones(len(product)), 1e-12)


@given(stacks(), FUSIONS, RATIOS)
def test_class_row_by_vectors_is_the_row_of_the_full_product(
    stack: Tensor, fusion: str, ratio: float
) -> None:
    tokens = stack.shape[-1]
    identity = torch.eye(tokens, dtype=stack.dtype)
    full = identity
    for attention in stack:
        fused = propagation.discard(propagation.fuse([attention[None]], fusion), ratio, True)[0]  # type: ignore[arg-type]
        step = fused + identity
        full = step / step.sum(dim=-1, keepdim=True) @ full
    row = products(stack, fusion, ratio, identity[None, :1])
    close(row[0], full[0], 1e-12)
    everything = products(stack, fusion, ratio, identity[None])
    close(everything, full, 1e-12)


@given(stacks(), FUSIONS, RATIOS, st.randoms(use_true_random=False))
def test_order_of_heads_changes_nothing(
    stack: Tensor, fusion: str, ratio: float, random: Any
) -> None:
    order = list(range(stack.shape[1]))
    random.shuffle(order)
    # A sum in another order may put two equal entries on different sides of the discarded share.
    ratio = 0.0 if fusion == "mean" else ratio
    start = torch.eye(stack.shape[-1], dtype=stack.dtype)[None]
    close(
        products(stack[:, order], fusion, ratio, start),
        products(stack, fusion, ratio, start),
        1e-12,
    )


@given(stacks(), FUSIONS, st.booleans())
def test_discarding_nothing_changes_nothing(stack: Tensor, fusion: Any, protected: bool) -> None:
    fused = propagation.fuse([stack], fusion)
    assert torch.equal(propagation.discard(fused, 0.0, protected), fused)


@given(stacks(), FUSIONS, RATIOS, st.booleans())
def test_what_is_discarded_is_the_smallest_share(
    stack: Tensor, fusion: Any, ratio: float, protected: bool
) -> None:
    fused = propagation.fuse([stack], fusion)
    kept = propagation.discard(fused, ratio, protected)
    count = int(ratio * fused[0].numel() + 1e-9)
    for before, after in zip(fused.flatten(1), kept.flatten(1), strict=True):
        gone = after != before
        assert int(gone.sum()) <= count
        assert not after[gone].any()
        if protected:
            assert not gone[0]
        left = ~gone & (before > 0)
        left[0] &= not protected
        if gone.any() and left.any():
            assert before[gone].max() <= before[left].min()
        assert int((after == 0).sum()) >= count - protected


@settings(max_examples=25)
@given(
    st.sampled_from([name for name, recipe in CNNS.items() if recipe.linear]),
    arrays.arrays(np.uint8, (8, 12, 3)),
    st.integers(0, CLASSES - 1),
)
def test_mean_of_cam_plus_bias_is_the_logit(name: str, values: Any, target: int) -> None:
    case = built(name)
    image = Image.fromarray(values).resize((96, 64))
    explanation = core.explain(case.model, image, "cam", target, framing=GIVEN)
    assert explanation.prediction is not None
    logits = explanation.prediction.logits
    bias = float(classifier(case).bias[target])
    total = explanation.relevance.mean(dtype=np.float64) + bias
    assert total == pytest.approx(logits[target], abs=1e-5 * float(np.abs(logits).max()))


def flat_picture(name: str, color: tuple[int, int, int]) -> Image.Image:
    """A picture of one color that suits the model."""
    size = (96, 64) if name in CNNS else (16, 16)
    return Image.new("RGB", size, color)


COLORS = st.tuples(*[st.integers(0, 255)] * 3)


def check_all_maps(case: Built, image: Image.Image) -> None:
    """Every map of every method is finite, raw and as shown."""
    recording = core.record(case.model, image, GIVEN)
    for method in core.methods(case.model):
        # Where no class is asked about, the map is the same for all.
        for target in (0, CLASSES - 1) if method.class_specific else (0,):
            try:
                explanation = core.explain(case.model, recording, method.name, target)
            except core.errors.ZeroGradient:
                assert method.name not in NEVER_WITHOUT_GRADIENT
                assert core.needs(case.model, method.name).gradients
                continue
            shown = explanation.heatmap(percentile=99)
            assert np.isfinite(explanation.relevance).all(), method.name
            assert np.isfinite(shown).all(), method.name
            assert shown.min() >= 0 <= shown.max() <= 1
            if explanation.is_blank:
                assert explanation.notes, f"{method.name} is blank and does not say why"


@settings(max_examples=2)
@pytest.mark.parametrize("name", builds(RECIPES))
@given(color=COLORS)
@example(color=(0, 0, 0))
@example(color=(255, 255, 255))
@example(color=(255, 0, 0))
def test_maps_of_a_picture_of_one_color_are_finite(name: str, color: tuple[int, int, int]) -> None:
    check_all_maps(built(name), flat_picture(name, color))


@settings(max_examples=2)
@pytest.mark.parametrize("name", builds(RECIPES))
@given(seed=st.integers(0, 2**32 - 1))
def test_maps_of_a_saturated_picture_are_finite(name: str, seed: int) -> None:
    width, height = flat_picture(name, (0, 0, 0)).size
    extremes = np.random.default_rng(seed).integers(0, 2, (height, width, 3)) * 255
    check_all_maps(built(name), Image.fromarray(extremes.astype(np.uint8)))


@pytest.mark.parametrize("scale", [1e-8, 1e4], ids=["vanishing", "exploding"])
@pytest.mark.parametrize("name", ["timm", "torchvision", "hf vit"])
def test_maps_of_extreme_attention_are_finite(name: str, scale: float) -> None:
    """Queries and keys so small that attention is even, or so large that it is all or nothing."""
    module = RECIPES[name].make()
    module.load_state_dict(built(name).bare.state_dict())
    with torch.no_grad():
        for part, weight in module.named_parameters():
            if any(word in part for word in ("qkv", "in_proj", "q_proj", "k_proj")):
                weight.mul_(scale)
    check_all_maps(
        Built(name, as_model(module.eval().requires_grad_(False)), module),
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("color", [(0, 0, 0), (124, 116, 104)])
@pytest.mark.parametrize("model_id", ["efficientnet-lite0", "dinov2-small"])
def test_embedded_models_on_a_picture_of_one_color(
    model_id: str, color: tuple[int, int, int]
) -> None:
    model = core.open_model(model_id)
    recording = core.record(model, Image.new("RGB", (224, 224), color), GIVEN)
    for method in core.methods(model):
        explanation = core.explain(model, recording, method.name, **FEW_PASSES.get(method.name, {}))
        assert np.isfinite(explanation.relevance).all(), method.name
        assert np.isfinite(explanation.heatmap(percentile=99)).all(), method.name


@pytest.mark.slow
@pytest.mark.parametrize("model_id", ["efficientnet-lite0", "dinov2-small"])
def test_embedded_models_on_a_saturated_picture(model_id: str) -> None:
    model = core.open_model(model_id)
    values = np.asarray(core.read_image(samples()[0].path).resize((224, 224)))
    saturated = Image.fromarray(((values > 127) * 255).astype(np.uint8))
    for method in core.methods(model):
        brief = FEW_PASSES.get(method.name, {})
        explanation = core.explain(model, saturated, method.name, framing=GIVEN, **brief)
        assert np.isfinite(explanation.relevance).all(), method.name
        assert explanation.relevance.std() > 0, method.name


@pytest.mark.parametrize("method", [n for n, m in all_methods().items() if "vit" in m.serves])
def test_a_callers_half_precision_changes_nothing(method: str) -> None:
    model = built("timm").model
    image = picture(4, 4)
    exact = core.explain(model, image, method, 1, framing=GIVEN).relevance
    with torch.autocast("cpu", torch.bfloat16):
        within = core.explain(model, image, method, 1, framing=GIVEN).relevance
    assert within.dtype == np.float32
    assert np.array_equal(within, exact)


def test_examples_reach_what_they_should() -> None:
    """Every method is tried on both kinds that it may serve, and heads are several."""
    for kind, names in (("vit", VITS), ("cnn", CNNS)):
        tried = {method.name for name in names for method in core.methods(built(name).model)}
        assert tried == {name for name, method in all_methods().items() if kind in method.serves}
    assert HEADS > 1
    assert len(VITS) + len(CNNS) == len(RECIPES)
