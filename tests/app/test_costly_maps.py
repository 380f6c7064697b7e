"""A map that would take long waits for a click, and says what it takes."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import render
from tests.support.application import healthy, shown_by, start, texts

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
    assert methods(app) == ["gradient_rollout"]
    [label] = compute(healthy(app))
    assert label.startswith("Compute RISE of EfficientNet-Lite0, Egyptian cat · about ")
    assert "RISE of EfficientNet-Lite0, Egyptian cat takes 3 passes" in texts(app).replace("\\", "")
    app.button(key="compute-0").click().run()
    assert methods(healthy(app)) == ["rise", "gradient_rollout"]
    assert not compute(app)
    assert not compute(start(**FEW)), "what is known is shown to everybody"
    assert compute(start(classes="espresso", **FEW)), "another class is another map"


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
