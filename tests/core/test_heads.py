"""Heads as people have them: one logit, several labels, two logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import core
from core.errors import CatalogError, ParameterError
from core.fills import filled
from core.maximize.objectives import checked_objective
from core.models import Model, wrap
from core.models.preprocessing import Preprocessing
from core.models.sources import Loaded, from_hub
from core.models.spec import ModelSpec
from core.sweep.work import divergence
from tests.support.builders import (
    CNN_PREPROCESSING,
    GIVEN,
    as_model,
    close,
    huggingface_vit,
    save_hub_folder,
    sentence,
    shake,
    timm_convnet,
)

SIDE, CELL = 32, 4
RAW = Preprocessing(size=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
FINE = {"framing": GIVEN, "patch": CELL, "window": 1, "stride": 1}


class RedAndBlue(nn.Module):
    """How much pure red and how much pure blue there is: each label from pixels of its own color.

    A gray pixel counts for neither.
    """

    def __init__(self, weights: list[list[float]], biases: list[float]) -> None:
        super().__init__()
        self.layer1 = nn.Conv2d(3, 2, 1, bias=False)
        self.layer2 = nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, len(biases))
        with torch.no_grad():
            pure = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]])
            self.layer1.weight.copy_(pure[:, :, None, None])
            self.fc.weight.copy_(torch.tensor(weights))
            self.fc.bias.copy_(torch.tensor(biases))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.avgpool(self.layer2(self.layer1(pixels))).flatten(1))


RED, BLUE = np.s_[8:20, 4:12], np.s_[12:24, 20:28]


def two_objects() -> Image.Image:
    """A red thing at the left and a blue one at the right, on gray."""
    values = np.full((SIDE, SIDE, 3), 90, np.uint8)
    values[RED] = (250, 20, 30)
    values[BLUE] = (10, 30, 240)
    return Image.fromarray(values)


def of_cells(place: Any) -> tuple[slice, slice]:
    """The cells that an object covers, which is whole cells."""
    rows, cols = place
    return (
        slice(rows.start // CELL, rows.stop // CELL),
        slice(cols.start // CELL, cols.stop // CELL),
    )


def two_labels(answer: Any = "sigmoid") -> Model:
    """A label for each of the two things."""
    module = RedAndBlue([[30.0, 0.0], [0.0, 40.0]], [-1.0, -2.0]).eval()
    return as_model(module, "cnn", classes=2, preprocessing=RAW, answer=answer)


def one_logit() -> Model:
    """One label: red is there."""
    module = RedAndBlue([[30.0, -5.0]], [-0.5]).eval()
    return as_model(module, "cnn", classes=1, preprocessing=RAW, answer="sigmoid")


def logits_of(model: Model, view: Any) -> Any:
    """Logits in double precision of a picture of bytes, written out."""
    unit = np.asarray(view, dtype=np.float64) / 255
    red = np.maximum(unit @ [1, -1, -1], 0).mean()
    blue = np.maximum(unit @ [-1, -1, 1], 0).mean()
    fc: Any = model.module.fc
    return fc.weight.double().numpy() @ [red, blue] + fc.bias.double().numpy()


def occluded(model: Model, score: Callable[[Any], float]) -> Any:
    """How far a score falls when one cell after the other is replaced by the mean color."""
    view, fill = np.asarray(two_objects()), np.asarray(filled(two_objects(), "mean"))
    wanted = np.empty((SIDE // CELL, SIDE // CELL))
    for row, col in np.ndindex(wanted.shape):
        changed = view.copy()
        cell = np.s_[row * CELL : (row + 1) * CELL, col * CELL : (col + 1) * CELL]
        changed[cell] = fill[cell]
        wanted[row, col] = score(logits_of(model, view)) - score(logits_of(model, changed))
    return wanted


def log_sigmoid(logit: float) -> float:
    return -float(np.log1p(np.exp(-logit)))


# -- several labels -------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "own", "other"), [(0, RED, BLUE), (1, BLUE, RED)])
def test_occluding_one_object_leaves_the_label_of_the_other_alone(
    label: int, own: Any, other: Any
) -> None:
    model = two_labels()
    found = core.explain(model, two_objects(), "occlusion", label, **FINE).relevance
    assert (found[of_cells(own)] > 0.01).all()
    assert not found[of_cells(other)].any()
    wanted = occluded(model, lambda logits: log_sigmoid(logits[label]))
    close(found, wanted, 1e-5)
    # Among classes that share one whole the other object does count.
    shared = core.explain(two_labels("softmax"), two_objects(), "occlusion", label, **FINE)
    assert (shared.relevance[of_cells(other)] < -0.01).all()


def test_several_labels_hold_at_once() -> None:
    found = core.predict(two_labels(), two_objects(), framing=GIVEN)
    wanted = 1 / (1 + np.exp(-logits_of(two_labels(), two_objects())))
    assert (wanted > 0.5).all()
    assert list(found.affirmed) == list(found.indices)
    close(found.probabilities, np.sort(wanted)[::-1], 1e-5)
    nothing = core.predict(two_labels(), Image.new("RGB", (SIDE, SIDE), "gray"), framing=GIVEN)
    assert len(nothing.affirmed) == 0
    assert len(nothing.indices) == 2
    classes = core.predict(two_labels("softmax"), two_objects(), framing=GIVEN)
    assert list(classes.affirmed) == [classes.top]
    assert sum(classes.probabilities) == pytest.approx(1)


def test_more_labels_hold_than_are_listed() -> None:
    logits = np.array([0.1, -1, 3, 2, 0.2, 0.3, 0.4, 5], np.float32)
    order = np.array([7, 2])
    found = core.Prediction(order, ("a", "b"), np.array([1.0, 0.9]), logits, "sigmoid")
    assert list(found.affirmed) == [7, 2, 3, 6, 5, 4, 0]


@pytest.mark.parametrize("method", ["rise", "occlusion", "input_x_gradient", "grad_cam", "cam"])
def test_every_method_is_asked_about_one_label(method: str) -> None:
    """What a map of the red thing holds where the blue one is: nothing."""
    params: dict[str, Any] = {"rise": {"count": 300, "mask_cells": 8}}.get(method, {})
    if not method.endswith("cam"):
        params |= {"patch": CELL}
    if method == "occlusion":
        params |= {"window": 1, "stride": 1}
    found = core.explain(two_labels(), two_objects(), method, 0, framing=GIVEN, **params)
    values = np.kron(found.relevance, np.ones([SIDE // side for side in found.relevance.shape]))
    assert values[RED].mean() > 8 * abs(values[BLUE].mean())


# -- one logit ------------------------------------------------------------------------------------


def test_one_logit_is_a_label_with_a_true_map() -> None:
    model = one_logit()
    found = core.explain(model, two_objects(), "occlusion", **FINE)
    logit = float(logits_of(model, two_objects())[0])
    assert found.prediction is not None
    assert found.prediction.probabilities[0] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)
    assert 0.5 < found.prediction.probabilities[0] < 0.99
    close(found.relevance, occluded(model, lambda logits: log_sigmoid(logits[0])), 1e-5)
    assert (found.relevance[of_cells(RED)] > 0.01).all()
    assert (found.relevance[of_cells(BLUE)] < -0.001).all()
    assert not found.notes
    assert found.manifest()["model"]["answer"] == "sigmoid"


def test_curves_of_one_logit_fall_and_rise() -> None:
    model = one_logit()
    relevance = core.explain(model, two_objects(), "occlusion", **FINE).relevance
    found = core.faithfulness(model, two_objects(), relevance, framing=GIVEN, steps=8, grid=(8, 8))
    blurred = np.asarray(filled(two_objects(), "blur"))
    for step, view in ((0, np.asarray(two_objects())), (8, blurred)):
        wanted = 1 / (1 + np.exp(-logits_of(model, view)[0]))
        assert found.deletion[step] == pytest.approx(wanted, rel=1e-4)
    assert found.deletion_area < found.insertion_area - 0.02


def test_the_answer_of_one_logit_may_fall() -> None:
    found = core.robustness(one_logit(), two_objects(), "gray", (0.0, 0.1, 1.0), framing=GIVEN)
    assert list(found.tops) == [0, 0, 0]
    assert found.intact > 0.5 > found.probabilities[-1]
    assert list(found.stays) == [True, True, False]
    both = core.robustness(two_labels(), two_objects(), "gray", (0.0, 1.0), framing=GIVEN)
    assert list(both.stays) == [True, False]


@pytest.mark.parametrize("answer", ["", "softmax"])
def test_one_logit_among_classes_is_refused_with_what_to_write(answer: Any) -> None:
    with pytest.raises(CatalogError) as caught:
        as_model(RedAndBlue([[1.0, 1.0]], [0.0]).eval(), "cnn", 1, RAW, "Mine", answer)
    message = sentence(caught)
    assert "Mine answers with one number" in message
    assert 'state answer = "sigmoid" (in its entry, or --answer sigmoid)' in message


def test_two_logits_are_classes_or_labels() -> None:
    assert two_labels("").answer == "softmax"
    assert two_labels("sigmoid").answer == "sigmoid"


# -- what an entry and a hub folder say -----------------------------------------------------------

ENTRY = """
[[model]]
id = "mine"
family = "cnn"
architecture = "test_resnet"
weights = "mine.safetensors"
labels = "labels.txt"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model of one's own that has one logit."""
    import timm

    torch.manual_seed(0)
    save_file(
        timm.create_model("test_resnet", num_classes=1).state_dict(), tmp_path / "mine.safetensors"
    )
    (tmp_path / "labels.txt").write_text("pneumonia\n", "utf-8")
    (tmp_path / "models.toml").write_text(ENTRY, "utf-8")
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))
    return tmp_path


