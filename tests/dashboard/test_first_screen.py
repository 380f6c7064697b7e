"""What the bare address opens with is worth looking at: both models know what is seen."""

from __future__ import annotations

import pytest

import core
from core.heatmaps import share_right
from dashboard.opening import OPENING
from dashboard.screen import Screen

SCREEN = Screen.make(image=OPENING)


@pytest.mark.parametrize(
    ("model_id", "method", "least"),
    # A map of seven columns, whose middle one holds the border, says less of the sides.
    [(SCREEN.shared.m[0], "cam", 0.5), (SCREEN.shared.m[1], "gradient_rollout", 0.7)],
)
def test_both_models_know_both_objects_and_their_maps_find_them(
    model_id: str, method: str, least: float
) -> None:
    model = core.open_model(model_id)
    sample = next(sample for sample in core.samples() if sample.id == OPENING)
    models = [core.open_model(name) for name in SCREEN.shared.m]
    framing = core.Framing(SCREEN.shared.fit, None)
    shown = core.shared_view(models, core.read_image(sample.path), framing)
    recording = core.record(model, shown, core.Framing("given"))
    probabilities = recording.logits[0].softmax(-1)
    assert len(sample.classes) == 2, "the left object's class and the right one's"
    for side, name in zip(("left", "right"), sample.classes, strict=True):
        index = model.labels.index(name)
        assert float(probabilities[index]) > 0.3
        share = share_right(core.explain(model, recording, method, index).positive())
        assert (share if side == "right" else 1 - share) >= least
