"""A real browser walks all four pages of the real server.

With ``PARALLAX_SCREENSHOTS`` set to a folder the pictures of the README are written there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.serving import chromium, serve, settle

WANTED = os.environ.get("PARALLAX_SCREENSHOTS")
PAGES = {
    "compare": "Compare",
    "attention": "Attention",
    "gradient_rollout": "Gradient rollout",
    "activation_maximization": "Activation maximization",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, started as the README says."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(log) as url:
        yield url
    text = log.read_text(encoding="utf-8")
    assert "Traceback" not in text, text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with chromium() as opened:
        yield opened


def visit(browser: Browser, url: str, width: int = 1440, scheme: str = "light") -> Page:
    """Open a page and gather what its console complains of."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.complaints = complaints  # type: ignore[attr-defined]
    page.goto(url)
    settle(page)
    return page


def check(page: Page) -> None:
    """No traceback, no error box, no complaint of our own in the console."""
    assert page.locator('[data-testid="stException"]').count() == 0
    assert page.locator('[data-testid="stAlertContentError"]').count() == 0
    # Streamlit's client asks for its own files relative to the page first and gets a 404; the
    # usage statistics' host cannot be reached from a closed network.
    known = (
        "404 (Not Found)",
        "ERR_NAME_NOT_RESOLVED",
        "ERR_INTERNET_DISCONNECTED",
        "ERR_CONNECTION",
        "ERR_BLOCKED",
        "ERR_TUNNEL",
    )
    own = [c for c in page.complaints if not any(k in c for k in known)]  # type: ignore[attr-defined]
    assert not own, own


def screenshot(page: Page, name: str) -> None:
    """Write a picture of the whole page if somebody wants it."""
    if not WANTED:
        return
    width = page.viewport_size["width"] if page.viewport_size else 1440
    height = page.locator('[data-testid="stMain"]').evaluate("e => e.scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(900, int(height) + 10), 4000)})
    page.wait_for_timeout(1500)
    target = Path(WANTED) / f"{name}.jpg"
    page.screenshot(path=target, type="jpeg", quality=82)


def no_sideways_scroll(page: Page) -> None:
    overflow = page.locator('[data-testid="stMain"]').evaluate("e => e.scrollWidth - e.clientWidth")
    assert overflow <= 1, f"the page is {overflow} px wider than the window"


@pytest.mark.parametrize("name", PAGES)
def test_every_page_at_both_widths_and_in_both_themes(
    browser: Browser, address: str, name: str
) -> None:
    query = "?image=cat-beside-cup&fit=whole" if name == "gradient_rollout" else ""
    for width, scheme in ((1440, "light"), (800, "dark")):
        path = "" if name == "compare" else name  # the default page lives at the root
        page = visit(browser, f"{address}/{path}{query}", width, scheme)
        check(page)
        no_sideways_scroll(page)
        if name != "activation_maximization":
            expect(page.locator(".js-plotly-plot").first).to_be_visible()
        if name != "activation_maximization" and scheme == "light":
            screenshot(page, name)
        page.close()


def test_server_works_from_any_folder(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path / "server.log", cwd=tmp_path) as url:
        page = visit(browser, url)
        assert page.locator('[data-testid="stException"]').count() == 0
        expect(page.get_by_role("heading", name="Compare")).to_be_visible()
        expect(page.locator(".js-plotly-plot")).to_have_count(3)
        page.close()
    assert "Traceback" not in (tmp_path / "server.log").read_text(encoding="utf-8")


def test_navigation_keeps_the_chosen_picture_and_models(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    page.get_by_role("button", name="A cup of espresso", exact=True).click()
    settle(page)
    expect(page.get_by_text("Looking at: A cup of espresso")).to_be_visible()
    assert "image=coffee" in page.url
    page.get_by_role("link", name="Attention").click()
    expect(page.get_by_role("heading", name="Attention")).to_be_visible(timeout=60_000)
    settle(page)
    expect(page.get_by_text("Looking at: A cup of espresso")).to_be_visible()
    assert "image=coffee" in page.url
    check(page)
    page.close()


def test_hovering_a_map_tells_a_value(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    chart = page.locator(".js-plotly-plot").nth(2)
    chart.scroll_into_view_if_needed()
    box = chart.locator("rect.nsewdrag").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(chart.locator(".hovertext").first).to_be_visible(timeout=10_000)
    page.close()


def test_clicking_a_patch_makes_it_the_query(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/attention?view=One layer")
    expect(page.get_by_text("Query: class token")).to_be_visible()
    chart = page.locator(".js-plotly-plot").first
    chart.scroll_into_view_if_needed()
    box = chart.locator("rect.nsewdrag").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.53, box["y"] + box["height"] * 0.22)
    expect(page.get_by_text("Query: patch in row")).to_be_visible(timeout=30_000)
    settle(page)
    check(page)
    page.close()


def test_selecting_a_row_of_the_table_makes_that_class_the_target(
    browser: Browser, address: str
) -> None:
    page = visit(browser, address)
    table = page.locator('[data-testid="stDataFrame"]').first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box
    page.mouse.click(box["x"] + 16, box["y"] + 35 + 35 * 2.5)  # third row's check box
    expect(page.get_by_text("CAM · tabby")).to_be_visible(timeout=30_000)
    check(page)
    page.close()


def test_activation_maximization_grows_and_can_be_stopped(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/activation_maximization")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("step 8 of").first).to_be_visible(timeout=120_000)
    # Streamlit's own header has a button of the same name while a script runs.
    stop = page.get_by_test_id("stMain").get_by_role("button", name="Stop")
    stop.click()
    expect(page.get_by_text("stopped at").first).to_be_visible(timeout=60_000)
    expect(page.get_by_test_id("stMetric").first).to_be_visible()
    check(page)
    if WANTED:  # the README shows a finished run
        page.get_by_role("button", name="Start").click()
        expect(stop).to_be_visible(timeout=60_000)
        expect(stop).to_be_hidden(timeout=280_000)
        settle(page)
        screenshot(page, "activation_maximization")
    page.close()
