"""What may be asked of an output: a class by index or name, or a class rather than another."""

from __future__ import annotations

import json
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import core
from core import probes
from core.errors import ParameterError, UnsupportedMethod, ZeroGradient
from core.fills import filled, on_pixels
from core.methods.registry import all_methods
from core.models import Model
from tests.support import pixel_oracles
from tests.support.builders import (
    BRIEF,
    CLASSES,
    GIVEN,
    PATCH,
    answer,
    built,
    close,
    picture,
    pictures,
    pixels_of,
    sentence,
)

A, B = 3, 1
BOTH = ("timm", "plain")
ASKED = core.rather_than(A, B)
LINEAR = ("cam", "hirescam", "input_x_gradient", "integrated_gradients", "lrp", "occlusion")
"""Methods that are linear in what is asked; occlusion because ``log p_a − log p_b = y_a − y_b``."""

SPECIFIC = [
    (name, method.name)
    for name in BOTH
    for method in core.methods(built(name).model)
    if method.class_specific
]


def view_of(name: str) -> Image.Image:
    """A picture that suits both kinds."""
    return picture(*((4, 6) if name == "timm" else (8, 12)))


def explained(name: str, method: str, target: Any, **params: Any) -> core.Explanation:
    """A map of one of the two models."""
    params = BRIEF.get(method, {}) | params
    return core.explain(built(name).model, view_of(name), method, target, framing=GIVEN, **params)


# -- maps of a difference -------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method"), [p for p in SPECIFIC if p[1] in LINEAR])
def test_the_map_of_a_difference_is_the_difference_of_the_maps(name: str, method: str) -> None:
    found = explained(name, method, ASKED).relevance
    first, second = (explained(name, method, target).relevance for target in (A, B))
    largest = max(float(np.abs(one).max()) for one in (first, second))
    # Occlusion subtracts two logarithms of probabilities, each rounded, from one another.
    digits = 10 if method == "occlusion" else 1
    assert np.abs(found - (first - second)).max() <= 1e-6 * digits * largest
    assert np.abs(found).max() > 0.01 * largest, "the two classes are not alike"


@pytest.mark.parametrize(("name", "method"), [p for p in SPECIFIC if p[1] in (*LINEAR, "rise")])
def test_the_other_way_round_the_sign_changes(name: str, method: str) -> None:
    found = explained(name, method, ASKED)
    other = explained(name, method, core.rather_than(B, A))
    close(other.relevance, -found.relevance, 1e-6)
    assert found.signed


def last_layer(module: nn.Module) -> nn.Linear:
    """What gives the logits."""
    return [
        part
        for part in module.modules()
        if isinstance(part, nn.Linear) and len(part.weight) == CLASSES
    ][-1]


@cache
def with_the_difference_as_a_class(name: str) -> Model:
    """The same network, whose class 0 has the difference of the weights of two classes."""
    model = built(name).model
    module = probes.copied(model.module)
    head = last_layer(module)
    with torch.no_grad():
        for parameter in (head.weight, head.bias):
            parameter[0] = parameter[A] - parameter[B]
    return model.rebuilt(module)


@pytest.mark.parametrize(
    ("name", "method"), [p for p in SPECIFIC if p[1] not in ("occlusion", "rise")]
)
def test_a_difference_is_as_good_as_a_class_of_its_own(name: str, method: str) -> None:
    """A network that has the difference for a logit gives the same map by every method."""
    own = core.explain(
        with_the_difference_as_a_class(name),
        view_of(name),
        method,
        0,
        framing=GIVEN,
        **BRIEF.get(method, {}),
    )
    found = explained(name, method, ASKED)
    close(found.relevance, own.relevance, 1e-3 if "plus" in method else 2e-5)
    if own.prefix_mass is not None:
        assert found.prefix_mass == pytest.approx(own.prefix_mass, rel=1e-4)
    assert not found.is_blank


@pytest.mark.parametrize("name", BOTH)
def test_occlusion_of_a_difference_by_hand(name: str) -> None:
    """How far ``y_a − y_b`` falls when one cell is replaced, for every cell alone."""
    case, view = built(name), view_of(name)
    pixels, fill = (case.model.normalize(one) for one in (view, filled(view, "mean")))
    params = {"patch": PATCH, "window": 1, "stride": 1}
    found = explained(name, "occlusion", ASKED, **params)

    def gap(one: Tensor) -> float:
        with torch.no_grad():
            logits = answer(case.bare, one)[0].double()
        return float(logits[A] - logits[B])

    wanted = np.empty(found.relevance.shape)
    for place in np.ndindex(wanted.shape):
        cell = torch.zeros(wanted.shape, dtype=torch.bool)
        cell[place] = True
        without = torch.where(on_pixels(cell, tuple(pixels.shape[2:])), fill, pixels)  # type: ignore[arg-type]
        wanted[place] = gap(pixels) - gap(without)
    close(found.relevance, wanted, 1e-4)
    assert any("difference of the two logits" in note for note in found.notes)


