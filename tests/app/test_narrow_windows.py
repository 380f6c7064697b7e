"""From a phone to a wide screen nothing scrolls sideways, and nothing lies over the head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import export, render
from dashboard.registry import pages
from tests.app.test_browser import check, path_of, visit
from tests.support.serving import patient, settle

pytestmark = pytest.mark.slow

WIDTHS = (390, 639, 641, 800, 1440)
TABS = (
    "attention?tab=layer",
    "attention?tab=layer&matrix=yes",
    "attention?tab=joint",
    "attention?tab=channels",
    "attention?tab=similarity",
    "attention?tab=several",
    "evidence?question=curves",
    "evidence?question=randomization",
    "evidence?question=pointing",
    "evidence?change=patches",
    "gradient_rollout?fit=whole",
)

FAULTS = """() => {
    const root = document.documentElement, main = document.querySelector('[data-testid="stMain"]');
    const found = [];
    for (const [name, box] of [["document", root], ["main", main]])
        if (box && box.scrollWidth > box.clientWidth + 1)
            found.push(`${name} is ${box.scrollWidth - box.clientWidth} px too wide`);
    const visible = box => {
        const {width, height} = box.getBoundingClientRect(), style = getComputedStyle(box);
        return width > 0 && height > 0 && style.visibility !== "hidden" && style.opacity !== "0";
    };
    const head = [...document.querySelectorAll(
        '[data-testid="stStatusWidget"], [data-testid="stToolbar"] button, .st-key-links a,'
        + '[data-testid="stSidebarCollapseButton"] button, .st-key-links button, .st-key-head h1,'
        + '.st-key-head button'
    )].filter(visible);
    for (const [number, one] of head.entries())
        for (const other of head.slice(number + 1)) {
            const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 1 && high > 1 && !one.contains(other) && !other.contains(one))
                found.push(`${one.innerText || one.ariaLabel} lies over ${other.innerText}`);
        }
    return found;
}"""
"""What is wider than its window, and what overlaps in the head."""


def faults(page: Page, what: str) -> list[str]:
    """At every width."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(600)  # the side bar folds, charts are drawn again
        found += [f"{what} at {width}: {fault}" for fault in page.evaluate(FAULTS)]
    return found


def test_pages_fit_every_window(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    found = []
    for name in [*map(path_of, pages()), *TABS]:
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto(f"{address}/{name}")
        settle(page)
        found += faults(page, name or "compare")
    check(page)
    page.close()
    assert not found, "\n".join(found)


def test_pages_fit_every_window_while_something_runs(browser: Browser, address: str) -> None:
    page = visit(
        browser, f"{address}/evidence?question=curves&image=coffee&fit=pad&vit_maps=legrad"
    )
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_test_id("stStatusWidget")).to_be_visible()
    found = page.evaluate(FAULTS)
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_timeout(300)
    found += page.evaluate(FAULTS)
    settle(page)
    found += faults(page, "curves")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{address}/activation_maximization")
    settle(page)
    page.get_by_role("button", name="Start").click()
    stop = page.get_by_test_id("stMain").get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    found += faults(page, "maximization")
    stop.dispatch_event("click")
    page.close()
    assert not found, "\n".join(found)


def test_on_a_phone_the_links_fold_and_columns_stack(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/attention", 390)
    links = page.locator(".st-key-links a")
    assert not any(link.is_visible() for link in links.all())
    picture = page.locator('[class*="st-key-query-"]').first.bounding_box()
    maps = page.locator(".st-key-grid-maps").bounding_box()
    assert picture
    assert maps
    assert maps["y"] > picture["y"] + picture["height"]
    page.get_by_test_id("stMain").get_by_role(
        "button", name=re.compile("^Attention|Attention$")
    ).click()
    page.get_by_role("link", name="Evidence").click()
    page.wait_for_url("**/evidence*")
    settle(page)
    expect(page.get_by_role("link", name="Data set")).to_have_count(0)
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    page.close()


REPORTS = (
    "/compare?image=coffee",
    "/attention",
    "/attention?tab=layer",
    "/gradient_rollout",
    "/evidence?image=coffee",
    "/data_set",
    "/activation_maximization",
)


def test_reports_fit_every_window(browser: Browser, tmp_path: Path) -> None:
    page = patient(browser.new_page())
    found = []
    for number, link in enumerate(REPORTS):
        [wanted] = render.read(link)
        file = tmp_path / f"{number}.html"
        notes = f"As seen at https://example.org/{'a' * 300}"
        file.write_text(
            export.report(render.view(wanted), f"x = {'1' * 300}", "W" * 200, notes), "utf-8"
        )
        page.goto(file.as_uri())
        page.wait_for_timeout(500)
        found += faults(page, link)
        shown = page.locator(".js-plotly-plot .main-svg").first
        if shown.count():
            box = shown.bounding_box()
            assert box
            assert box["width"] > 600, "titles of panels would lie over each other"
    page.close()
    assert not found, "\n".join(found)
