"""A map that would take long waits for a click, and says what it takes."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.delta_generator import DeltaGenerator
from streamlit.testing.v1 import AppTest

from dashboard import render, session, show, waiting
from dashboard.screen import Screen
from tests.support.application import address, figures, healthy, shown_by, start

FEW: dict[str, Any] = {"look": ["efficientnet-lite0:rise:count=3", "dinov2-small"]}


@pytest.fixture
def _asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_ASK_FROM", "0")


def methods(app: AppTest) -> list[str]:
    return [found.method for found in shown_by(app).explanations]


def compute(app: AppTest) -> list[str]:
    return [button.label for button in app.button if (button.key or "").startswith("compute-")]


@pytest.mark.usefixtures("_asks")
def test_a_costly_map_waits_for_a_click_and_others_do_not() -> None:
    app = start(**FEW)
    assert methods(app) == ["cam", "gradient_rollout"], "the first map, until the other is asked"
    [label] = compute(healthy(app))
    assert label.startswith("Compute RISE of EfficientNet-Lite0, Egyptian cat · about ")
    assert app.selectbox(key="screen-look-0").value == "rise", "the choice is not lost"
    app.button(key="compute-0").click().run()
    assert methods(healthy(app)) == ["rise", "gradient_rollout"]
    assert not compute(app)
    assert not compute(start(**FEW)), "what is known is shown to everybody"
    assert compute(start(classes="espresso", **FEW)), "another class is another map"


@pytest.mark.usefixtures("_asks")
def test_what_a_column_showed_before_stays_until_the_other_map_is_asked_for() -> None:
    shown = {"image": "coffee", "look": ["efficientnet-lite0:grad_cam", "dinov2-small"]}
    app = start(**shown)
    assert methods(app) == ["grad_cam", "gradient_rollout"]
    app.query_params["look"] = ["efficientnet-lite0:rise:count=3", "dinov2-small:legrad"]
    assert methods(healthy(app.run())) == ["grad_cam", "legrad"]
    titles = [note["text"] for note in figures(app)[0]["layout"]["annotations"]]
    assert any("EfficientNet-Lite0" in text and "Grad-CAM" in text for text in titles)
    assert not any("RISE" in text for text in titles)
    app.button(key="keep-0").click().run()
    assert methods(healthy(app)) == ["grad_cam", "legrad"]
    assert not compute(app)
    assert address(app)["look"] == ["efficientnet-lite0:grad_cam", "dinov2-small:legrad"]


@pytest.mark.usefixtures("_asks")
def test_a_column_without_a_quick_map_says_what_its_own_takes() -> None:
    app = start(image="coffee", m="efficientnet-lite0", look="efficientnet-lite0:rise:count=3")
    app.query_params["look"] = ["efficientnet-lite0:occlusion"]
    assert methods(app.run()) == ["cam"], "one that waits itself is no stand-in"
    assert len(compute(healthy(app))) == 1


def test_cancel_returns_to_what_was_drawn_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    here = healthy(start(image="coffee", classes="espresso")).session_state["_session"]
    before, chosen = here.screen, here.screen.to(classes=("cup",))
    became: list[Screen] = []
    monkeypatch.setattr(session, "current", lambda: here)
    monkeypatch.setattr(session, "become", became.append)
    here.screen = chosen
    session.kept(show.Begun).keys.add("asked for")
    show.cancel()
    assert became == [before]
    assert not session.kept(show.Begun).keys, "it is not computed again unasked"


def _computing() -> None:
    from dashboard import waiting

    with waiting.bar(lambda: None), waiting.counted("RISE", 500) as tell:
        for done in range(3):
            tell(done)


@pytest.mark.parametrize(("least", "buttons"), [(0.0, ["Cancel"]), (1e9, [])])
def test_a_computation_that_takes_a_while_can_be_canceled(
    least: float, buttons: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CANCEL_FROM", least)
    drawn: list[str] = []
    monkeypatch.setattr(
        DeltaGenerator, "button", lambda _, label, **options: drawn.append(label), raising=True
    )
    app = AppTest.from_function(_computing).run()
    assert not app.exception
    assert drawn == buttons, "once, however many steps are reported"
    assert not app.get("progress"), "nothing is left"


@pytest.mark.usefixtures("_asks")
def test_files_of_a_link_are_made_without_a_click() -> None:
    [wanted] = render.read(
        "/compare?image=coffee&m=efficientnet-lite0&look=efficientnet-lite0:rise:count=2"
    )
    view = render.view(wanted)
    assert [found.method for found in view.explanations] == ["rise"]
    assert not view.costly


def test_what_is_estimated_below_the_setting_is_computed_at_once() -> None:
    app = start(image="camera", **FEW)
    assert methods(healthy(app)) == ["rise", "gradient_rollout"]
    assert not compute(app)
