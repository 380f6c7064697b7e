"""What a browser shows of a run that another choice has ended."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.test_browser import check, visit
from tests.support.serving import settle

pytestmark = pytest.mark.slow

VIT_MAPS = "&vit_maps=rollout&vit_maps=legrad&vit_maps=grad_cam"
CURVES = f"evidence?question=curves&image=coffee&fit=stretch{VIT_MAPS}"

WATCH = """() => {
    const visible = css => [...document.querySelectorAll(css)].filter(
        e => e.getClientRects().length > 0);
    window.ghosts = new Set();
    window.made = 0;
    let ended = false;  // the run that measures the curves
    const look = () => {
        for (const bar of visible('[data-stale="true"] .stProgress'))
            window.ghosts.add(bar.innerText);
        const making = visible('.st-key-making .stSpinner').length > 0;
        ended ||= !making;
        if (!ended || !making) return;
        window.made += 1;
        for (const left of visible('.st-key-measure'))
            window.ghosts.add(left.outerHTML.slice(0, 120));
    };
    new MutationObserver(look).observe(
        document.querySelector('[data-testid="stApp"]'),
        {subtree: true, childList: true, attributes: true});
}"""
"""Notes what is visible of the curves while another tab or page is made."""


def begin_to_measure(browser: Browser, address: str, seed: int) -> Page:
    page = visit(browser, f"{address}/{CURVES}&seed={seed}")
    page.get_by_role("button", name="Measure").click()
    expect(page.locator(".stProgress")).to_be_visible()
    expect(page.locator(".st-key-making .stSpinner")).to_be_visible()  # it comes a little later
    return page


def test_nothing_of_a_tab_that_was_left_remains_while_another_is_made(
    browser: Browser, address: str
) -> None:
    page = begin_to_measure(browser, address, 81)
    page.evaluate(WATCH)
    page.get_by_role("radio", name="Does it know the class?").click()
    expect(page.locator(".st-key-tab-pointing")).to_be_visible()
    settle(page)
    assert page.evaluate("[...window.ghosts]") == []
    assert page.evaluate("window.made"), "the other tab was made at once, so nothing was tested"
    check(page)
    page.close()


def test_nothing_of_a_page_that_was_left_remains_while_another_is_made(
    browser: Browser, address: str
) -> None:
    page = begin_to_measure(browser, address, 82)
    page.evaluate(WATCH)
    page.get_by_role("link", name="Gradient rollout").click()
    page.wait_for_url("**/gradient_rollout?*")
    expect(page.locator(".st-key-tab-curves")).to_have_count(0)
    settle(page)
    assert page.evaluate("[...window.ghosts]") == []
    expect(page.get_by_role("heading", name="Gradient rollout")).to_be_visible()
    check(page)
    page.close()
