"""A page's view is made without Streamlit, and its files are those of the page's buttons."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core import sweep
from dashboard import cache, export, render
from dashboard.sweeps import SweepTable
from dashboard.view import View
from pages.data_set.pictures import AT_A_TIME
from pages.data_set.view import PENDING, DataSet
from tests.support.application import shown_by, start


def rendered(page: str, **query: str) -> View:
    """What ``python -m dashboard.render`` makes of a link, in a thread without a session."""

    def make() -> View:
        assert get_script_run_ctx(suppress_warning=True) is None
        [wanted] = render.read(f"/{page}?{urlencode(query)}")
        return render.view(wanted)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


def files(view: View) -> dict[str, Any]:
    """The files of a view that are the same whenever they are made."""
    made = {
        ending: export.FILES[ending].make(view, cache.own_pictures(), "")
        for ending in ("png", "npz", "py", "json")
    }
    return made | {"json": json.loads(made["json"]) | {"created": ""}}


DEMONSTRATIONS = [one.folder.name for one in sweep.find_sweeps(sweep.SWEEPS)]


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_figures_of_a_sweep_that_is_shipped(name: str) -> None:
    query = {"image": "coffee", "sweep": name, "where": "same_answer=no"}
    view = rendered("data_set", **query)
    assert isinstance(view, DataSet)
    assert not view.problems
    contents = view.contents
    assert contents is not None
    rows = SweepTable(sweep.open_sweep(sweep.SWEEPS / name))
    every, wanted = rows.figures(), rows.figures(("same_answer=no",))
    assert 0 < wanted.pictures < every.pictures
    assert contents.numbers[0].value == f"{wanted.pictures} of {every.pictures}"
    points = sum(len(trace.x) for trace in contents.scatter.figure.figure.data)
    assert 0 < points <= wanted.pictures
    assert contents.classes.frame["pictures"].sum() == wanted.labeled
    assert len(contents.gallery.cards) == min(AT_A_TIME, wanted.pictures)
    assert list(view.figures) == [contents.scatter.figure.key]
    assert files(view) == files(shown_by(start("data_set", **query)))


def test_of_a_sweep_that_is_being_made_the_view_says_so() -> None:
    view = rendered("data_set", image="coffee", sweep="samples")
    run = cache.made_sweeps().get("samples")
    assert run is not None
    run.stop()
    assert isinstance(view, DataSet)
    assert view.pending == PENDING
    assert view.contents is None
    assert "still being made" in view.problems[0]
    assert run.wait(60)
