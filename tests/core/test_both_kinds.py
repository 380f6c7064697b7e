"""Methods that serve both kinds of network: what must hold of them, and captum as a peer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

import core
from core.errors import ParameterError, Stopped
from core.fills import filled, on_pixels
from core.models import Model
from core.recording import batches
from core.recording.batches import ON_CPU
from tests.support import pixel_oracles
from tests.support.builders import (
    BRIEF,
    CLASSES,
    GIVEN,
    PATCH,
    Built,
    answer,
    built,
    close,
    picture,
)

METHODS = ("occlusion", "rise", "integrated_gradients", "input_x_gradient", "smooth_grad")
BOTH = ("timm", "plain")


def passes(model: Model, patch: pytest.MonkeyPatch) -> list[Tensor]:
    """The inputs of all passes from now on."""
    score, seen = model.score, list[Tensor]()

    def watched(pixels: Tensor) -> Tensor:
        seen.append(pixels.detach().clone())
        return score(pixels)

    patch.setattr(model, "score", watched)
    return seen


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        *[("occlusion", {"window": w, "stride": s}) for w, s in [(1, 1), (2, 1), (3, 2), (8, 5)]],
        *[("occlusion", {"fill": fill}) for fill in ("blur", "black", "noise")],
        *[
            ("rise", {"mask_cells": 3, "keep": 0.3, "fill": "black", "seed": 7} | {"definition": d})
            for d in ("centered", "paper")
        ],
        ("integrated_gradients", {"baseline": "mean", "steps": 2}),
        ("integrated_gradients", {"baseline": "black", "steps": 19}),
        ("smooth_grad", {"count": 2, "noise": 0.4, "seed": 3}),
        *[(method, {"patch": 9}) for method in METHODS],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", BOTH)
def test_oracle_with_other_parameters(name: str, method: str, params: dict[str, Any]) -> None:
    case, image = built(name), picture(6, 10)
    params = BRIEF.get(method, {}) | params
    found = core.explain(case.model, image, method, 3, framing=GIVEN, **params)
    (wanted,) = pixel_oracles.ORACLES[method](case, case.model.pixels(image, GIVEN), [3], **params)
    close(found.relevance, wanted, 1e-4)
    assert found.params.items() >= params.items()


@pytest.mark.parametrize(("given", "expected"), [(4, 4), (4.0, 4), (4.5, None), (1, None)])
def test_whole_numbers_stay_whole(given: float, expected: int | None) -> None:
    model = built("plain").model
    (patch,) = [p for p in core.find_method("occlusion").parameters_for(model) if p.name == "patch"]
    assert patch.accepts(given) == (expected is not None)
    if expected is None:
        with pytest.raises(ParameterError, match=f"patch is {given}, expected an integer from 2"):
            core.needs(model, "occlusion", patch=given)
    else:
        explanation = core.explain(model, picture(4, 4), "occlusion", framing=GIVEN, patch=given)
        assert explanation.params["patch"] == expected
        assert type(explanation.params["patch"]) is int


def test_a_stride_that_leaves_cells_out_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"stride is 3.* windows of 2"):
        core.explain(built("plain").model, picture(4, 4), "occlusion", window=2, stride=3)


def test_both_models_are_asked_about_the_same_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    view, changed = picture(4, 5), []
    for name in BOTH:
        model = built(name).model
        assert model.pixels(view, GIVEN).shape[2:] == (16, 20)
        with monkeypatch.context() as patch:
            seen = passes(model, patch)
            found = core.explain(
                model, view, "occlusion", framing=GIVEN, patch=PATCH, window=2, stride=2
            )
        assert found.relevance.shape == (4, 5)
        changed.append((torch.cat(seen[1:]) != model.pixels(view, GIVEN)).any(dim=1))
    assert torch.equal(*changed)
    corner = torch.zeros(4, 5, dtype=torch.bool)
    corner[:2, :2] = True
    assert torch.equal(changed[0][0], on_pixels(corner, (16, 20)))


# -- what must hold -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOTH)
def test_occlusion_of_nothing_is_zero(name: str) -> None:
    flat = Image.new("RGB", (24, 16), (90, 120, 30))
    for fill in ("blur", "mean"):
        found = core.explain(
            built(name).model, flat, "occlusion", 1, framing=GIVEN, patch=PATCH, fill=fill
        )
        assert found.is_blank
        assert "nothing was removed" in found.notes[0]
    half = Image.fromarray(
        np.where(np.arange(24)[None, :, None] < 12, 90, np.asarray(picture(4, 6)))
    )
    found = core.explain(
        built(name).model, half, "occlusion", 1, framing=GIVEN, patch=PATCH, window=1, stride=1,
        fill="blur",
    )  # fmt: skip
    assert not found.relevance[:, 0].any()
    assert found.relevance[:, 3:].all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BOTH)
def test_size_of_batches_changes_nothing(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = built(name).model, [picture(4, 6, seed) for seed in (0, 1)]
    brief = {"patch": PATCH} | ({"window": 2, "stride": 1} if method == "occlusion" else {})
    wanted = core.explain(model, images, method, [1, 2], framing=GIVEN, **brief)
    recording = core.record(model, images, GIVEN)
    for size in (1, 3, 64):
        monkeypatch.setattr(batches, "ON_CPU", size)
        seen = passes(model, monkeypatch)
        for one, other in zip(
            core.explain(model, recording, method, [1, 2], **brief), wanted, strict=True
        ):
            subtracts = method in ("occlusion", "rise")  # one answer of the network from another
            close(one.relevance, other.relevance, 1e-4 if subtracts else 1e-5)
        assert max(map(len, seen)) <= max(size, len(images))


@pytest.mark.parametrize("name", BOTH)
def test_no_pass_is_larger_than_a_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(name).model
    seen = passes(model, monkeypatch)
    core.explain(model, picture(4, 6), "rise", framing=GIVEN, patch=PATCH, count=5 * ON_CPU + 1)
    assert [len(pixels) for pixels in seen] == [1, *[ON_CPU] * 5, 1]


@pytest.mark.parametrize("baseline", ["blur", "mean", "black"])
@pytest.mark.parametrize("name", BOTH)
def test_integrated_gradients_are_complete(name: str, baseline: str) -> None:
    model, view = built(name).model, picture(4, 6)
    with torch.no_grad():
        ends = [
            answer(built(name).bare, model.normalize(p)) for p in (view, filled(view, baseline))
        ]
    change = float(ends[0][0, 2] - ends[1][0, 2])
    gaps = []
    for steps in (4, 256):
        found = core.explain(
            model,
            view,
            "integrated_gradients",
            2,
            framing=GIVEN,
            patch=PATCH,
            baseline=baseline,
            steps=steps,
        )
        total = float(found.relevance.sum(dtype=np.float64))
        gaps.append(abs(total - change))
        percent = abs(total - change) / abs(change)
        (note,) = [note for note in found.notes if "sums to" in note]
        assert f"sums to {total:.3g}; " in note
        assert f"changes by {change:.3g}" in note
        assert float(note.split("gap of ")[1].rstrip("%.")) == pytest.approx(
            100 * percent, abs=0.06
        )
    assert gaps[1] < 0.02 * abs(change)


def linear(weights: Tensor, start: float) -> Callable[[Tensor], Tensor]:
    """Answers whose first two classes have probabilities that are linear in the pixels."""

    def score(pixels: Tensor) -> Tensor:
        first = start + (pixels * weights).sum(dim=(1, 2, 3))
        none = torch.full((len(pixels), CLASSES - 2), -1e9)
        return torch.cat([torch.stack([first, 1 - first], dim=1).log(), none], dim=1)

    return score


def test_rise_of_a_linear_model_has_a_known_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """``q(fill) + Σ_k d_k E[m_k m_j] / p`` where ``d_k`` is what pixel k adds.

    Given the shift, masks are linear in independent cells: ``E[m mᵀ] = p² + p (1 - p) A Aᵀ``.
    """
    model, view, across, keep = built("plain").model, picture(2, 2), 2, 0.4
    pixels, fill = (model.normalize(one) for one in (view, filled(view, "mean")))
    weights = torch.zeros(3, 8, 8)
    weights[:, :4, :4] = torch.sign(pixels - fill)[0, :, :4, :4] / 150
    weights[:, 4:, 5:] = torch.sign(pixels - fill)[0, :, 4:, 5:] / -225
    score = linear(weights, 0.5 - float((fill[0] * weights).sum()))
    added = ((pixels - fill)[0] * weights).sum(dim=0).double().numpy().ravel()
    enlarged = pixel_oracles.stretch(12, across)
    moments = np.zeros((64, 64))
    for top, left in itertools.product(range(4), repeat=2):
        spread = np.kron(enlarged[top : top + 8], enlarged[left : left + 8])
        moments += (keep**2 + keep * (1 - keep) * spread @ spread.T) / 16
    limit = (0.5 + added @ moments / keep).reshape(4, 2, 4, 2).mean(axis=(1, 3))
    monkeypatch.setattr(model, "score", score)
    found = core.explain(
        model, view, "rise", 0, framing=GIVEN, patch=2, mask_cells=across, keep=keep, count=8000,
        fill="mean", definition="paper",
    ).relevance  # fmt: skip
    assert np.ptp(limit) > 0.1
    assert np.abs(found - limit).max() < 0.03


def test_gradient_methods_of_a_linear_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integrated gradients are exact with any steps; a gradient's size knows no picture."""
    model, view = built("plain").model, picture(4, 4)
    weights = torch.randn(CLASSES, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(model, "score", lambda p: torch.einsum("bchw,kchw->bk", p, weights))
    pixels, black = (model.normalize(one) for one in (view, filled(view, "black")))

    def cells(values: Tensor) -> npt.NDArray[np.float32]:
        return values.sum(dim=0).reshape(4, 4, 4, 4).sum(dim=(1, 3)).numpy()

    for method, params, wanted in (
        (
            "integrated_gradients",
            {"baseline": "black", "steps": 2},
            (pixels - black)[0] * weights[2],
        ),
        ("input_x_gradient", {}, pixels[0] * weights[2]),
        ("smooth_grad", {"count": 2}, weights[2].abs()),
    ):
        found = core.explain(model, view, method, 2, framing=GIVEN, patch=4, **params)
        close(found.relevance, cells(wanted), 1e-5)


# -- peers ----------------------------------------------------------------------------------------


def log_probability(case: Built) -> Callable[[Tensor], Tensor]:
    """What captum takes parts away from."""
    return lambda pixels: answer(case.bare, pixels).log_softmax(-1)


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("fill", ["blur", "mean", "black", "noise"])
@pytest.mark.parametrize("name", BOTH)
def test_captum_occlusion(name: str, fill: str, window: int, stride: int) -> None:
    from captum.attr import Occlusion

    case, view = built(name), picture(4, 6)
    pixels, baseline = (case.model.normalize(one) for one in (view, filled(view, fill)))
    attributed = Occlusion(log_probability(case)).attribute(
        pixels,
        sliding_window_shapes=(3, window * PATCH, window * PATCH),
        strides=(3, stride * PATCH, stride * PATCH),
        baselines=baseline,
        target=3,
    )
    found = core.explain(
        case.model, view, "occlusion", 3, framing=GIVEN, patch=PATCH, window=window,
        stride=stride, fill=fill,
    )  # fmt: skip
    close(found.relevance, attributed[0, 0, ::PATCH, ::PATCH], 1e-4)


@pytest.mark.parametrize("name", BOTH)
def test_captum_input_x_gradient(name: str) -> None:
    from captum.attr import InputXGradient

    case, view = built(name), picture(4, 6)
    pixels = case.model.normalize(view).requires_grad_()
    attributed = InputXGradient(lambda p: answer(case.bare, p)).attribute(pixels, target=3)
    blocks = attributed.detach()[0].sum(dim=0).reshape(4, PATCH, 6, PATCH).sum(dim=(1, 3))
    found = core.explain(case.model, view, "input_x_gradient", 3, framing=GIVEN, patch=PATCH)
    close(found.relevance, blocks)


# -- in company -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_eight_threads_at_once(method: str) -> None:
    models = [built(name).model for name in BOTH]
    calls = [(model, picture(4, 6, seed)) for seed in range(4) for model in models]

    def explained(call: tuple[Model, Image.Image]) -> npt.NDArray[np.float32]:
        return core.explain(*call, method, 1, framing=GIVEN, patch=PATCH).relevance

    wanted = [explained(call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(pool.map(explained, calls), wanted, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BOTH)
def test_steps_are_told_and_a_stop_leaves_nothing_behind(name: str, method: str) -> None:
    model, image = built(name).model, picture(4, 6)
    many = {"rise": {"count": 40}, "smooth_grad": {"count": 40}, "occlusion": {"patch": 2}}
    params = many.get(method, {"steps": 40} if method == "integrated_gradients" else {})
    params = {"patch": PATCH} | params
    params |= {"window": 1, "stride": 1} if method == "occlusion" else {}
    told: list[tuple[int, int]] = []
    with core.watching(lambda *step: told.append(step)):
        wanted = core.explain(model, image, method, 1, framing=GIVEN, **params).relevance
    total = told[0][1]
    assert told == [(done, total) for done in range(total + 1)]
    assert total == (1 if method == "input_x_gradient" else total) >= 1
    if method != "input_x_gradient":
        assert total > 1
        with pytest.raises(Stopped), core.watching(lambda done, total: done < 1):
            core.explain(model, image, method, 1, framing=GIVEN, **params)
    again = core.explain(model, image, method, 1, framing=GIVEN, **params).relevance
    np.testing.assert_array_equal(again, wanted)
