"""The embedded pair on the sample pictures: do its maps make sense? Figures, not impressions."""

from __future__ import annotations

import numpy as np
import pytest

import core
from core.heatmaps import share_right
from core.models import Model
from core.pictures import samples
from tests.support.builders import FEW_PASSES

CAT, ESPRESSO = 285, 967
WHOLE = core.Framing("whole", 224)


@pytest.fixture(scope="module")
def cnn() -> Model:
    return core.open_model("efficientnet-lite0")


@pytest.fixture(scope="module")
def vit() -> Model:
    return core.open_model("dinov2-small")


def picture(name: str):
    return core.read_image(next(s.path for s in samples() if s.id == name))


def shares(recording: core.Recording, model: Model, method: str) -> tuple[float, float]:
    """Share of the relevance on the right half (where the cup is) for cat and for espresso."""
    cat, espresso = (
        share_right(core.explain(model, recording, method, target).relevance)
        for target in (CAT, ESPRESSO)
    )
    return cat, espresso


# Measured with the shipped weights; see data/README.md for how good the ViT's head is.
# Transformer attribution of the cat on the whole picture stays undecided (0.49): the model itself
# looks at the cup (0.63 of its rollout). Its two classes are 0.18 apart there.
@pytest.mark.parametrize(
    ("family", "framing", "wanted"),
    [
        ("cnn", WHOLE, {"cam": (0.03, 0.97), "grad_cam": (0.03, 0.97)}),
        ("cnn", core.Framing("native"), {"cam": (0.09, 0.91)}),
        (
            "vit",
            WHOLE,
            {
                "grad_cam": (0.08, 0.69),
                "gradient_rollout": (0.30, 0.68),
                "transformer_attribution": (0.49, 0.67),
            },
        ),
        (
            "vit",
            core.Framing("native"),
            {
                "grad_cam": (0.10, 0.84),
                "gradient_rollout": (0.25, 0.78),
                "transformer_attribution": (0.37, 0.59),
            },
        ),
    ],
)
def test_maps_of_two_classes_fall_on_their_halves(
    request: pytest.FixtureRequest,
    family: str,
    framing: core.Framing,
    wanted: dict[str, tuple[float, float]],
) -> None:
    model = request.getfixturevalue(family)
    recording = core.record(model, picture("cat-beside-cup"), framing)
    found = {method: shares(recording, model, method) for method in wanted}
    for method, (cat, espresso) in found.items():
        assert (cat, espresso) == pytest.approx(wanted[method], abs=0.03), method
        undecided = method == "transformer_attribution" and framing == WHOLE
        assert espresso - cat > (0.15 if undecided else 0.2), method
        assert espresso > 0.5, method
    if family == "vit" and framing == WHOLE:
        cat, espresso = shares(recording, model, "rollout")
        assert cat == espresso, "plain rollout is the same whatever the class"


def test_cam_and_last_layer_heads_light_up_the_cat_and_not_the_background(
    cnn: Model, vit: Model
) -> None:
    image = picture("chelsea")
    framing = core.Framing("whole", 448)
    view = core.shared_view((vit, cnn), image, framing)
    given = core.Framing("given")

    def contrast(relevance: np.ndarray) -> float:
        """Mean over the cat's face by mean over the blurred background right of it."""
        rows, cols = relevance.shape
        face = relevance[rows // 8 :, : int(cols * 0.8)]
        background = relevance[rows // 4 :, int(cols * 0.87) :]
        return float(face.mean() / max(float(background.mean()), 1e-9))

    cam = core.explain(cnn, view, "cam", CAT, framing=given)
    assert contrast(cam.relevance) > 5
    heads = [contrast(m) for m in core.attention(vit, view, given).maps(11)]
    # Head 3 marks the background instead, and does so on every picture tried.
    assert sum(value > 2 for value in heads) >= 5, heads


KINDS = ("chelsea", "camera", "panda-and-polar-bear", "tiger-lines")
"""Samples of every kind: one object, without color, two objects, lines on white."""


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(one, id=one.id, marks=[] if one.id == "chelsea" else pytest.mark.slow)
        for one in samples()
        if one.id in KINDS
    ],
)
def test_every_method_gives_a_finite_map_on_every_kind(cnn: Model, vit: Model, sample) -> None:
    image = core.read_image(sample.path)
    for model in (cnn, vit):
        recording = core.record(model, image)
        for method in core.methods(model):
            brief = FEW_PASSES.get(method.name, {})
            explanation = core.explain(model, recording, method.name, **brief)
            assert np.isfinite(explanation.relevance).all(), method.name
            heatmap = explanation.heatmap(percentile=99)
            assert heatmap.shape == (explanation.view.height, explanation.view.width)
            assert heatmap.min() >= 0 <= heatmap.max() <= 1
            assert not explanation.is_blank, method.name


