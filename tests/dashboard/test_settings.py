"""What the operator sets: typed, bounded, documented, and refused in a sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import core
from core import ParameterError
from dashboard import application, settings
from dashboard.settings import PREFIX, Settings
from tests.support.application import fresh

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_is_documented_with_its_default() -> None:
    section = (ROOT / "docs" / "hosting.md").read_text("utf-8").partition("## Settings")[2]
    rows = re.findall(r"^\| `(PARALLAX_\w+)` \| .+ \| (.+) \|$", section, re.MULTILINE)
    assert [name for name, _ in rows] == sorted(
        (PREFIX + name.upper() for name in Settings.model_fields),
        key=[name for name, _ in rows].index,
    )
    for name, default in rows:
        field = Settings.model_fields[name.removeprefix(PREFIX).lower()]
        if isinstance(field.default, bool):
            assert default == ("yes" if field.default else "no")
        elif isinstance(field.default, int):
            assert default == str(field.default)


def test_nothing_else_reads_such_a_variable() -> None:
    names = {PREFIX + name.upper() for name in Settings.model_fields}
    for folder in ("core", "dashboard", "pages"):
        for path in (ROOT / folder).rglob("*.py"):
            assert set(re.findall(r"PARALLAX_\w+", path.read_text("utf-8"))) - {PREFIX} <= names


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PASSES", "abc", "a valid integer"),
        ("PASSES", "0", "greater than or equal to 1"),
        ("PASSES", "1.5", "a valid integer"),
        ("PATIENCE", "-3", "greater than or equal to 1"),
        ("MEMORY", "\x1b[31m", "a valid integer"),
        ("BUDGET", "1", "greater than or equal to 64"),
        ("LOCKED", "perhaps", "a valid boolean"),
    ],
)
def test_a_value_that_cannot_be_is_one_sentence(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ParameterError) as caught:
        settings.apply()
    message = str(caught.value)
    assert message.startswith(f"The setting PARALLAX_{name} is {value!r}, expected {expected};")
    assert message.isprintable()


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_PASSES", "")
    assert settings.current().passes is None


def test_a_page_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_PASSES", "abc")
    application.end()  # as on a server that was just started
    app = fresh().run()
    assert not app.exception
    assert "PASSES is 'abc'" in app.error[0].value.replace("\\", "")


def test_a_locked_instance_offers_the_default_models_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_LOCKED", "yes")
    app = fresh()
    app.query_params["vit"] = "timm/deit_tiny_patch16_224.fb_in1k"
    app.run()
    assert not app.exception
    titles = {core.find_spec(name).title for name in core.default_models()}
    for key in ("m-0", "m-1", "add-model"):
        offered = {one.partition(" · ")[0] for one in app.selectbox(key=f"screen-{key}").options}
        assert offered <= titles, key
    assert "deit" in app.warning[0].value
    assert "Use a matched pair" not in [button.label for button in app.button]


@pytest.mark.parametrize(
    ("cores", "quota", "passes", "threads"),
    [
        (2, None, 1, 2),
        (8, None, 2, 4),
        (64, None, 4, 16),
        (64, "200000 100000", 1, 2),
        (64, "max 100000", 4, 16),
        (4, "50000 100000", 1, 1),
    ],
)
def test_passes_and_threads_by_the_cores_that_may_be_used(
    cores: int,
    quota: str | None,
    passes: int,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    told: list[int] = []
    monkeypatch.delenv("PARALLAX_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(settings, "QUOTA", tmp_path / "cpu.max")
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(core, "configure", lambda p, _, __, t: told.extend([p, t]))
    settings.apply()
    assert told == [passes, threads]
