"""Widgets that say they hold what was never offered: a sentence, never an error page."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from PIL import Image
from streamlit.proto.Common_pb2 import FileURLs
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.uploaded_file_manager import DeletedFile, UploadedFile, UploadedFileRec
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.local_script_runner import LocalScriptRunner

from dashboard import cache, frame, server, session
from dashboard.frame import FAILED as SENTENCE
from dashboard.uploads import digest_of, own_id
from tests.support.application import address, png, start, upload

ROOM = 10**9
SELECTIONS = (
    {"points": [{"customdata": ["<b>no</b>", None], "point_index": ROOM}], "box": [{"x": 1}]},
    {"points": [{}], "rows": [ROOM], "columns": ["no"], "cells": [[-ROOM, "no"]]},
    {"points": [{"customdata": [ROOM, -ROOM, ROOM]}], "rows": [-ROOM], "box": [{"x": [], "y": []}]},
)
FORGED: dict[str, list[Any]] = {
    "string_value": ["![x](http://evil.example/x)", "9" * 10_000],
    "string_array_value": [["no such option"] * 50, [""]],
    "double_array_value": [[float("nan")] * 2, [1e300]],
    "int_array_value": [[ROOM], [0] * 99],
    "double_value": [float("nan"), 1e300],
    "int_value": [2**62, -1],
    "bool_value": [True],
    "selection": [json.dumps({"selection": one}) for one in SELECTIONS],
}
"""By the kind of value that a widget holds, what it is made to hold."""

ALIKE = 3
"""Widgets of one kind that are tried on a page; all are read by the same few lines."""

SCREENS: dict[str, dict[str, str]] = {
    "compare": {},
    "attention": {"tab": "similarity"},
    "gradient_rollout": {},
    "activation_maximization": {},
    "evidence": {"change": "patches"},
    "representation": {"represents": "ablation"},
    "data_set": {},
    "review": {},
}


def states(app: AppTest) -> dict[str, tuple[str, WidgetState]]:
    """What all widgets hold now, charts and tables included, with its kind."""
    found = {}
    for state in app._tree.get_widget_states().widgets:
        found[state.id] = (state.WhichOneof("value") or "", state)
    for element in [*app.get("plotly_chart"), *app.dataframe]:
        if widget := getattr(element.proto, "id", ""):
            found[widget] = ("selection", WidgetState(id=widget, string_value='{"selection": {}}'))
    return found


def forged(state: WidgetState, kind: str, value: Any) -> WidgetState:
    """A widget's state with another value."""
    made = WidgetState(id=state.id)
    if isinstance(value, list):
        getattr(made, kind).data.extend(value)
        getattr(made, kind).SetInParent()
    else:
        setattr(made, "string_value" if kind == "selection" else kind, value)
    return made


@pytest.fixture(autouse=True)
def handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server does with errors before a page, which `AppTest` leaves out."""
    build = LocalScriptRunner.__init__

    def with_handler(self: LocalScriptRunner, *given: Any, **options: Any) -> None:
        build(self, *given, **options)
        self._on_script_error = server.failed

    monkeypatch.setattr(LocalScriptRunner, "__init__", with_handler)


USUAL = ("compare", "review")
"""Pages that each run of the tests looks at; the others are slow tests."""


@pytest.mark.parametrize(
    "page",
    [page if page in USUAL else pytest.param(page, marks=pytest.mark.slow) for page in SCREENS],
)
def test_a_forged_value_is_at_most_a_sentence(page: str) -> None:
    app = start(page, **SCREENS[page])  # type: ignore[arg-type]
    query = address(app)
    held = states(app)
    seen, tried = 0, Counter[str]()
    for widget, (kind, state) in held.items():
        tried[kind] += 1
        if tried[kind] > ALIKE:
            continue
        for value in FORGED.get(kind, []):
            sent = {one: states[1] for one, states in held.items()}
            sent[widget] = forged(state, kind, value)
            app._run(WidgetStates(widgets=sent.values()))
            what = f"{widget[-60:]}: {kind} {str(value)[:60]}"
            assert not app.exception, (what, app.exception)
            seen += 1
            if app.error:  # what cannot even be read ends in a sentence as well
                assert [e.value for e in app.error] == [SENTENCE], what
                app = start(page, **SCREENS[page])  # type: ignore[arg-type]
            app.query_params.clear()  # back to where it began
            for name, values in query.items():
                app.query_params[name] = values
    assert seen > 5


def test_a_file_that_the_browser_still_lists_is_not_read_again() -> None:
    data = png(Image.new("RGB", (90, 90), "orchid"))
    record = UploadedFileRec("new", "new.png", "image/png", data)
    listed = [DeletedFile("let go before"), UploadedFile(record, FileURLs())]
    app = start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "current", lambda: app.session_state["_session"])
        patch.setattr(session, "become", lambda screen: looked_at.append(screen.shared.image))
        looked_at: list[str] = []
        frame._take(listed)
    assert looked_at == [own_id(digest_of(data))]
    assert session.uploaded(None) == session.uploaded(DeletedFile("one")) == []


def test_a_picture_of_others_is_not_removed() -> None:
    theirs = upload(start(), "theirs.png", png(Image.new("RGB", (90, 90), "olive")))
    [picture_id] = address(theirs)["image"]
    mine = upload(start(), "mine.png", png(Image.new("RGB", (90, 90), "plum")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "current", lambda: mine.session_state["_session"])
        frame._remove(picture_id)
    assert cache.own_pictures().get(picture_id) is not None