@pytest.fixture(scope="module")
def rollouts(vit: Model) -> dict[str, tuple[core.Explanation, np.ndarray]]:
    """By sample, rollout with its spikes, and the artifacts of attention received."""
    found = {}
    for sample in samples():
        recording = core.record(vit, core.read_image(sample.path))
        rollout = core.explain(vit, recording, "rollout", fusion="max", discard=0.9)
        found[sample.id] = (rollout, core.attention(vit, recording).artifacts())
    return found


def test_artifact_patches_are_isolated_and_few(
    rollouts: dict[str, tuple[core.Explanation, np.ndarray]],
) -> None:
    for name, (_, artifacts) in rollouts.items():
        assert artifacts.sum() <= 8, name  # of 256; six are single stars of `hubble`
    assert rollouts["chelsea"][1].sum() >= 1


def test_a_map_of_a_doubtful_class_says_so(cnn: Model, vit: Model) -> None:
    card = vit.spec.card
    doubtful = min(card.doubtful)
    assert ESPRESSO not in card.doubtful
    recording = core.record(vit, picture("chelsea"))
    for method, target, said in (
        ("gradient_rollout", doubtful, True),
        ("gradient_rollout", ESPRESSO, False),
        ("rollout", doubtful, False),
    ):
        notes = core.explain(vit, recording, method, target).notes
        assert (card.doubtful_reason in notes) == said, (method, notes)
    assert card.doubtful_reason not in core.explain(cnn, picture("chelsea"), "cam", doubtful).notes


def test_grad_cam_plus_plus_says_when_rounding_decides(cnn: Model) -> None:
    """At the first stages activations have both signs, and a denominator comes close to zero."""
    image, framing = picture("chelsea"), core.Framing("crop", 448)
    early = core.explain(cnn, image, "grad_cam_plus_plus", 281, framing=framing, layer="stage.0")
    late = core.explain(cnn, image, "grad_cam_plus_plus", 281, framing=framing)
    assert any("rounding dominates" in note for note in early.notes)
    assert not any("rounding dominates" in note for note in late.notes)


def test_spikes_are_looked_for_on_the_map_that_is_shown(
    rollouts: dict[str, tuple[core.Explanation, np.ndarray]],
) -> None:
    """Attention received misses most of them; without them no three patches outshine the map."""
    missed, before, after = 0, [], []
    for found, received in rollouts.values():
        missed += int((found.spikes & ~received).sum())
        filled = core.heatmaps.fill(found.relevance, found.spikes | received)
        for shares, relevance in ((before, found.relevance), (after, filled)):
            shares.append(np.sort(relevance, axis=None)[-3:].sum() / relevance.sum())
    assert missed > 20
    assert np.mean(before) > 0.4
    assert np.mean(after) < 0.5 * np.mean(before)


@pytest.mark.parametrize("method", ["rollout", "gradient_rollout"])
def test_discard_ratios_go_up_to_99_percent(vit: Model, method: str) -> None:
    [ratio] = [
        parameter
        for parameter in core.find_method(method).parameters_for(vit)
        if parameter.name == "discard"
    ]
    steps = round((0.99 - ratio.low) / ratio.step, 6)
    assert steps == int(steps), "a slider must be able to stand at 0.99"
    found = core.explain(vit, picture("coffee"), method, None, discard=0.99)
    assert not found.is_blank
