"""What the tests in browsers share: a browser, and one server for those that only look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.serving import chromium, serve


@pytest.fixture(scope="session")
def asked_git(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that names every command of git which the server of `address` runs."""
    return tmp_path_factory.mktemp("git") / "asked"


@pytest.fixture(scope="session")
def address(asked_git: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, started as the README says, with a git that only writes what it is asked."""
    git = asked_git.with_name("git")
    git.write_text(f'#!/bin/sh\necho "$@" >> {asked_git}\n')
    git.chmod(0o755)
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(log, PATH=f"{git.parent}{os.pathsep}{os.environ['PATH']}") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for longer: while it is held, no other event loop runs here."""
    with chromium() as opened:
        yield opened