def test_a_binary_classifier_of_ones_own(own: Path) -> None:
    with pytest.raises(CatalogError, match='state answer = "sigmoid"'):
        core.open_model("mine")
    (own / "models.toml").write_text(ENTRY + 'answer = "sigmoid"\n', "utf-8")
    model = core.open_model("mine")
    assert (model.answer, model.labels) == ("sigmoid", ("pneumonia",))
    found = core.predict(model, two_objects())
    assert found.probabilities[0] == pytest.approx(1 / (1 + np.exp(-float(found.logits[0]))))
    (own / "models.toml").write_text(ENTRY + 'answer = "sigmoids"\n', "utf-8")
    assert "answer is 'sigmoids', expected 'softmax'" in str(core.catalog_problem())


def test_a_hub_folder_says_that_it_has_labels(tmp_path: Path) -> None:
    module: Any = save_hub_folder(tmp_path, "vit")
    spec = ModelSpec("tiny", "Tiny", "vit", "hub", "tiny/vit")
    assert wrap(spec, from_hub(spec, tmp_path)).answer == "softmax"
    module.config.problem_type = "multi_label_classification"
    module.save_pretrained(tmp_path)
    assert wrap(spec, from_hub(spec, tmp_path)).answer == "sigmoid"
    given = ModelSpec("tiny", "Tiny", "vit", "hub", "tiny/vit", answer="softmax")
    assert wrap(given, from_hub(given, tmp_path)).answer == "softmax"
    assert Loaded(module, (), RAW).answer == ""
    assert huggingface_vit("vit").config.problem_type is None  # type: ignore[union-attr]


