"""The documents show the evidence that was measured; the pages begin with what it supports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import core
from core.paths import DATA
from data.recipes import describe_files, measure_evidence
from data.recipes.describe_files import evidence_table, parts


def measured() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((DATA / "evidence.json").read_text(encoding="utf-8"))
    return result


def written(path: Path, result: dict[str, Any]) -> Path:
    path.write_text(json.dumps(result), encoding="utf-8")
    return path


def test_the_table_shows_every_row_that_was_measured() -> None:
    rows = evidence_table().splitlines()
    for row in measured()["rows"]:
        begins = (f"| {row['title']}, ", f"| {row['title']} (")
        [line] = [x for x in rows if x.startswith(begins) and f", {row['model']} |" in x]
        for column in ("blur", "mean", "pointing", "last", "all"):
            if found := row.get(column):
                assert f" {found['value']:.2f}" in line


def test_the_table_is_made_from_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it can be made again without measuring, also by ``describe_files``."""
    result = measured()
    result["rows"][0]["blur"] = {"value": 0.123, "error": 0.062, "n": 16}
    monkeypatch.setattr(describe_files, "EVIDENCE", written(tmp_path / "evidence.json", result))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- evidence -->\nold\n<!-- /evidence -->\nafter\n", encoding="utf-8")
    assert [name for _, name, _ in describe_files.TABLES].count("evidence") == 1
    tables = [(page, name, table) for _, name, table in describe_files.TABLES if name == "evidence"]
    monkeypatch.setattr(describe_files, "TABLES", tuple(tables))
    describe_files.main()
    before, table, after = parts(page.read_text(encoding="utf-8"), "evidence")
    assert (before.splitlines()[0], after.splitlines()[-1]) == ("before", "after")
    assert "| 0.12 ± 0.06 |" in table


@pytest.mark.parametrize("asked", [True, False])
def test_measuring_writes_the_table_if_asked(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = measured()
    result["rows"][0]["blur"] = {"value": 0.123, "error": 0.062, "n": 16}
    page, file = tmp_path / "page.md", tmp_path / "evidence.json"
    page.write_text("<!-- evidence -->\nold\n<!-- /evidence -->\n", encoding="utf-8")
    monkeypatch.setattr(describe_files, "EVIDENCE", file)
    monkeypatch.setattr(describe_files, "TABLES", ((page, "evidence", evidence_table),))
    monkeypatch.setattr(measure_evidence, "chosen", lambda *_: [])
    monkeypatch.setattr(measure_evidence, "collect", lambda _: [])
    monkeypatch.setattr(measure_evidence, "measure", lambda *_: result)
    monkeypatch.setattr(core, "open_model", lambda _: type("Model", (), {"weights_digest": ""}))
    arguments = ["measure_evidence", "--pictures", "x", "--json", str(file)]
    arguments += ["--work", str(tmp_path)] + ["--table"] * asked
    monkeypatch.setattr(sys, "argv", arguments)
    measure_evidence.main()
    assert ("| 0.12 ± 0.06 |" in page.read_text(encoding="utf-8")) == asked


def test_what_must_be_known_of_the_rows_stands_below_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether other weights were measured, and the paper's sum of RISE."""
    result = measured() | {
        "weights": {model: describe_files.shipped_digest(model) for model in core.default_models()}
    }
    for row in result["rows"]:
        if row["method"] == "rise":
            row["parameters"] = {"definition": "centered", "count": 500}
    monkeypatch.setattr(describe_files, "EVIDENCE", written(tmp_path / "1.json", result))
    plain = evidence_table()
    assert "earlier weights" not in plain
    assert "paper's sum" not in plain
    result["weights"]["dinov2-small"] = "0" * 64
    next(row for row in result["rows"] if row["method"] == "rise")["parameters"] = {
        "definition": "paper"
    }
    monkeypatch.setattr(describe_files, "EVIDENCE", written(tmp_path / "2.json", result))
    noted = evidence_table()
    assert "DINOv2 ViT-S/14 with earlier weights" in noted
    assert "EfficientNet-Lite0 with earlier weights" not in noted
    assert "paper's sum" in noted
    del result["weights"]
    monkeypatch.setattr(describe_files, "EVIDENCE", written(tmp_path / "3.json", result))
    assert "not stated" in evidence_table()


@pytest.mark.parametrize(
    ("model_id", "default"),
    [*zip(core.default_models(), ("cam", "gradient_rollout"), strict=True)],
)
def test_the_pages_begin_with_the_best_of_the_maps_of_one_pass_or_two(
    model_id: str, default: str
) -> None:
    """``docs/measurements.md`` says so; methods of many passes are for those who can wait.

    Layer-wise relevance takes the time of five to seven.
    """
    result, title = measured(), core.find_spec(model_id).title
    longer = {*measure_evidence.MANY_PASSES, "lrp"}
    found = {
        row["method"]: row["blur"]["value"]
        for row in result["rows"]
        if row["model"] == title and row["method"] not in longer
    }
    assert len(found) > 6
    assert found[default] == max(found.values())