@pytest.mark.parametrize("definition", ["centered", "paper"])
@pytest.mark.parametrize("name", BOTH)
def test_rise_of_a_difference_by_hand(name: str, definition: str) -> None:
    """The line through the differences of logits, mask by mask; or the paper's sum of them."""
    case, view = built(name), view_of(name)
    (pixels,) = pixels_of(case, [view])
    params = {"patch": PATCH, "count": 24, "mask_cells": 3, "keep": 0.5, "definition": definition}
    found = explained(name, "rise", ASKED, **params)
    ask, given = pixel_oracles.network(case), pixel_oracles.view_of(case, pixels)
    replaced = pixel_oracles.fill_of(given, "blur")
    cells = pixel_oracles.cells_of(case, given, PATCH)
    gaps, shares = [], []
    for mask in pixel_oracles.rise_masks(given.shape[:2], 24, 3, 0.5, 0):
        mixed = mask[..., None] * given + (1 - mask[..., None]) * replaced
        logits = ask(pixel_oracles.standardized(case, mixed)).detach()
        gaps.append(float(logits[A] - logits[B]))
        shares.append(pixel_oracles.reduced(mask, cells, lambda values: float(values.mean())))
    kept = np.stack(shares)
    wanted = np.tensordot(gaps, kept, axes=1) / 24 / 0.5
    if definition == "centered":
        for place in np.ndindex(wanted.shape):
            line = np.polynomial.Polynomial.fit(kept[:, *place], gaps, 1).convert()
            wanted[place] = line.coef[1]
    close(found.relevance, wanted, 1e-4)
    assert any("difference of the two logits" in note for note in found.notes)


@pytest.mark.parametrize(("name", "method"), SPECIFIC)
def test_a_class_rather_than_itself_is_zero_with_a_reason(name: str, method: str) -> None:
    model, views = built(name).model, [view_of(name)] * 2
    params = BRIEF.get(method, {})
    found, other = core.explain(
        model, views, method, [core.rather_than(A, A), A], framing=GIVEN, **params
    )
    assert found.is_blank
    assert "the same class" in found.notes[0]
    assert found.prefix_mass is None or found.prefix_mass == 0
    assert not other.is_blank, "the picture beside it is explained as ever"
    alone = explained(name, method, core.rather_than("class 3", A))
    assert alone.relevance.shape == found.relevance.shape
    assert alone.is_blank


def test_a_difference_that_no_layer_knows_is_refused_in_its_own_words() -> None:
    model = built("plain").model
    module = probes.copied(model.module)
    head = last_layer(module)
    with torch.no_grad():
        head.weight[A] = head.weight[B]
    with pytest.raises(ZeroGradient, match="no influence on this difference of two") as error:
        core.explain(model.rebuilt(module), view_of("plain"), "grad_cam", ASKED, framing=GIVEN)
    sentence(error)


# -- what a result says ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method"), SPECIFIC)
def test_a_map_is_made_again_from_its_manifest(name: str, method: str) -> None:
    found = explained(name, method, ASKED)
    assert found.target == ASKED
    assert found.label == "class 3 rather than class 1"
    assert any("class 3 rather than class 1" in note for note in found.notes)
    manifest = json.loads(json.dumps(found.manifest()))
    assert manifest["class"] == {
        "index": A,
        "name": "class 3",
        "rather_than": {"index": B, "name": "class 1"},
    }
    again = explained(name, method, core.read_target(manifest["class"]), **manifest["parameters"])
    np.testing.assert_array_equal(again.relevance, found.relevance)
    assert again.manifest() == found.manifest()
    assert (again.target, again.notes) == (found.target, found.notes)


def test_manifests_of_classes_are_what_they_were() -> None:
    found = explained("plain", "cam", A)
    assert found.manifest()["class"] == {"index": A, "name": "class 3"}
    assert core.read_target(found.manifest()["class"]) == found.target == A
    assert core.read_target(None) is None
    assert not any("rather than" in note for note in found.notes)
    for wrong in (3, {}, {"index": "x y", "rather_than": 3}, {"name": "cat"}, {"index": 1.5}):
        with pytest.raises(ParameterError):
            core.read_target(wrong)  # type: ignore[arg-type]