# -- the opposite of a label ----------------------------------------------------------------------


def test_occlusion_of_the_opposite_by_hand() -> None:
    model = one_logit()
    found = core.explain(model, two_objects(), "occlusion", core.not_label("class 0"), **FINE)
    close(found.relevance, occluded(model, lambda logits: log_sigmoid(-logits[0])), 1e-5)
    assert found.label == "not class 0"
    assert found.notes == (
        "It explains not class 0, the negated logit of this label: the evidence against it.",
    )
    assert (found.relevance[of_cells(BLUE)] > 0).all()
    assert found.prediction is not None
    both = [found.prediction.probability(asked) for asked in (0, core.not_label(0))]
    assert sum(both) == pytest.approx(1)


@pytest.mark.parametrize("method", ["cam", "grad_cam", "hirescam", "layer_cam", "input_x_gradient"])
def test_the_opposite_is_as_good_as_a_label_of_its_own(method: str) -> None:
    """A network whose logit is the negated one gives the same map."""
    torch.manual_seed(1)
    module = shake(timm_convnet("test_resnet"))
    negated = shake(timm_convnet("test_resnet"))
    with torch.no_grad():
        negated.fc.weight.neg_()  # type: ignore[union-attr, operator]
        negated.fc.bias.neg_()  # type: ignore[union-attr, operator]
    model, other = (
        as_model(one, "cnn", preprocessing=CNN_PREPROCESSING, answer="sigmoid")
        for one in (module, negated)
    )
    view = two_objects().resize((64, 64))
    shown = 0
    for label in range(model.classes):
        found = core.explain(model, view, method, core.not_label(label), framing=GIVEN)
        wanted = core.explain(other, view, method, label, framing=GIVEN)
        close(found.relevance, wanted.relevance, 1e-5)
        shown += not found.is_blank
    assert shown


