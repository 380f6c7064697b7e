"""The recipe for a page in CONTRIBUTING.md, followed to the letter."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import pages
from core.paths import ROOT
from dashboard import registry, render
from dashboard.screen import Screen

FILES = ("options", "view", "draw", "page")


def recipe() -> dict[str, str]:
    """By file, the code that the recipe gives."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part = text.partition("## Add a page")[2].partition("## Add a method")[0]
    blocks = re.findall(r"^\d\. `(\w+)\.py`.*?```python\n(.*?)```", part, re.DOTALL | re.MULTILINE)
    return {name: textwrap.dedent(code) for name, code in blocks}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Page]:
    """The page, in a folder of its own beside those of the project."""
    folder = tmp_path / "your_page"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A page."""\n', encoding="utf-8")
    for name, code in recipe().items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(pages, "__path__", [*pages.__path__, str(tmp_path)])
    page = registry.Page("your_page", "Your page", ":material/bar_chart:", "pages.your_page")
    monkeypatch.setattr(registry, "_pages", {**registry.pages(), page.name: page})
    yield page
    for name in [name for name in sys.modules if name.startswith("pages.your_page")]:
        del sys.modules[name]


def test_the_recipe_has_all_files() -> None:
    assert tuple(recipe()) == FILES


def test_the_page_has_an_address_and_is_made_of_it(added: registry.Page) -> None:
    [wanted] = render.read("/your_page?image=coffee&your_page_bins=8&look=dinov2-small:legrad")
    assert not wanted.problems
    assert Screen.from_address("your_page", wanted.screen.address()) == (wanted.screen, [])
    view = render.view(wanted)
    lines = view.figures["histogram"].figure.data
    assert [len(line.x) for line in lines] == [8, 8]
    assert [line.name for line in lines] == ["DINOv2 ViT-S/14", "EfficientNet-Lite0"]
    assert len(view.arrays) == 2
    assert callable(added.part("draw").draw)


def test_a_key_that_another_page_has_is_refused(
    added: registry.Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = added.part("options")
    other = type("Options", (options.Options,), {"__annotations__": {"layer": int}, "layer": 3})
    monkeypatch.setattr(options, "Options", other)
    with pytest.raises(TypeError, match="layer"):
        Screen.make(image="coffee")
