"""The application without a browser, by AppTest, as the tests of its pages play it."""

from __future__ import annotations

import functools
import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest

from dashboard import cache
from dashboard.show import Last
from dashboard.view import View

HOME = Path(__file__).resolve().parents[2] / "dashboard" / "Home.py"


def start(
    page: str = "compare", image: str | None = "cat-beside-cup", **query: str | list[str]
) -> AppTest:
    """The application on one page, with an address; without a picture in it for ``None``."""
    if image is not None:
        query["image"] = image
    app = fresh()
    for name, value in query.items():
        app.query_params[name.replace("__", ".")] = value
    if page == "compare":
        return app.run()
    app._registered_pages = _registered()  # as a browser that arrives at a page by its address
    return switch(app, page)


def fresh() -> AppTest:
    """The application before its first run."""
    app = AppTest.from_file(str(HOME), default_timeout=600)
    app._bidi_component_manager = _components()
    return app


@functools.cache
def _components() -> BidiComponentManager:
    """No components: each `AppTest` would look for some in all installed packages, for .3 s."""
    return BidiComponentManager()


@functools.cache
def _registered() -> Any:
    """The pages by their hashes, which an `AppTest` knows after its first run only."""
    return fresh().run()._registered_pages


def switch(app: AppTest, page: str) -> AppTest:
    """Go to another page, as its link does."""
    return app.switch_page(f"../pages/{page}/page.py").run()


def shown_by(app: AppTest) -> View:
    """What the last run of an application has shown."""
    found = healthy(app).session_state["_session"].kept[Last].shown
    assert found.complete
    view: View = found.view
    return view


def hold_no_own_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart: what was uploaded and not saved is gone."""
    monkeypatch.setattr(cache.own_pictures(), "_files", OrderedDict())


def healthy(app: AppTest) -> AppTest:
    """Fail on a traceback or an error box."""
    assert not app.exception, app.exception
    assert not app.error, [e.value for e in app.error]
    return app


def figures(app: AppTest) -> list[dict[str, Any]]:
    """All Plotly figures, decoded."""
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def texts(app: AppTest) -> str:
    """Everything that is said in small print and in warnings."""
    return "\n".join([e.value for e in (*app.caption, *app.warning, *app.info)])


def address(app: AppTest) -> dict[str, list[str]]:
    """The address after a run."""
    return {
        key: value if isinstance(value, list) else [value]
        for key, value in dict(app.query_params).items()
    }


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def upload(app: AppTest, name: str, data: bytes) -> AppTest:
    return app.file_uploader(key="screen-upload").set_value([(name, data, "image/png")]).run()
