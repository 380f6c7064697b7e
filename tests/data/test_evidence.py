"""The recipe that measures evidence, on tiny networks."""

from __future__ import annotations

import numpy as np
import pytest

import core
from data.recipes import measure_evidence
from data.recipes.describe_files import evidence_markdown
from tests.support.builders import built, picture


def test_measures_every_method_and_every_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"rise": {"count": 8}, "occlusion": {"stride": 2}, "smooth_grad": {"count": 2}}
    few["integrated_gradients"] = {"steps": 2}
    monkeypatch.setattr(measure_evidence, "MANY_PASSES", few)
    monkeypatch.setattr(measure_evidence, "STEPS", 4)
    models = [built("plain").model, built("timm").model]
    views = [picture(12, 12, seed) for seed in range(5)]
    result = measure_evidence.measure(models, views, 4)
    wanted = [
        (model.spec.title, name)
        for model in models
        for name in (*(m.name for m in core.methods(model)), *measure_evidence.BASELINES)
    ]
    assert [(row["model"], row["method"]) for row in result["rows"]] == wanted
    for row in result["rows"]:
        assert row["blur"]["n"] <= (4 if row["method"] in few else 5)
        if row["method"] in measure_evidence.BASELINES:
            assert "pointing" not in row
        elif row["method"] == "attention_flow":
            assert row["pointing"] is None  # no meaningful zero
        elif not core.find_method(row["method"]).class_specific:
            assert row["pointing"]["value"] == 0.25  # knows no class
        if row["method"] in ("rise", "smooth_grad"):
            assert -1 <= row["ceiling"]["value"] <= 1
        else:
            assert not row.get("ceiling")
    table = evidence_markdown(result).splitlines()
    assert len([line for line in table if line.startswith("|")]) == 2 + len(wanted)
    assert any("RISE (count 8), Tiny timm | 4 |" in line for line in table)
    assert sum("two draws on the intact network: " in line for line in table) == 4


def test_a_map_without_a_zero_has_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = {"rise": {"count": 4, "definition": "paper"}}
    monkeypatch.setattr(measure_evidence, "MANY_PASSES", paper)
    monkeypatch.setattr(measure_evidence, "STEPS", 4)
    model, views = built("timm").model, [picture(12, 12, seed) for seed in range(4)]
    row = measure_evidence.method_row(model, views, core.find_method("rise"), (12, 12))
    assert row["pointing"] is None
    assert row["all"]["n"] == 4


def test_one_method_can_be_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_evidence, "MANY_PASSES", {})
    monkeypatch.setattr(measure_evidence, "STEPS", 2)
    models, views = [built("plain").model], [picture(12, 12, seed) for seed in range(4)]
    names = [*(method.name for method in core.methods(models[0])), *measure_evidence.BASELINES]
    before = [{"model": models[0].spec.title, "method": name} for name in names if name != "cam"]
    seen: list[int] = []
    result = measure_evidence.measure(models, views, 4, before, lambda rows: seen.append(len(rows)))
    assert [row["method"] for row in result["rows"]] == names
    assert [row["method"] for row in result["rows"] if "blur" in row] == ["cam"]
    assert seen == [names.index("cam") + 1]
    assert result["weights"] == {models[0].spec.id: models[0].weights_digest}


def test_insertion_minus_deletion_is_that_of_the_curves() -> None:
    model, views = built("timm").model, [picture(4, 4, seed) for seed in range(3)]
    maps = [np.random.default_rng(seed).random((4, 4)) for seed in range(3)]
    maps[1] = np.zeros((4, 4))
    found = measure_evidence.differences(model, views, maps, [None] * 3, "mean", (4, 4))
    assert np.isnan(found[1])
    for i in (0, 2):
        curves = core.faithfulness(
            model, views[i], maps[i], framing=core.Framing("given"), fill="mean"
        )
        assert found[i] == pytest.approx(curves.difference, abs=1e-5)


def test_mean_and_its_error() -> None:
    values = np.random.default_rng(0).normal(2, 1, 400)
    found = measure_evidence.mean([*values, float("nan")])
    assert found is not None
    assert found["n"] == 400
    assert found["value"] == pytest.approx(values.mean(), abs=1e-3)
    assert found["error"] == pytest.approx(values.std() / 20, rel=0.1)
    assert measure_evidence.mean([float("nan")]) is None
