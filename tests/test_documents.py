"""Documents for people: links that lead somewhere, figures that were measured, code that runs."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import core
from core.paths import ROOT
from data.recipes.head_card import read_details

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "data" / "README.md"],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Names of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def broken(path: Path, text: str) -> list[str]:
    """Links of a document within the project that lead nowhere."""
    found = []
    for link in LINK.findall(without_code(text)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken(path, path.read_text(encoding="utf-8")) == []


def test_a_broken_link_would_be_seen() -> None:
    path = ROOT / "README.md"
    assert broken(path, "[a](docs/none.md) [b](docs/hosting.md#none)") == [
        "docs/none.md",
        "docs/hosting.md#none",
    ]
    assert broken(path, "[a](docs/hosting.md#settings) [b](https://example.org)") == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_plain_words(path: Path) -> None:
    text = re.sub(r"“[^”]*”", "", path.read_text(encoding="utf-8"))  # what the application says
    assert re.findall(r"\b(whoever|strangers?|nobody|anybody|everybody)\b", text, re.I) == []


def test_the_readme_states_the_measured_figures_of_the_pair() -> None:
    details = read_details()
    wanted = []
    for collection in ("caltech101", "imagenet-samples"):
        for who in ("student", "teacher"):
            row = details["true"][collection][who]
            wanted.append(f".{row['top1'] * 1000:03.0f} (.{row['top5'] * 1000:03.0f})")
    wanted.append(f"error is .{details['calibration']['shipped']['error'] * 1000:03.0f}")
    doubtful = len(details["source_files_of_class"]) - details["classes_taught_well"]
    wanted.append(f"{doubtful} of the 1,000 classes")
    wanted.append(f"fewer than {details['least_files']} photographs")
    text = " ".join(README.split())
    assert [figure for figure in wanted if figure not in text] == []
    others = len(core.catalog()) - len(core.default_models())
    assert f"{others} more are fetched" in text


def test_the_entry_of_a_model_of_ones_own_has_known_keys() -> None:
    text = (ROOT / "docs" / "own_models.md").read_text(encoding="utf-8")
    [block, *_] = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    [entry] = tomllib.loads(block)["model"]
    assert entry.keys() <= {field.name for field in fields(core.ModelSpec)}
    assert {"id", "family", "architecture", "weights"} <= entry.keys()


@pytest.mark.slow
def test_the_lines_of_python_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    [block] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert 8 <= len([line for line in block.splitlines() if line and "import" not in line]) <= 12
    found: dict[str, object] = {}
    exec(block.replace("steps=128", "steps=2"), found)
    curves, maps = found["curves"], found["maps"]
    assert isinstance(curves, core.Faithfulness)
    assert curves.insertion_area > curves.deletion_area
    assert isinstance(maps, core.Attention)
    assert maps.maps(layer=11).shape == (6, 32, 32)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert json.dumps(citation)


SKIPS = re.compile(r"pytest\.skip\(|mark\.skipif\(|importorskip\(|xfail\(|mark\.skip\(")


def test_every_test_that_may_be_skipped_is_listed() -> None:
    listed = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    skipping = {
        name_of(path)
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__) and SKIPS.search(path.read_text(encoding="utf-8"))
    }
    assert skipping
    assert {name for name in skipping if f"`{name}`" not in listed} == set()


def test_docstrings_of_recipes_begin_with_what_is_given() -> None:
    found = [
        f"{name_of(path)}: {line}"
        for path in sorted((ROOT / "data" / "recipes").glob("*.py"))
        for line in re.findall(r'"""(?:Returns?|Yields?) .*', path.read_text(encoding="utf-8"))
    ]
    assert found == []
