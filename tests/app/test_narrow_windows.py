"""From a phone to a wide screen nothing scrolls sideways, and nothing lies over the head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dashboard import export, render
from tests.app.test_browser import check, visit
from tests.support.layout import misfits
from tests.support.serving import patient, settle

pytestmark = pytest.mark.slow

TABS = (
    "attention?tab=layer&matrix=yes",
    "attention?tab=several",
    "evidence?question=curves",
)


def test_tabs_fit_every_window(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    found = []
    for name in TABS:
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto(f"{address}/{name}")
        settle(page)
        found += misfits(page, (390, 800))
    check(page)
    page.close()
    assert not found, "\n".join(found)


def test_the_head_fits_every_window_while_something_runs(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/evidence?question=curves&image=coffee&fit=pad")
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_test_id("stStatusWidget")).to_be_visible()
    found = misfits(page, (1440, 390), patience=2)
    assert page.get_by_test_id("stStatusWidget").is_visible(), "it ended before it was looked at"
    page.get_by_role("button", name="Cancel").dispatch_event("click")
    settle(page)
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


REPORTS = ("/compare?image=coffee", "/attention?tab=layer")


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
        found += misfits(page)
        shown = page.locator(".js-plotly-plot .main-svg").first
        if shown.count():
            box = shown.bounding_box()
            assert box
            assert box["width"] > 600, "titles of panels would lie over each other"
    page.close()
    assert not found, "\n".join(found)
