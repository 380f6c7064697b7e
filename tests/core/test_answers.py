"""Logits to probabilities: one place says how, and every reader of answers follows the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import core
from core import answers, probes
from core.models import Model
from tests.support.builders import CLASSES, GIVEN, PATCH, built, close, picture

ROOT = Path(__file__).resolve().parents[2]
BOTH = ("timm", "plain")
LOGITS = [[0.0, np.log(3.0)], [np.log(2.0), 0.0]]
SOFTMAX = [[1 / 4, 3 / 4], [2 / 3, 1 / 3]]
SIGMOID = [[1 / 2, 3 / 4], [2 / 3, 1 / 2]]


@pytest.mark.parametrize(("answer", "wanted"), [("softmax", SOFTMAX), ("sigmoid", SIGMOID)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_known_probabilities(answer: answers.Reading, wanted: Any, dtype: type) -> None:
    logits = np.array(LOGITS, dtype=dtype)
    for found in (
        answers.probabilities(logits, answer),
        answers.probabilities(torch.from_numpy(logits), answer).numpy(),
        np.exp(answers.log_probabilities(logits, answer)),
        answers.log_probabilities(torch.from_numpy(logits), answer).exp().numpy(),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("answer", ["softmax", "sigmoid"])
def test_large_logits_neither_overflow_nor_warn(answer: answers.Reading) -> None:
    for logits in (np.array([-800.0, 0.0, 800.0]), np.array([-90.0, 0.0, 90.0], np.float32)):
        for values in (logits, torch.from_numpy(logits)):
            found = np.asarray(answers.probabilities(values, answer))  # type: ignore[type-var]
            logarithms = np.asarray(answers.log_probabilities(values, answer))  # type: ignore[type-var]
            assert np.isfinite(logarithms).all()
            assert found[0] == pytest.approx(0, abs=1e-30)
            assert found[2] == pytest.approx(1)
            assert logarithms[0] == pytest.approx(-logits[2] * (2 if answer == "softmax" else 1))


@pytest.mark.parametrize("name", BOTH)
def test_every_model_says_how_it_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(name).model
    assert model.answer == "softmax"
    monkeypatch.setattr(model, "answer", "sigmoid")
    assert model.rebuilt(probes.copied(model.module)).answer == "sigmoid"


def halves(pixels: Tensor) -> Tensor:
    """Label 0 depends on the left half of the picture only, label 1 on the right half only."""
    middle = pixels.shape[3] // 2
    left = pixels[..., :middle].mean(dim=(1, 2, 3))
    right = pixels[..., middle:].mean(dim=(1, 2, 3))
    rest = torch.zeros(len(pixels), CLASSES - 2)
    return torch.cat([torch.stack([3 * left, 2 * right], dim=1), rest], dim=1)


@pytest.fixture(params=BOTH)
def labels_of_halves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of several labels, each of which looks at its own half of the picture."""
    model = built(request.param).model
    monkeypatch.setattr(model, "score", halves)
    monkeypatch.setattr(model, "answer", "sigmoid", raising=False)
    return model


def asked(model: Model, logits: Any) -> Any:
    """What the labels' probabilities are, said by hand."""
    return 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))


def test_predictions_of_labels(labels_of_halves: Model) -> None:
    found = core.predict(labels_of_halves, picture(4, 6), framing=GIVEN)
    wanted = asked(labels_of_halves, found.logits)
    close(found.probabilities, wanted[found.indices], 1e-6)
    assert sum(found.probabilities) > 1.5, "labels do not share one whole"
    for label in range(CLASSES):
        assert found.probability(label) == pytest.approx(wanted[label], rel=1e-6)


def test_occluding_one_object_leaves_the_label_of_the_other_alone(labels_of_halves: Model) -> None:
    model, view = labels_of_halves, picture(4, 6)
    one = {"framing": GIVEN, "patch": PATCH, "window": 1, "stride": 1}
    for label, own in ((0, np.s_[:, :3]), (1, np.s_[:, 3:])):
        found = core.explain(model, view, "occlusion", label, **one).relevance
        other = np.s_[:, 3:] if label == 0 else np.s_[:, :3]
        assert not found[other].any()
        assert (found[own] != 0).mean() > 0.8


def test_rise_follows_labels(labels_of_halves: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model, view = labels_of_halves, picture(4, 6)
    few = {"framing": GIVEN, "patch": PATCH, "count": 60}
    before = core.explain(model, view, "rise", 0, **few).relevance

    def other(pixels: Tensor) -> Tensor:  # another label becomes certain, which is no news to 0
        logits = halves(pixels)
        logits[:, 2] = 50.0
        return logits

    monkeypatch.setattr(model, "score", other)
    after = core.explain(model, view, "rise", 0, **few).relevance
    np.testing.assert_array_equal(after, before)
    assert after.any()


@pytest.mark.parametrize("kind", ["faithfulness", "robustness"])
def test_curves_follow_labels(labels_of_halves: Model, kind: str) -> None:
    model, view = labels_of_halves, picture(4, 6)
    logits = core.predict(model, view, framing=GIVEN).logits
    measure: dict[str, Callable[[int], Any]] = {
        "faithfulness": lambda label: core.faithfulness(
            model, view, np.arange(24.0).reshape(4, 6), label, framing=GIVEN, steps=3
        ),
        "robustness": lambda label: core.robustness(
            model, view, "gray", (1,), label, framing=GIVEN
        ),
    }
    for label in range(CLASSES):
        found = measure[kind](label)
        assert found.intact == pytest.approx(float(asked(model, logits)[label]), rel=1e-6)


def test_answers_are_read_in_one_place_only() -> None:
    """Attention has a softmax of its own."""
    elsewhere = {"core/answers.py", "core/recording/transformer.py", "core/attention.py"}
    elsewhere |= files_with("softmax_attention")
    elsewhere |= {"core/models/unsupported_architectures.py"}
    assert files_with("softmax(") - elsewhere == set()


def files_with(text: str) -> set[str]:
    """Files of core whose code holds a text."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "core").rglob("*.py")
        if any(
            text in line and not line.lstrip().startswith(("#", '"'))
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    }
