"""The server beside its pages: a quiet end, a log that quotes nobody, a way on for who waited."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import core
from core import BusyError
from dashboard import logs
from tests.support.alone import alone
from tests.support.application import fresh

ROOT = Path(__file__).resolve().parents[2]
MARKER = "Grandma at the hospital"

ENDING = """
import asyncio, time
import core
from dashboard import server
from pages.activation_maximization.run import STILL, Run, Task

async def live():
    async with server.lifespan(None):
        while b"ready" not in (await server.health(None)).body:
            await asyncio.sleep(0.1)
        model = core.open_model("efficientnet-lite0")
        task = Task("x", model, core.class_logit(3), core.Regularization(), 400, 96, 0, 14, STILL)
        run = Run([task]).start()
        while not run.results[0].history:
            time.sleep(0.02)

asyncio.run(live())
"""


@pytest.mark.slow
def test_a_server_that_is_stopped_during_a_maximization_ends_without_a_crash() -> None:
    """A thread that is cut off inside a network would abort the process."""
    ended = alone(ENDING)
    assert "terminate called" not in ended.stderr


def test_who_was_refused_a_place_tries_again_by_a_button(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise BusyError("All 2 slots for network passes were in use for 120 s; try again shortly.")

    app = fresh()
    app.query_params["image"] = "camera"
    app.query_params["fit"] = "stretch"
    with monkeypatch.context() as busy:
        busy.setattr(core, "record", refuse)
        app.run()
    assert not app.exception
    assert "slots for network passes were in use" in app.info[0].value
    app.button(key="try-again").click().run()
    assert not app.exception
    assert not app.error
    assert not any(button.key == "try-again" for button in app.button)
    assert app.get("plotly_chart")


# -- the log --------------------------------------------------------------------------------------


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What loggers write once the log is set up."""
    factory, hook = logging.getLogRecordFactory(), threading.excepthook
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    loggers = [logging.getLogger(n) for n in ("streamlit.x", "uvicorn.error", "dashboard.logs")]
    for logger in loggers:
        logger.addHandler(handler)
    logs.set_up()
    yield stream
    logging.setLogRecordFactory(factory)
    threading.excepthook = hook
    for logger in loggers:
        logger.removeHandler(handler)


def fail() -> None:
    try:
        raise KeyError(MARKER)
    except KeyError as error:
        raise ValueError(f"cannot read {MARKER}") from error


@pytest.mark.parametrize("name", ["streamlit.x", "uvicorn.error"])
def test_a_logged_exception_tells_where_and_not_what(name: str, written: io.StringIO) -> None:
    try:
        fail()
    except ValueError as error:
        logging.getLogger(name).error("it failed", exc_info=error)
        logging.getLogger(name).exception("again")
    text = written.getvalue()
    assert MARKER not in text
    assert text.count("builtins.ValueError\nfrom\n") == 2
    assert "in fail" in text
    assert "builtins.KeyError" in text


def test_a_thread_that_fails_quotes_nobody_either(
    written: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert "builtins.ValueError" in written.getvalue()
    assert MARKER not in written.getvalue() + "".join(capsys.readouterr())
