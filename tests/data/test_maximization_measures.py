"""The recipe that measures maximized pictures: its rows, its continuation and its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import core
from data.recipes import measure_maximizations
from data.recipes.describe_files import maximizations_markdown


def test_rows_are_measured_once_and_make_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_maximizations, "LOOKS", 3)
    monkeypatch.setattr(measure_maximizations, "SIDE", 112)
    models = [core.open_model(name, "cpu") for name in core.default_models()]
    found = measure_maximizations.measure(models, ("castle",), tmp_path)
    assert [(row["model"], row["parameterization"]) for row in found["rows"]] == [
        (model.spec.title, kind) for model in models for kind in ("phase", "fourier")
    ]

    phase = found["rows"][2]
    crops = core.Crops(count=3)
    options = {"parameterization": "phase", "transforms": crops, "patch": 14}
    made = core.maximize(models[1], core.class_logit(483), steps=1, size=112, **options)
    assert phase["seam"] == pytest.approx(made.seam_energy, abs=1e-3)
    for model, column in ((models[1], "own"), (models[0], "other")):
        chance = core.predict(model, made.image).probability(483)
        assert phase[column] == pytest.approx(chance, abs=1e-4)

    kept = next(tmp_path.glob("castle-dinov2-small-phase*"))
    kept.write_text(json.dumps(phase | {"own": 0.77}), encoding="utf-8")
    again = measure_maximizations.measure(models, ("castle",), tmp_path)
    assert again["rows"][2]["own"] == 0.77, "what was measured is read"
    [row, mean] = [
        line for line in maximizations_markdown(again).splitlines() if line.startswith("| DINOv2")
    ]
    assert "| castle | 0.77 |" in row
    assert row.replace("castle", "**mean**") == mean, "one class is its own mean"