def test_targets_are_keys() -> None:
    assert core.rather_than(3, np.int64(1)) == ASKED  # type: ignore[arg-type]
    assert len({ASKED, core.rather_than(3, 1), core.rather_than(1, 3)}) == 2
    assert ASKED.key == "3-1"
    assert repr(ASKED) == "core.rather_than(3, 1)"
    assert eval(repr(ASKED)) == pickle.loads(pickle.dumps(ASKED)) == ASKED
    named = core.rather_than("class 3", "class 1")
    assert eval(repr(named)) == named != ASKED
    with pytest.raises(ParameterError, match="by its name"):
        _ = named.key


# -- who is asked ---------------------------------------------------------------------------------


def test_classes_may_be_named() -> None:
    for name in BOTH:
        for method in ("input_x_gradient", "grad_cam"):
            for asked, wanted in (
                ("class 3", A),
                ("CLASS 3 ", A),
                (core.class_logit(A), A),
                (core.rather_than("class 3", "Class 1"), ASKED),
            ):
                found, same = explained(name, method, asked), explained(name, method, wanted)
                assert found.target == same.target == wanted
                np.testing.assert_array_equal(found.relevance, same.relevance)


def test_a_name_of_several_and_several_names_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("plain").model
    monkeypatch.setattr(model, "labels", ("crane", "tabby, tabby cat", "crane", "Tabby", "egg"))
    for name, index in (("tabby cat", 1), ("tabby, tabby cat", 1), ("Tabby", 3), ("tabby", 3)):
        assert explained("plain", "cam", name).target == index
    for name, words in (
        ("crane", r"2 classes of .* called 'crane'; choose one of the indices 0, 2"),
        ("cat", r"'cat' is unknown to .* did you mean 'tabby, tabby cat'"),
        ("Eg", r"'Eg' is unknown to .* did you mean 'egg'"),
        ("zebra", r"'zebra' is unknown to .* model\.labels, or an index"),
    ):
        for asked in (name, core.rather_than("egg", name), core.rather_than(name, 1)):
            with pytest.raises(ParameterError, match=words) as error:
                explained("plain", "cam", asked)
            sentence(error)


@pytest.mark.parametrize("wrong", [True, 1.5, None, "", " ", (1, 2), ASKED])
def test_what_is_no_class_is_refused(wrong: Any) -> None:
    for make in (lambda: core.rather_than(wrong, 1), lambda: core.rather_than(1, wrong)):
        with pytest.raises(ParameterError, match="expected an index") as error:
            make()
        sentence(error)


def test_classes_that_do_not_exist_are_refused() -> None:
    for asked in (core.rather_than(CLASSES, 0), core.rather_than(0, -1)):
        with pytest.raises(ParameterError, match=r"from 0 to 4"):
            explained("plain", "cam", asked)
    for asked in (ASKED, "class 3"):
        with pytest.raises(ParameterError, match=r"2 classes .* 3 pictures"):
            core.explain(built("plain").model, pictures("plain", 3), "cam", [asked] * 2)


def test_models_without_classes_are_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("timm").model
    monkeypatch.setattr(model, "labels", ())
    for asked in (ASKED, "class 3", 3):
        with pytest.raises(UnsupportedMethod, match="without classes"):
            core.explain(model, view_of("timm"), "rollout", asked, framing=GIVEN)


@pytest.mark.parametrize("name", BOTH)
def test_pictures_of_a_list_are_asked_each_for_its_own(name: str) -> None:
    model, images = built(name).model, [picture(8, 12, seed) for seed in range(4)]
    method, asked = "input_x_gradient", [ASKED, 2, None, "class 0"]
    top = core.predict(model, images[2], framing=GIVEN).top
    recording = core.record(model, images, GIVEN)
    lists = (
        core.explain(model, images, method, asked, framing=GIVEN),
        core.explain(model, recording, method, asked),
    )
    for found in lists:
        assert [one.target for one in found] == [ASKED, 2, top, 0]
        for one, image, target in zip(found, images, asked, strict=True):
            alone = core.explain(model, image, method, target, framing=GIVEN)
            close(one.relevance, alone.relevance, 1e-5)
    (streamed,) = core.explain_stream(model, images[:1], [method], ASKED, framing=GIVEN)
    close(streamed.explanations[method].relevance, lists[0][0].relevance, 1e-5)


