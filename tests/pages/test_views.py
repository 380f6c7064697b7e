"""What a page shows is a value: made without a browser or a server, it gives the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from core import sweep
from dashboard import cache, export, render
from dashboard.render import RenderError, Wanted
from dashboard.screen import Screen
from dashboard.sweeps import SweepTable
from dashboard.view import View
from pages.data_set.pictures import AT_A_TIME
from pages.data_set.view import PENDING, DataSet
from tests.support.application import shown_by, start

ROOT = Path(__file__).resolve().parents[2]

SWEEP = "demonstration"
"""The sweep that is shipped."""

SCREENS: dict[str, tuple[str, dict[str, Any]]] = {
    "compare": ("compare", {"image": "coffee", "rather_than": "cup"}),
    "classes": ("gradient_rollout", {"classes": ["espresso", "Egyptian cat"]}),
    "attention": ("attention", {"image": "coffee", "tab": "similarity", "query": "r4c7"}),
    "evidence": ("evidence", {"image": "coffee", "change": "shuffle", "seed": "3"}),
    "representation": ("representation", {"image": "coffee", "represents": "distance"}),
    "data set": ("data_set", {"image": "coffee", "sweep": SWEEP, "where": "same_answer=no"}),
}
"""By name, a page and an address."""


def files_of(view: View) -> dict[str, Any]:
    """All that is exported of a view and is the same whenever it is made."""
    made = {
        ending: export.FILES[ending].make(view, cache.own_pictures(), "")
        for ending in ("png", "html", "npz", "py", "json")
    }
    return made | {"json": json.loads(made["json"]) | {"created": ""}}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("compare", "evidence") else pytest.param(name, marks=pytest.mark.slow)
        for name in SCREENS
    ],
)
def test_a_link_gives_the_files_of_the_buttons(name: str) -> None:
    page, query = SCREENS[name]
    shown = shown_by(start(page, **query))
    given = {key: [text] if isinstance(text, str) else text for key, text in query.items()}
    screen, problems = Screen.from_address(page, given)
    assert not problems
    made = render.view(Wanted(screen, shown.link))
    assert made.figures
    found = files_of(made)
    for ending, content in files_of(shown).items():
        assert found[ending] == content, ending


def test_figures_of_the_sweep_that_is_shipped() -> None:
    [wanted] = render.read(f"/data_set?image=coffee&sweep={SWEEP}&where=same_answer%3Dno")
    view = render.view(wanted)
    assert isinstance(view, DataSet)
    assert not view.problems
    contents = view.contents
    assert contents is not None
    rows = SweepTable(sweep.open_sweep(sweep.SWEEPS / SWEEP))
    every, left = rows.figures(), rows.figures(("same_answer=no",))
    assert 0 < left.pictures < every.pictures
    assert contents.numbers[0].value == f"{left.pictures} of {every.pictures}"
    points = sum(len(trace.x) for trace in contents.scatter.figure.figure.data)
    assert 0 < points <= left.pictures
    assert contents.classes.frame["pictures"].sum() == left.labeled
    assert len(contents.gallery.cards) == min(AT_A_TIME, left.pictures)


def test_of_a_sweep_that_is_being_made_the_view_says_so() -> None:
    [wanted] = render.read("/data_set?image=coffee&sweep=samples")
    view = render.view(wanted)
    run = cache.made_sweeps().get("samples")
    assert run is not None
    run.stop()
    assert isinstance(view, DataSet)
    assert view.pending == PENDING
    assert view.contents is None
    assert "still being made" in view.problems[0]
    assert run.wait(60)


@pytest.mark.slow
def test_the_command_needs_no_streamlit_session_and_says_what_it_cannot_do(tmp_path: Path) -> None:
    """In a process of its own, as a nightly report would run it."""
    links = tmp_path / "links.txt"
    links.write_text(
        "# two screens\nhttps://example.org/compare?image=coffee\n/gradient_rollout?image=coffee\n"
    )
    done = run(str(links), "--out", str(tmp_path / "out"), "--png", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "001-parallax-compare-coffee.json",
        "001-parallax-compare-coffee.png",
        "002-parallax-gradient-rollout-coffee.json",
        "002-parallax-gradient-rollout-coffee.png",
    ]
    again = run(
        str(tmp_path / "out" / "001-parallax-compare-coffee.json"), "--out", str(tmp_path), "--npz"
    )
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "parallax-compare-coffee.npz").is_file()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashboard.render", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PARALLAX_THREADS": "1"},
        check=False,
    )


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("https://example.org/nowhere?image=coffee", "/gradient_rollout"),
        ("/review", "shows data stored on a server"),
        (f"/compare?{urlencode({'image': 'own-' + '0' * 64})}", "--picture"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(
    link: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.main([link, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert "Traceback" not in told.err
    assert not list(tmp_path.glob("out/*"))


def test_a_file_stands_in_for_a_picture_that_a_server_holds(tmp_path: Path) -> None:
    file = next(path for path in (ROOT / "data" / "samples").glob("coffee.*"))
    link = f"/compare?{urlencode({'image': 'own-' + '0' * 64})}"
    arguments = [link, "--out", str(tmp_path), "--npz", "--picture", str(file)]
    assert render.main(arguments) == 0
    [made] = tmp_path.glob("*.npz")
    assert made.stat().st_size > 500


def test_an_address_that_says_nothing_of_use_is_said() -> None:
    [wanted] = render.read("/compare?image=coffee&opacity=7")
    assert "opacity in the address is '7'" in wanted.problems[0]
    with pytest.raises(RenderError, match="not a link to a page"):
        render.read("no-such-file.json")
