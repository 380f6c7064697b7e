"""The real server, started as the README says, in a clean environment, on the loopback address."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0
"""Seconds that a page may take on a busy machine."""

Patient = TypeVar("Patient", Page, BrowserContext)

expect.set_options(timeout=PATIENCE * 1000)


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(log: Path, cwd: Path = ROOT, **variables: str) -> Iterator[str]:
    """Run ``streamlit run dashboard/Home.py``; yields its address and ends it afterwards.

    ``variables`` are added to its environment.
    """
    with running(log, cwd, **variables) as (address, _):
        yield address


@contextmanager
def running(
    log: Path,
    cwd: Path = ROOT,
    script: Path = ROOT / "dashboard" / "Home.py",
    data: Path | None = None,
    base: str = "",
    **variables: str,
) -> Iterator[tuple[str, int]]:
    """Like `serve`; yields the address and the process id.

    Nothing of the test process leaks in: no ``PYTHONPATH``, no working directory but ``cwd``, no
    folder for the user's data but ``data`` (by default that of the log). Nothing may have failed
    in it at the end. ``base`` is the path that all of it is served below.
    """
    port = free_port()
    kept = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["XDG_DATA_HOME"] = str(data or log.parent)
    environment |= variables
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                str(script),
                "--server.address",
                "127.0.0.1",
                "--server.port",
                str(port),
                "--server.baseUrlPath",
                base,
            ],
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(f"http://127.0.0.1:{port}{base}/_stcore/health", process, log)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(timeout=20)
    written = log.read_text(encoding="utf-8")
    assert 'File "' not in written, written  # as every traceback has it, also in our own log


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not come up:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def patient(thing: Patient) -> Patient:
    """A page, or all pages of a context, that wait longer: the machine may be busy."""
    thing.set_default_timeout(PATIENCE * 1000)
    return thing


@contextmanager
def running_again(page: Page) -> Iterator[None]:
    """What is done in this ``with`` block, without a new load, makes the script run; then rest.

    Until the server answers, the page looks as if nothing had been asked.
    """
    page.evaluate(
        """() => {
            window.ranAgain = false;
            const app = document.querySelector('[data-testid="stApp"]');
            const look = () => window.ranAgain ||= app.dataset.testScriptState === "running";
            new MutationObserver(look).observe(app, {attributes: true});
        }"""
    )
    yield
    page.wait_for_function("window.ranAgain", timeout=PATIENCE * 1000)
    settle(page)


def settle(page: Page, patience: float = PATIENCE) -> None:
    """Wait until the script has run to its end and the charts are drawn."""
    page.wait_for_selector('[data-testid="stHeading"]', timeout=patience * 1000)
    working = (
        # What tells a reader that the script runs comes late; this does not.
        '[data-testid="stApp"]:not([data-test-script-state="notRunning"])',
        '[data-testid="stStatusWidget"]',
        '[data-testid="stSpinner"]',
        # What a new browser shows while it fetches what draws charts and widgets.
        '[data-testid="stSkeleton"]',
        ".st-key-stop-sweep",
    )
    busy = page.locator(", ".join(working))
    deadline, quiet = time.monotonic() + patience, 0
    while quiet < 5:
        assert time.monotonic() < deadline, "the page never came to rest"
        quiet = 0 if busy.count() else quiet + 1
        page.wait_for_timeout(100)
    page.wait_for_function(
        "[...document.querySelectorAll('.stPlotlyChart')].every(e => e.querySelector('.main-svg'))",
        timeout=patience * 1000,
    )