def test_the_opposite_is_written_down_and_read_back() -> None:
    asked = core.not_label(1)
    assert (asked.key, asked.indices, asked.is_class) == ("not-1", (1,), False)
    found = core.explain(two_labels(), two_objects(), "occlusion", asked, **FINE)
    written = found.manifest()["class"]
    assert written == {"index": 1, "name": "class 1", "opposite": True}
    assert core.read_target(written) == asked == found.target
    assert core.read_target({"index": 1, "name": "class 1"}) == 1
    assert repr(asked) == "core.not_label(1)"
    described = checked_objective(asked).describe(two_labels())
    assert described == "negated logit of class 1 (class 1)"


def test_classes_that_share_one_whole_have_no_opposite() -> None:
    with pytest.raises(ParameterError) as caught:
        core.explain(two_labels("softmax"), two_objects(), "occlusion", core.not_label(0), **FINE)
    message = sentence(caught)
    assert "core.not_label(0)" in message
    assert "choose core.rather_than" in message


# -- sweeps ---------------------------------------------------------------------------------------


def answered(logits: list[float], answer: Any = "sigmoid") -> core.Prediction:
    values = np.array(logits, np.float32)
    return core.Prediction(np.array([0]), ("a",), np.array([1.0]), values, answer)


def test_divergence_of_labels_is_the_mean_of_each_labels_own() -> None:
    first, second = [0.3, -1.2, 4.0], [2.0, 0.5, -9.0]
    shared = np.array([[0, 1], [1, 0]])

    def entropy(p: float) -> float:
        return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))

    wanted = []
    for a, b in ((first[0], second[1]), (first[1], second[0])):
        p, q = (1 / (1 + np.exp(-float(np.float32(y)))) for y in (a, b))
        wanted.append(entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2)
    found = divergence(answered(first), answered(second), shared)
    assert found == pytest.approx(np.mean(wanted), rel=1e-9)
    one = np.array([[0], [0]])
    assert divergence(answered([99.0]), answered([-99.0]), one) == pytest.approx(1)
    assert divergence(answered([3.0]), answered([3.0]), one) == 0
    assert divergence(answered([3.0, 1.0]), answered([3.0, 1.0], "softmax"), shared) is None
