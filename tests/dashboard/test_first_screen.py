"""What the bare address opens with is worth looking at: both models know what is seen."""

from __future__ import annotations

import pytest

import core
from core.heatmaps import share_right
from dashboard.screen import OPENING, Screen

SCREEN = Screen(image=OPENING)


@pytest.mark.parametrize("model_id", SCREEN.m)
def test_both_models_know_both_objects_and_their_maps_find_them(
    model_id: str,
) -> None:
    model = core.open_model(model_id)
    sample = next(sample for sample in core.samples() if sample.id == OPENING)
    recording = core.record(model, core.read_image(sample.path))
    probabilities = recording.logits[0].softmax(-1)
    first = core.methods(model)[0].name
    assert len(sample.classes) == 2, "the left object's class and the right one's"
    for side, name in zip(("left", "right"), sample.classes, strict=True):
        index = model.labels.index(name)
        assert float(probabilities[index]) > 0.3
        share = share_right(core.explain(model, recording, first, index).positive())
        assert (share if side == "right" else 1 - share) >= 0.7
