"""What is installed: ranges with two ends, releases that were tried, what the container takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "application": ROOT / "requirements.txt",
    "tests": ROOT / "tests" / "requirements.txt",
    "cluster": ROOT / "core" / "sweep" / "requirements.txt",
}


def requirements(path: Path) -> dict[str, Requirement]:
    """Requirements of a file by name, without those of files that it names."""
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    assert found
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def ends(requirement: Requirement) -> dict[str, Version]:
    """Versions of a requirement by operator."""
    return {one.operator: Version(one.version) for one in requirement.specifier}


RANGES = [(name, one) for name, path in FILES.items() for one in requirements(path).values()]
APPLICATION = requirements(FILES["application"])


@pytest.mark.parametrize(("file", "requirement"), RANGES, ids=[f"{f}-{r.name}" for f, r in RANGES])
def test_a_range_has_two_ends(file: str, requirement: Requirement) -> None:
    """Not more: a release that is left out in between would need a reason."""
    assert set(ends(requirement)) == {">=", "<"}
    assert ends(requirement)[">="] < ends(requirement)["<"]


def test_the_lowest_releases_that_are_tried_are_the_lower_bounds() -> None:
    lowest = requirements(ROOT / "tests" / "lowest.txt")
    assert {name: ends(one) for name, one in lowest.items()} == {
        name: {"==": ends(one)[">="]} for name, one in APPLICATION.items()
    }


def test_constraints_pin_all_that_is_required_to_a_release_within_its_range() -> None:
    pinned = requirements(ROOT / "constraints.txt")
    assert APPLICATION.keys() <= pinned.keys()
    for name, one in pinned.items():
        assert set(ends(one)) == {"=="}, name
    for name, one in APPLICATION.items():
        assert one.specifier.contains(ends(pinned[name])["=="]), name


def test_the_container_installs_the_constraints_and_ranges_that_lie_here() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    taken = re.search(r"^COPY (.*requirements\.txt.*) \.$", text, re.MULTILINE)
    assert taken is not None
    assert taken.group(1).split() == ["requirements.txt", "constraints.txt"]
    let_in = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {f"!{name}" for name in taken.group(1).split()} <= set(let_in)
    installs = re.findall(r"pip install ((?:[^\\&\n]|\\\n)*)", text)
    assert len(installs) == 2
    assert all("-c constraints.txt" in install for install in installs)
    stated = [Requirement(one) for one in re.findall(r'"([^"]*>=[^"]*)"', installs[0])]
    assert [str(one) for one in stated] == [str(APPLICATION[one.name]) for one in stated]


@pytest.mark.slow
def test_an_exported_script_runs_in_any_folder_once_core_is_installed(tmp_path: Path) -> None:
    """By the command in its first line, in an environment with the packages of this one."""
    from dashboard import export, render

    project = tmp_path / "project"  # so that nothing is written into this one
    project.mkdir()
    for name in ("pyproject.toml", "requirements.txt", "README.md", "core", "data"):
        (project / name).symlink_to(ROOT / name)
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "packages.pth").write_text("\n".join(path for path in sys.path if path != str(ROOT)))
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*install, "--no-build-isolation", "--editable", str(project)], check=True)
    [wanted] = render.read("/compare?image=coffee&m=efficientnet-lite0")
    shown = render.view(wanted)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    name = export.file_name(shown.title, shown.screen) + ".py"
    (elsewhere / name).write_bytes(export.FILES["py"].make(shown, None, ""))
    first = (elsewhere / name).read_text("utf-8").splitlines()[0]
    assert first == f"# python {name}"
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    clean["PATH"] = os.pathsep.join([str(environment / "bin"), clean.get("PATH", "")])
    subprocess.run(first[2:].split(), check=True, cwd=elsewhere, env=clean)
    made = np.load(elsewhere / "arrays.npz")
    assert set(made.files) == set(shown.arrays)
