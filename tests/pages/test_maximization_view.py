"""Activation maximization's view, made to the end without a session, and that of a session."""

from __future__ import annotations

import time

import pytest

from dashboard import render
from dashboard.render import Wanted
from dashboard.screen import Screen
from pages.activation_maximization import view as maximization
from pages.activation_maximization.run import Made
from pages.activation_maximization.view import Maximization
from tests.pages.test_views import files_of
from tests.support.application import healthy, shown_by, start

SMALL = {"image": "coffee", "parameterization": "phase", "steps": "16", "side": "112"}


@pytest.mark.slow
def test_a_link_gives_the_files_of_a_run_that_has_ended() -> None:
    app = start("activation_maximization", **SMALL)
    assert not shown_by(app).figures
    healthy(app.button(key="start").click().run())
    until = time.monotonic() + 200
    while any(button.label == "Stop" for button in app.button):
        assert time.monotonic() < until
        time.sleep(0.3)
        healthy(app.run())
    shown = shown_by(app)
    screen, problems = Screen.from_address(
        "activation_maximization", {key: [text] for key, text in SMALL.items()}
    )
    assert not problems
    made = render.view(Wanted(screen, shown.link))
    assert isinstance(made, Maximization)
    assert [one.result.title for one in made.results] == [
        task.title for task in made.settings.tasks
    ]
    assert len(made.made) == len(made.arrays) == 2
    assert list(made.figures) == ["maximization-loss"]
    found = files_of(made)
    for ending, content in files_of(shown).items():
        assert found[ending] == content, ending


def test_what_cannot_be_made_without_a_session_is_a_problem_of_its_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = "No picture can be made of this."
    monkeypatch.setattr(maximization, "made_of", lambda tasks: Made((), (said,)))
    [wanted] = render.read("/activation_maximization?image=coffee&steps=16")
    made = render.view(wanted)
    assert isinstance(made, Maximization)
    assert made.problems == (said,)
    assert made.losses is None
    assert not made.arrays