def test_methods_that_know_no_class_take_no_notice() -> None:
    found = explained("timm", "rollout", ASKED)
    assert found.target is None
    assert found.manifest()["class"] is None
    np.testing.assert_array_equal(found.relevance, explained("timm", "rollout", None).relevance)


# -- evidence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", BOTH)
def test_curves_show_the_probability_of_one_of_the_two(
    name: str, reading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first where it is one of the two: ``p_a / (p_a + p_b)`` of classes."""
    model, view = built(name).model, view_of(name)
    monkeypatch.setattr(model, "answer", reading)
    order = np.random.default_rng(0).random((4, 6))

    def curves(target: Any) -> tuple[Any, Any]:
        removed = core.faithfulness(model, view, order, target, framing=GIVEN, steps=4)
        changed = core.robustness(model, view, "gray", (0.5, 1), target, framing=GIVEN)
        assert removed.target == changed.target == target
        assert removed.intact == pytest.approx(changed.intact)
        return removed, changed

    found, first, second = (curves(target) for target in (ASKED, A, B))
    for one, a, b in zip(found, first, second, strict=True):
        assert one.label == "class 3 rather than class 1"
        for curve in ("deletion", "insertion") if one is found[0] else ("probabilities",):
            p, q = (getattr(other, curve) for other in (a, b))
            odds = p / q if reading == "softmax" else p / (1 - p) / (q / (1 - q))
            close(getattr(one, curve), odds / (1 + odds), 1e-6)
    assert 0 < found[0].deletion_area < 1


@pytest.mark.parametrize("name", BOTH)
def test_a_prediction_knows_one_of_two(name: str) -> None:
    found = core.predict(built(name).model, view_of(name), framing=GIVEN)
    p, q = found.probability(A), found.probability(B)
    assert found.probability(ASKED) == pytest.approx(p / (p + q), rel=1e-5)
    with pytest.raises(ParameterError, match="only single classes have one"):
        found.rank(ASKED)


@pytest.mark.parametrize("name", BOTH)
def test_pointing_of_differences(name: str) -> None:
    model = built(name).model
    images = [picture(8, 8, seed) for seed in range(4)]
    asked: list[Any] = [core.rather_than(i, (i + 1) % 4) for i in range(3)] + ["class 3"]
    method, own = "input_x_gradient", {"framing": GIVEN, "patch": PATCH}
    found = core.grid_pointing(model, images, asked, method, **own)
    view = core.pointing_grid(model, images, GIVEN)
    for place, target in enumerate(asked):
        one = core.explain(model, view, method, target, **own).positive()
        assert found[place] == pytest.approx(core.heatmaps.quarter_shares(one)[place], rel=1e-4)


@pytest.mark.parametrize("name", BOTH)
def test_randomized_networks_are_asked_the_same(name: str) -> None:
    def forgotten(target: Any) -> core.Randomization:
        return core.randomization(
            built(name).model, view_of(name), "input_x_gradient", target, framing=GIVEN
        )

    found, first, second = (forgotten(target) for target in (ASKED, A, B))
    assert found.target == ASKED
    for depth in range(len(found.depths)):
        wanted = first.relevance[depth] - second.relevance[depth]
        close(found.relevance[depth], wanted, 2e-5)


# -- maximization ---------------------------------------------------------------------------------


def test_a_target_is_maximized_as_the_difference_of_two_objectives() -> None:
    model = built("plain").model
    found = core.maximize(model, ASKED, steps=3, size=32)
    same = core.maximize(model, core.class_logit(A) - core.class_logit(B), steps=3, size=32)
    close(found.history, same.history, 1e-5)
    assert found.objective == "logit of class 3 (class 3) less that of class 1 (class 1)"
    both = core.maximize(model, 2 * core.class_logit(A) + ASKED, steps=1, size=32)
    assert both.history[0] == pytest.approx(
        2 * core.maximize(model, core.class_logit(A), steps=1, size=32).history[0]
        + found.history[0],
        rel=1e-4,
    )
    named = core.maximize(model, core.rather_than("class 3", "class 1"), steps=3, size=32)
    np.testing.assert_array_equal(named.history, found.history)
    with pytest.raises(ParameterError, match="from 0 to 4"):
        core.maximize(model, core.rather_than(9, 1), steps=1, size=32)


def test_every_specific_method_is_tried() -> None:
    specific = {name for name, method in all_methods().items() if method.class_specific}
    assert {method for _, method in SPECIFIC} == specific
