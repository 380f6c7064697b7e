"""What the tests in browsers share: a browser, and one server for those that only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.serving import chromium, serve


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, started as the README says."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(log) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for longer: while it is held, no other event loop runs here."""
    with chromium() as opened:
        yield opened
