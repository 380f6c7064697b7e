"""The README shows the evidence that was measured, and the pages begin with what it supports."""

from __future__ import annotations

import json
from typing import Any

from core.paths import DATA, ROOT
from data.recipes.describe_files import parts
from data.recipes.measure_evidence import as_markdown


def measured() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((DATA / "evidence.json").read_text(encoding="utf-8"))
    return result


def test_the_readme_shows_what_was_measured() -> None:
    _, table, _ = parts((ROOT / "README.md").read_text(encoding="utf-8"), "evidence")
    assert table == as_markdown(measured())
