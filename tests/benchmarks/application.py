"""The application as a visitor meets it: start, memory, reruns, bytes.

The server and the browser are the real ones. Streamlit's own files (its client, Plotly) are
counted apart from what the application sends, as a browser fetches them once and keeps them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Browser, Page, Request, WebSocket

from dashboard.registry import pages
from tests.benchmarks.timing import Row, seconds
from tests.support.application import switch
from tests.support.serving import ROOT, chromium, running, settle

PAGES = {"" if name == "compare" else name: page.title for name, page in pages().items()}
MEGA = 1e6
PICTURES = ".js-plotly-plot .main-svg"
MAPS = f"document.querySelector('.st-key-compare-figure {PICTURES}')"
"""True once the maps of the first page are drawn."""
WITHOUT_CHARTS = ("activation_maximization", "review")
"""Pages that show none before somebody does something."""


def rows() -> list[Row]:
    """All figures of the application."""
    return [imports(), *visits(), *reruns()]


def imports() -> Row:
    """Seconds to import ``core`` and open the embedded pair; transformers must not be among it."""
    script = (
        "import sys, time; a = time.perf_counter(); import core; b = time.perf_counter();"
        "core.open_model('efficientnet-lite0'); core.open_model('dinov2-small');"
        "assert 'transformers' not in sys.modules and 'streamlit' not in sys.modules;"
        "print(b - a, time.perf_counter() - b)"
    )
    times = []
    for _ in range(4):  # the first warms the disk
        output = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        times.append([float(word) for word in output.split()])
    imported, opened = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return Row(
        "import of core, without transformers",
        "absolute",
        imported,
        "s",
        repeats=3,
        details={"open the embedded pair s": round(opened, 2)},
        note="nothing imports transformers before a Hugging Face model is opened: checked",
    )


class Traffic:
    """Bytes that reach a page: the application's own, and Streamlit's files."""

    def __init__(self, page: Page) -> None:
        self.own = 0
        self.client = 0
        page.on("websocket", self._socket)
        page.on("requestfinished", self._request)

    def _socket(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda payload: self._add(len(payload)))

    def _add(self, count: int) -> None:
        self.own += count

    def _request(self, request: Request) -> None:
        sizes = request.sizes()
        count = sizes["responseBodySize"] + sizes["responseHeadersSize"]
        if urlsplit(request.url).path.startswith("/media/"):
            self.own += count
        else:
            self.client += count


def drawn(page: Page) -> None:
    """Wait until a chart is drawn."""
    page.wait_for_function(
        "document.querySelectorAll('.js-plotly-plot .main-svg').length", timeout=120_000
    )


def first_page(opened: Browser) -> float:
    """Seconds from the command to the first page with its three pictures."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with running(Path(folder) / "server.log") as (address, _):
            page = opened.new_page()
            page.goto(address)
            page.wait_for_function(MAPS, timeout=120_000)
            taken = time.perf_counter() - started
            page.close()
    return taken


def visits() -> list[Row]:
    """Start, bytes of each page, and memory after a walk through all of them."""
    with chromium() as opened, tempfile.TemporaryDirectory() as folder:
        first_page(opened)  # warms the disk
        start = statistics.median(first_page(opened) for _ in range(3))
        own: dict[str, float] = {}
        client: dict[str, float] = {}
        with running(Path(folder) / "server.log") as (address, process):
            for path, name in PAGES.items():
                page = opened.new_page(viewport={"width": 1440, "height": 900})
                traffic = Traffic(page)
                page.goto(f"{address}/{path}")
                if path not in WITHOUT_CHARTS:
                    drawn(page)
                settle(page)
                own[name] = traffic.own / MEGA
                client[name] = traffic.client / MEGA
                if path == "activation_maximization":
                    run_to_the_end(page)
                    own[f"{name}, with a run"] = traffic.own / MEGA
                page.close()
            memory = psutil.Process(process).memory_info().rss / 1e9
    largest = max(own, key=lambda name: own[name])
    return [
        Row(
            "streamlit run to the first page with its pictures, warm disk",
            "absolute",
            start,
            "s",
            repeats=3,
        ),
        Row(
            "resident memory after a walk through all pages, embedded pair",
            "absolute",
            memory,
            "GB",
            reach=1.2,
            reason="PyTorch and its libraries alone take most of it",
        ),
        Row(
            "bytes that a page sends: the largest",
            "absolute",
            own[largest],
            "MB",
            reach=3.0,
            details={f"{name} MB": round(value, 2) for name, value in own.items()},
            reason="pictures and maps are sent whole",
            note=f"the largest is {largest}; Streamlit's own client, kept by the browser, is "
            f"{max(client.values()):.1f} MB more on the first visit",
        ),
    ]


def run_to_the_end(page: Page) -> None:
    """Start an activation maximization as the page offers it, and wait for its end."""
    main = page.get_by_test_id("stMain")
    main.get_by_role("button", name="Start").click()
    stop = main.get_by_role("button", name="Stop")
    stop.wait_for(state="visible", timeout=60_000)
    stop.wait_for(state="hidden", timeout=300_000)
    drawn(page)
    settle(page)


def reruns() -> list[Row]:
    """Milliseconds of a rerun of each page when nothing has changed."""
    from streamlit.testing.v1 import AppTest

    times: dict[str, float] = {}
    for path, name in PAGES.items():
        app: Any = AppTest.from_file(str(ROOT / "dashboard" / "Home.py"), default_timeout=120)
        app.run()
        if path:
            switch(app, path)
        for _ in range(2):
            app.run()
        times[name] = 1000 * statistics.median(seconds(app.run) for _ in range(9))
    slowest = max(times, key=lambda name: times[name])
    return [
        Row(
            "warm rerun of a page: the slowest",
            "absolute",
            times[slowest],
            "ms",
            reach=300,
            details={f"{name} ms": round(value) for name, value in times.items()},
            repeats=9,
            reason="figures are built anew in every run",
            note=f"the slowest is {slowest}; the script without a browser, by Streamlit's AppTest",
        )
    ]
