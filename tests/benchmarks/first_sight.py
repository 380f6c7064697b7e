"""What somebody waits for: the first picture, and a click, against a page that does nothing.

Server and browser are the real ones; visits and clicks of both pages take turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.benchmarks.timing import Row
from tests.support.serving import chromium, running, settle

TRIVIAL = Path(__file__).with_name("trivial_page.py")
VISITS = 7
CLICKS = 9
FIGURE = "document.querySelector('.st-key-compare-figure .js-plotly-plot')"
CHART = "document.querySelector('.js-plotly-plot')"
DRAWN = "document.querySelector('.st-key-compare-figure .js-plotly-plot .main-svg')"
"""True once the maps of Compare are drawn."""
SEEN = f"[...document.querySelectorAll('.still i')].some(e => e.checkVisibility()) || {DRAWN}"
"""True once they are there as pictures."""
TRIVIAL_DRAWN = "document.querySelector('.js-plotly-plot .main-svg')"
BARE = "a page of one radio and one figure of three heat maps"


def rows() -> list[Row]:
    """All figures of this module."""
    with chromium() as opened, tempfile.TemporaryDirectory() as folder:
        return [*_visits(opened, Path(folder)), *_clicks(opened, Path(folder))]


def _visit(opened: Browser, address: str, *scripts: str) -> list[float]:
    """Seconds from entering the address, in a browser that knows nothing, until each script is
    true."""
    context = opened.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    started = time.perf_counter()
    page.goto(address)
    taken = []
    for script in scripts:
        page.wait_for_function(script, timeout=120_000, polling=20)
        taken.append(time.perf_counter() - started)
    context.close()
    return taken


def _visits(opened: Browser, folder: Path) -> list[Row]:
    logs = (folder / f"visit-{number}.log" for number in range(100))
    trivial, still, maps, new = [], [], [], []
    for _ in range(3):
        with running(next(logs)) as (address, _):
            new += _visit(opened, address, SEEN)
    with running(next(logs)) as (address, _), running(next(logs), script=TRIVIAL) as (bare, _):
        for _ in range(VISITS + 1):  # the first of each warms its server
            trivial += _visit(opened, bare, TRIVIAL_DRAWN)
            first, last = _visit(opened, address, SEEN, DRAWN)
            still.append(first)
            maps.append(last)
    least = statistics.median(trivial[1:])
    return [
        _ratio(f"first pictures, {what}", f"{BARE}, first visit", found, least, reach, reason)
        for what, found, reach, reason in (
            ("warm server", still[1:], 1.0, "the page has more to send before them"),
            ("server just started", new, 1.6, "Streamlit itself starts with the first visit"),
            ("interactive, warm server", maps[1:], None, ""),
        )
    ]


def _ratio(
    what: str, against: str, found: list[float], least: float, reach: float | None, reason: str
) -> Row:
    middle = statistics.median(found)
    return Row(
        what,
        against,
        middle / least,
        reach=reach,
        repeats=len(found),
        details={"trivial s": round(least, 2), "taken s": round(middle, 2)},
        reason=reason,
    )


def _clicks(opened: Browser, folder: Path) -> list[Row]:
    """Clicks whose maps are known, and one whose map is computed, against one that does nothing."""
    with (
        running(folder / "clicks.log") as (address, _),
        running(folder / "bare.log", script=TRIVIAL) as (bare, _),
    ):
        page, other = (opened.new_page(viewport={"width": 1440, "height": 900}) for _ in range(2))
        page.goto(f"{address}/?image=cat-beside-cup")
        other.goto(bare)
        page.wait_for_function(DRAWN, timeout=120_000)
        other.wait_for_function(TRIVIAL_DRAWN, timeout=120_000)
        found: dict[str, list[float]] = {name: [] for name in ("trivial", *KNOWN, "new class")}
        for number in range(CLICKS + 2):  # the first of each makes what is known later
            turn = number % 2
            found["trivial"].append(_trivial_click(other, ("falling", "rising")[turn]))
            for name, choose in KNOWN.items():
                found[name].append(choose(page, turn))
            if number >= 2:
                found["new class"].append(_class(page, CLASSES[number]))
                _class(page, CLASSES[1])
    least = statistics.median(found["trivial"][2:])
    return [
        _ratio(
            f"{name}: from the click to its map",
            f"{BARE}, a click",
            times[2:] if name != "new class" else times,
            least,
            None if name == "new class" else 1.2,
            "the page has more to send again than one radio and one figure",
        )
        for name, times in found.items()
        if name != "trivial"
    ]


def _timed(page: Page, act: Callable[[], object], done: str) -> float:
    started = time.perf_counter()
    act()
    page.wait_for_function(done, timeout=60_000, polling=20)
    taken = time.perf_counter() - started
    settle(page)
    return taken


def _trivial_click(page: Page, name: str) -> float:
    radio = page.get_by_text(name, exact=True).first
    return _timed(page, radio.click, f"{CHART}?.layout?.title?.text?.includes('{name}')")


def _titled(text: str) -> str:
    return f"[...({FIGURE}?.layout?.annotations ?? [])].some(a => a.text.includes('{text}'))"


def _chosen(page: Page, label: str, option: str, title: str) -> float:
    page.get_by_role("combobox", name=label).first.fill(option)
    return _timed(page, lambda: page.keyboard.press("Enter"), _titled(title))


CLASSES = (
    *("tiger cat", "tabby", "cup", "teapot", "lynx", "espresso", "soup bowl", "zebra"),
    *("strawberry", "goldfish", "bagel"),
)


def _class(page: Page, name: str) -> float:
    return _chosen(page, "Class", name, f"{name} ·")


def _method(page: Page, turn: int) -> float:
    title = ("LeGrad", "Gradient rollout")[turn]
    return _chosen(page, "DINOv2 ViT-S/14", title, title)


def _sample(page: Page, turn: int) -> float:
    before = page.evaluate(f"{FIGURE}.layout.images[0].source")
    button = page.locator(f".st-key-pick-{('coffee', 'cat-beside-cup')[turn]} button").first
    return _timed(
        page,
        button.click,
        f"({FIGURE}?.layout?.images?.[0]?.source ?? {before!r}) !== {before!r}",
    )


KNOWN: dict[str, Callable[[Page, int], float]] = {
    "a known class": lambda page, turn: _class(page, CLASSES[turn]),
    "a known method": _method,
    "a known sample": _sample,
}
"""Choices whose maps are known, by what is chosen."""
