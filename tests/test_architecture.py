"""The house rules: who may import whom, and where the few dangerous things may be done."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "dashboard", "pages", "data", "tests")
ABSENT = ("streamlit", "plotly", "timm", "transformers")


def sources(*folders: str) -> list[Path]:
    """Python files below some folders of the project."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def imported_by(first: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after running a line."""
    line = f"{first}; import sys; print([m for m in {ABSENT!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(ast.literal_eval(done.stdout.strip().splitlines()[-1]))


def test_core_needs_no_user_interface_and_loads_no_model_library() -> None:
    assert imported_by("import core; core.catalog()") == set()


def test_the_test_above_can_fail() -> None:
    assert imported_by("import core, timm, streamlit") >= {"timm", "streamlit"}


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def crossings(paths: list[Path], forbidden: tuple[str, ...]) -> Iterator[str]:
    """Imports of forbidden packages."""
    for path in paths:
        for name in sorted(imports(path)):
            if any(name == root or name.startswith(f"{root}.") for root in forbidden):
                yield f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("core", ("dashboard", "pages", "tests", "streamlit", "plotly")),
        ("core/models", ("core.methods", "core.maximize", "core.explanations", "core.recordings")),
        ("core/methods", ("core.maximize", "core.explanations", "core.models.sources")),
        ("dashboard", ("pages", "tests")),
        ("pages", ("tests", "torch", "timm", "transformers", "torchvision")),
    ],
)
def test_imports_run_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    assert not list(crossings(sources(folder), forbidden))


def test_methods_know_no_model_library() -> None:
    libraries = ("timm", "torchvision", "transformers")
    assert not list(crossings(sources("core/methods"), libraries))


def test_a_crossing_would_be_seen() -> None:
    assert list(crossings([Path(__file__).parent / "support" / "builders.py"], ("core",)))


def test_figures_know_no_streamlit() -> None:
    assert not list(crossings([ROOT / "dashboard" / "figures.py"], ("streamlit",)))


def mentioning(text: str, *folders: str) -> set[str]:
    """Files that hold a text."""
    return {
        str(path.relative_to(ROOT))
        for path in sources(*folders)
        if text in path.read_text(encoding="utf-8")
    }


@pytest.mark.parametrize(
    ("text", "folders", "only"),
    [
        ("st.cache_", ("core", "dashboard", "pages"), {"dashboard/cache.py"}),
        ("register_forward", ("core", "dashboard", "pages"), {"core/probes.py"}),
        ("register_full_backward", ("core", "dashboard", "pages"), set()),
        ("weights_only=False", ("core", "dashboard", "pages", "data"), set()),
        ("fused_attn =", ("core", "dashboard", "pages"), set()),
        (".requires_grad_(True)", ("core", "dashboard", "pages"), set()),
    ],
)
def test_only_one_place_does_it(text: str, folders: tuple[str, ...], only: set[str]) -> None:
    assert mentioning(text, *folders) == only


def test_pages_hold_no_logic() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in sources("pages")}
    assert {name: lines for name, lines in lengths.items() if lines > 100} == {}


def test_public_interface_is_what_it_says() -> None:
    import core

    assert sorted(core.__all__) == core.__all__
    assert all(getattr(core, name).__doc__ for name in core.__all__)
    wanted = {"catalog", "open_model", "read_image", "predict", "methods", "explain", "attention"}
    assert wanted <= set(core.__all__)


def test_every_error_is_drawn_in_the_tree() -> None:
    from core import errors

    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, Exception):
            assert issubclass(error, errors.ParallaxError)
            assert name in str(errors.__doc__)
