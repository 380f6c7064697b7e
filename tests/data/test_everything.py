"""The list of steps that makes all that is shipped."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.paths import ROOT
from data.recipes import everything
from data.recipes.everything import STEPS, Step, command, main, wanted

FOLDERS = {
    name: Path(name) for name in ("photographs", "packages", "pictures", "earlier", "cache", "work")
}


def test_every_step_is_a_recipe_that_takes_its_arguments() -> None:
    for step in STEPS:
        found = importlib.util.find_spec(step.module)
        assert found is not None, step.module
        assert found.origin is not None
        text = Path(found.origin).read_text(encoding="utf-8")
        for argument in step.arguments:
            if argument.startswith("--"):
                assert re.search(rf'"{argument}"', text), (step.name, argument)


def test_every_recipe_with_a_command_is_a_step() -> None:
    runnable = {
        path.stem
        for path in (ROOT / "data" / "recipes").glob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    steps = [step.module for step in STEPS if step.module.startswith("data.recipes.")]
    assert runnable - {"everything"} == {module.rpartition(".")[2] for module in steps}


def test_steps_that_have_ended_are_left_out_unless_they_are_named() -> None:
    names = [step.name for step in STEPS]
    assert [step.name for step in wanted(None, [], names[:3])] == names[3:]
    assert [step.name for step in wanted(names[2], [], names)] == names[2:]
    assert [step.name for step in wanted(None, [names[4]], names)] == [names[4]]
    with pytest.raises(SystemExit, match="no step 'paint'"):
        wanted("paint", [], [])


def test_a_folder_that_is_missing_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match="step features needs --photographs"):
        main(["--work", str(tmp_path), "--packages", "x", "--pictures", "x"])


def test_it_goes_on_after_the_step_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tuple(Step(name, name, (), "") for name in ("first", "second", "third"))
    monkeypatch.setattr(everything, "STEPS", steps)
    ran: list[str] = []
    fails = {"second"}

    def run(asked: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        ran.append(asked[-1])
        return subprocess.CompletedProcess(asked, 3 if asked[-1] in fails else 0)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"step second failed \(exit code 3\)"):
        main(["--work", str(tmp_path)])
    assert json.loads((tmp_path / "steps.json").read_text("utf-8")) == ["first"]
    fails.clear()
    main(["--work", str(tmp_path)])
    assert ran == ["first", "second", "second", "third"]


def test_the_arguments_name_the_folders() -> None:
    [asked] = [command(step, FOLDERS)[3:] for step in STEPS if step.name == "spectrum"]
    assert asked == ["--photographs", "photographs/imagenet-samples"]
