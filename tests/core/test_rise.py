"""RISE shows what the model answers, not which masks were drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import core
from core import heatmaps
from core.models import Model
from tests.support import pixel_oracles
from tests.support.builders import BRIEF, CLASSES, GIVEN, PATCH, built, close, picture

BOTH = ("timm", "plain")
PAPER = {"definition": "paper"}


def constant(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """Make a model answer the same to everything."""
    logits = torch.linspace(0, 1, CLASSES)

    def score(pixels: Tensor) -> Tensor:
        return logits.expand(len(pixels), -1).clone()

    monkeypatch.setattr(model, "score", score)


@pytest.mark.parametrize("name", BOTH)
def test_a_model_that_sees_nothing_gives_a_map_of_zeros(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, view = built(name).model, picture(4, 6)
    constant(monkeypatch, model)
    found = core.explain(model, view, "rise", 2, framing=GIVEN, patch=PATCH, count=40)
    assert found.is_blank
    assert "does not depend on" in found.notes[0]
    paper = core.explain(model, view, "rise", 2, framing=GIVEN, patch=PATCH, count=40, **PAPER)
    assert np.ptp(paper.relevance) > 0.02, "the paper's sum shows the masks themselves"


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("definition", ["centered", "paper"])
def test_both_definitions_are_those_of_the_oracle(name: str, definition: str) -> None:
    case, images = built(name), [picture(6, 10, seed) for seed in (0, 1)]
    params = BRIEF["rise"] | {"definition": definition, "mask_cells": 3}
    found = core.explain(case.model, images, "rise", [3, 0], framing=GIVEN, **params)
    pixels = torch.cat([case.model.pixels(image, GIVEN) for image in images])
    wanted = pixel_oracles.rise(case, pixels, [3, 0], **params)
    for one, other in zip(found, wanted, strict=True):
        close(one.relevance, other, 1e-4)
        assert one.params["definition"] == definition
        assert one.signed is one.has_zero is (definition == "centered")


def test_one_mask_has_nothing_to_be_compared_with() -> None:
    found = core.explain(built("timm").model, picture(4, 6), "rise", 1, framing=GIVEN, count=1)
    assert found.is_blank
    assert "more masks" in found.notes[0]


def test_positive_parts_of_a_map_without_a_zero_are_not_summed() -> None:
    model, view = built("timm").model, picture(16, 16)
    centered = core.explain(model, view, "rise", 1, framing=GIVEN)
    assert np.array_equal(centered.positive(), np.maximum(centered.relevance, 0))
    paper = core.explain(model, view, "rise", 1, framing=GIVEN, **PAPER)
    with pytest.raises(core.NoZero, match=r"RISE .* zero"):
        paper.positive()
    with pytest.raises(core.NoZero, match="definition"):
        core.grid_pointing(model, [view] * 4, [0, 1, 2, 3], "rise", framing=GIVEN, **PAPER)
    assert core.grid_pointing(model, [view] * 4, [0, 1, 2, 3], "rise", framing=GIVEN).shape == (4,)


def test_every_method_has_a_zero_but_attention_flow() -> None:
    for name in BOTH:
        model = built(name).model
        for method in core.methods(model):
            found = core.explain(model, picture(12, 12), method.name, 1, framing=GIVEN)
            assert found.has_zero is (method.name != "attention_flow")
            assert found.signed is method.signed


@pytest.mark.slow
def test_two_draws_of_the_default_count_agree() -> None:
    model = core.open_model("efficientnet-lite0")
    [sample] = [one for one in core.samples() if one.id == "chelsea"]
    view = model.view(core.read_image(sample.path), core.Framing("crop"))
    maps = [
        core.explain(model, view, "rise", framing=GIVEN, seed=seed).relevance for seed in (0, 1)
    ]
    assert heatmaps.rank_correlation(*maps) > 0.6


@pytest.mark.slow
def test_a_class_is_found_on_its_object() -> None:
    model = core.open_model("efficientnet-lite0")
    [sample] = [one for one in core.samples() if one.id == "cat-beside-cup"]
    view = model.view(core.read_image(sample.path), core.Framing("crop"))
    recording = core.record(model, view, GIVEN)
    shares = {
        name: heatmaps.share_right(
            core.explain(model, recording, "rise", model.labels.index(name), count=250).positive()
        )
        for name in ("cup", "tabby")
    }
    assert shares["cup"] > 0.8
    assert shares["tabby"] < 0.3
