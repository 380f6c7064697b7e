"""The README shows the evidence that was measured, and the pages begin with what it supports."""

from __future__ import annotations

import json
from typing import Any

import pytest

import core
from core.paths import DATA, ROOT
from data.recipes.describe_files import parts
from data.recipes.measure_evidence import as_markdown


def measured() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((DATA / "evidence.json").read_text(encoding="utf-8"))
    return result


def test_the_readme_shows_what_was_measured() -> None:
    _, table, _ = parts((ROOT / "README.md").read_text(encoding="utf-8"), "evidence")
    assert table == as_markdown(measured())


@pytest.mark.parametrize(
    ("model_id", "default"),
    [*zip(core.embedded_pair(), ("cam", "gradient_rollout"), strict=True)],
)
def test_the_pages_begin_with_the_best_of_the_maps_that_were_measured_everywhere(
    model_id: str, default: str
) -> None:
    """The README says so."""
    result, title = measured(), core.find_spec(model_id).title
    found = {
        row["method"]: row["blur"]["value"]
        for row in result["rows"]
        if row["model"] == title and row["blur"] and row["blur"]["n"] == result["pictures"]
    }
    assert len(found) > 6
    assert found[default] == max(found.values())
