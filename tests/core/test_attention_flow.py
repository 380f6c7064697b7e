"""Attention flow on merged patches, its stated cost, and its two bounds."""

from __future__ import annotations

import numpy as np
import pytest

import core
from core.methods.attention_flow import AttentionFlowParameters
from core.methods.registry import find_method
from tests.support import flow_oracle
from tests.support.builders import GIVEN, built, close, pictures, pixels_of

NAMES = ["timm", "timm average"]
"""What the classifier reads: the class token, the mean of the patches."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pool", [2, 3])
def test_merged_patches_are_tokens_of_a_smaller_graph(name: str, pool: int) -> None:
    case, image = built(name), pictures(name, 1)[0]
    recording = core.record(case.model, image, GIVEN)  # too small for `core.explain` once merged
    found = find_method("attention_flow").run(recording, [], AttentionFlowParameters(pool))
    wanted = flow_oracle.attention_flow(case, pixels_of(case, [image]), [0], pool)
    assert found.maps.shape == wanted.shape
    close(found.maps, wanted)
    assert "merged into" in found.remarks[0]


@pytest.mark.parametrize("name", NAMES)
def test_no_flow_exceeds_what_leaves_the_source_or_enters_the_patch(name: str) -> None:
    case, image = built(name), pictures(name, 1)[0]
    recording = core.record(case.model, image, GIVEN)
    found = core.explain(case.model, recording, "attention_flow", pool=1).relevance
    attention = core.attention(case.model, recording)
    first = np.mean([attention.matrix(0, head) for head in range(attention.heads)], axis=0)
    entering = (0.5 + first.sum(axis=0) / 2)[attention.prefix :].reshape(found.shape)
    assert (found <= np.minimum(1.0, entering) + 1e-5).all()
    assert (found > 0).all()


def test_many_patches_are_merged_and_the_cost_is_stated() -> None:
    model = core.open_model("dinov2-small")
    image = core.read_image(core.samples()[0].path)
    passes = []
    for size in (224, 518):
        recording = core.record(model, image, core.Framing("crop", size))
        passes.append(core.count_passes(recording, "attention_flow"))
        assert core.count_passes(recording, "attention_flow", pool=4) < passes[-1]
    assert 20 < passes[0] < passes[1] < 500
