"""A real browser walks all pages of the real server.

With ``PARALLAX_SCREENSHOTS`` set to a folder the pictures of the documents are written there.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

import core
from dashboard.registry import pages
from tests.support.layout import misfits
from tests.support.serving import patient, running, settle

WANTED = os.environ.get("PARALLAX_SCREENSHOTS")
PAGES = tuple(pages())
WITHOUT_FIGURES = ("activation_maximization", "review")
"""Pages that show no figure until something is done."""


STREAMLITS_OWN: set[str] = set()
"""Rules that the client itself breaks."""


def path_of(name: str) -> str:
    """Path of a page; the default page lives at the root."""
    return "" if name == "compare" else name


def visit(browser: Browser, url: str, width: int = 1440, scheme: str = "light") -> Page:
    """Open a page and gather what its console complains of."""
    page = patient(
        browser.new_page(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
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
    assert page.locator('[data-testid="stAlertContentError"]').all_inner_texts() == []
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


def nothing_grave(page: Page) -> None:
    """Fail where axe finds something serious or critical for people who use other means."""
    found = Axe().run(page).response["violations"]
    grave = [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if violation["id"] not in STREAMLITS_OWN
    ]
    assert not grave, "\n".join(grave)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_page_at_both_widths_and_in_both_themes(
    browser: Browser, address: str, name: str
) -> None:
    query = "?fit=whole" if name == "gradient_rollout" else ""
    for width, scheme in ((1440, "light"), (800, "dark")):
        page = visit(browser, f"{address}/{path_of(name)}{query}", width, scheme)
        check(page)
        if name not in WITHOUT_FIGURES:
            expect(page.locator(".js-plotly-plot").first).to_be_visible()
        assert not misfits(page, (width,) if width == 1440 else (390, 800))
        nothing_grave(page)
        if name not in WITHOUT_FIGURES and scheme == "light":
            if WANTED and name == "evidence":  # docs/pages.md shows curves
                asked = "question=curves&measured=yes&classes=espresso&vit_maps=gradient_rollout"
                page.goto(f"{address}/evidence?{asked}&vit_maps=rollout")
                settle(page)
            screenshot(page, name)
        page.close()


@pytest.mark.slow
def test_relevance_to_the_pixel_at_both_widths_and_in_both_themes(
    browser: Browser, address: str
) -> None:
    looks = "&".join(f"look={m}:lrp:level%3Dpixels" for m in core.default_models())
    for width, scheme in ((1440, "light"), (800, "dark")):
        page = visit(browser, f"{address}/?image=chelsea&{looks}", width, scheme)
        check(page)
        assert not misfits(page, (width,))
        expect(page.locator(".js-plotly-plot").first).to_be_visible()
        expect(page.get_by_text("level pixels").first).to_be_visible()
        if scheme == "light":
            screenshot(page, "relevance")
        page.close()


@pytest.mark.slow
def test_compare_answers_at_its_own_name_as_at_the_bare_address(
    browser: Browser, address: str
) -> None:
    page = visit(browser, f"{address}/compare?image=coffee")
    check(page)
    expect(page.get_by_text("Page not found")).to_have_count(0)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.get_by_role("link", name="Attention").click()
    settle(page)
    page.go_back()
    settle(page)
    assert page.url.startswith(f"{address}/compare?")
    expect(page.get_by_text("Picture: A cup of espresso")).to_be_visible()
    page.close()


def test_first_screen_answers_the_question(browser: Browser, address: str) -> None:
    """Picture, both maps, both top fives and two figures of agreement without scrolling."""
    page = visit(browser, address)
    for thing in (
        page.locator(".js-plotly-plot").first,
        page.locator('[data-testid="stDataFrame"]').nth(0),
        page.locator('[data-testid="stDataFrame"]').nth(1),
        page.get_by_test_id("stMetric").nth(0),
        page.get_by_test_id("stMetric").nth(1),
    ):
        box = thing.bounding_box()
        assert box
        assert box["y"] + box["height"] <= 900, thing
    page.close()


HELD = """
import pathlib, sys, time

def hold(event, given, seen=pathlib.Path({seen!r})):
    file = getattr(given[0], "co_filename", "") if event == "exec" else ""
    while file.endswith("dashboard/frame.py") and not seen.exists():
        time.sleep(0.05)

sys.addaudithook(hold)
"""
"""Has a server import its frame, and with it PyTorch's users, only once a file is there."""


@pytest.mark.slow
def test_the_first_visitor_sees_the_frame_before_the_models_are_there(
    browser: Browser, tmp_path: Path
) -> None:
    """Of a server that was started in another folder and is below another path."""
    seen, first = tmp_path / "seen", tmp_path / "first"
    first.mkdir()
    (first / "sitecustomize.py").write_text(HELD.format(seen=str(seen)), encoding="utf-8")
    log = tmp_path / "server.log"
    with running(log, tmp_path, base="/lab", PYTHONPATH=str(first)) as (url, _):
        page = patient(browser.new_page(viewport={"width": 1440, "height": 900}))
        page.goto(f"{url}/lab")
        opening = page.locator(".splash img")
        page.wait_for_function(
            """count => document.querySelectorAll('.splash img').length === count
                && document.querySelector('h1')?.innerText === 'Compare'
                && !document.querySelector('.st-key-compare-figure')""",
            arg=len(core.samples()),
        )
        for path in ("/healthz", "/lab/healthz"):
            with urllib.request.urlopen(url + path, timeout=60) as answer:
                assert answer.headers.get_content_type() == "application/json", path
                assert json.load(answer)["status"] == "starting"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/other/healthz", timeout=60)
        seen.touch()
        page.locator(".st-key-compare-figure .main-svg").first.wait_for()
        settle(page)
        assert opening.count() == 0
        assert page.locator('[data-testid="stException"]').count() == 0
        expect(page.get_by_role("heading", name="Compare")).to_be_visible()
        expect(page.locator(".js-plotly-plot")).to_have_count(1)
        page.close()


@pytest.mark.slow
def test_hovering_a_map_reads_both(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    drags = page.locator(".js-plotly-plot").first.locator("rect.nsewdrag")
    for place in range(3):
        box = drags.nth(place).bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        reading = page.locator(".hovertext").first
        expect(reading).to_be_visible(timeout=10_000)
        assert str(reading.text_content()).count("of its largest") == 2
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(("tab", "panels"), [("similarity", 2), ("layer", 1)])
def test_maps_follow_the_pointer_without_the_server(
    browser: Browser, address: str, tab: str, panels: int
) -> None:
    page = visit(browser, f"{address}/attention?tab={tab}&image=coffee")
    box = page.locator(f".st-key-query-{tab} .imagelayer image").first.bounding_box()
    assert box
    overlay = page.locator(".js-plotly-plot > canvas")
    drawn: list[str] = []
    for across in (0.3, 0.7):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + 0.3 * box["height"])
        row, col = int(0.3 * 16), int(across * 16)
        expect(page.get_by_text(f"Row {row}, column {col}. Click to keep it.")).to_be_visible()
        expect(overlay).to_have_count(1)
        drawn.append(overlay.evaluate("canvas => canvas.toDataURL()"))
    assert drawn[0] != drawn[1]
    columns = overlay.evaluate(
        """canvas => {  // shares of columns in which something is drawn
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, height / 2, width, 1);
            return data.filter((_, i) => i % 4 === 3 && data[i] > 0).length / width;
        }"""
    )
    assert abs(columns - panels / 2) < 0.03
    page.mouse.move(5, 5)
    expect(overlay).to_have_count(0)
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
    expect(overlay).to_have_count(1)
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile("query=r4c11"))
    check(page)
    page.close()


@pytest.mark.slow
def test_selecting_a_row_of_the_table_makes_that_class_the_target(
    browser: Browser, address: str
) -> None:
    page = visit(browser, f"{address}/?image=cat-beside-cup")
    table = page.locator('[data-testid="stDataFrame"]').first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box
    page.mouse.click(box["x"] + 16, box["y"] + 35 + 24 * 2.5)  # third row's check box
    expect(page.get_by_text(re.compile(r"^tiger cat · .+ %, "))).to_have_count(2)
    assert "classes=tiger" in page.url
    check(page)
    page.close()


@pytest.mark.slow
def test_activation_maximization_grows_and_can_be_stopped(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/activation_maximization")
    page.get_by_role("button", name="Start").click()
    stop = page.get_by_test_id("stMain").get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ (s|min) left")).first).to_be_visible()
    # Until the time was estimated, nothing has been made that could be kept.
    expect(page.get_by_text(re.compile(r"Step \d+ of")).first).to_be_visible()
    stop.click()
    expect(page.get_by_text("stopped").first).to_be_visible()
    check(page)
    if WANTED:  # docs/pages.md shows a finished run
        page.get_by_role("button", name="Start").click()
        expect(stop).to_be_visible()
        expect(stop).to_be_hidden(timeout=280_000)
        settle(page)
        screenshot(page, "activation_maximization")
    page.close()


@pytest.mark.slow
def test_a_map_that_takes_long_can_be_canceled_and_the_old_one_stays(
    browser: Browser, address: str
) -> None:
    asked = "image=coffee&look=efficientnet-lite0:rise:count=5000&look=dinov2-small"
    page = visit(browser, f"{address}/?{asked}")
    maps = page.locator(".st-key-compare-figure .js-plotly-plot")
    cam, progress = maps.get_by_text("CAM"), page.get_by_text("of 1250 steps")
    expect(cam).to_be_visible()
    page.get_by_role("button", name="Compute RISE").click()
    expect(progress).to_be_visible()
    expect(cam).to_be_visible()
    assert maps.evaluate("e => getComputedStyle(e.closest('[data-stale]')).opacity") == "1"
    page.get_by_role("button", name="Cancel").click()
    expect(progress).to_have_count(0)
    expect(page.get_by_role("button", name="Compute RISE")).to_be_visible()
    expect(cam).to_be_visible()
    check(page)
    page.close()


@pytest.mark.slow
def test_full_screen_shows_all_panels_and_is_led_by_keys(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/?image=cat-beside-cup")
    for _ in range(2):  # a corner that was clicked before opens it again
        box = page.locator(".st-key-compare .scatterlayer path.point").nth(1).bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        viewer = page.locator("dialog[open]")
        expect(viewer.locator("figure")).to_have_count(3)
        assert "large=compare.1" in page.url
        widths = [e.bounding_box() for e in viewer.locator(".pane").all()]
        assert sum(found["width"] for found in widths if found) > 0.9 * 1440
        title, panes = viewer.locator("output"), viewer.locator(".pane")
        page.keyboard.press("ArrowRight")
        expect(title).to_have_text("2 of 3: EfficientNet-Lite0")
        page.keyboard.down("h")
        expect(panes.locator(".layer")).to_be_hidden()
        page.keyboard.up("h")
        expect(panes.locator(".layer")).to_be_visible()
        page.keyboard.press("b")
        expect(viewer.locator("figcaption")).to_contain_text("DINOv2 ViT-S/14")
        page.keyboard.press("b")
        expect(viewer.locator("figcaption")).to_contain_text("EfficientNet-Lite0")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        expect(title).to_have_text("All 3")
        page.keyboard.press("+")
        zoomed = [e.get_attribute("style") for e in viewer.locator(".both").all()]
        assert "scale(1.5)" in str(zoomed[0])
        assert zoomed == zoomed[:1] * 3, "all panels together"
        page.keyboard.press("Escape")
        expect(viewer).to_have_count(0)
        settle(page)
        assert "large" not in page.url
    page.get_by_role("button", name="Full screen").click()
    expect(page.locator("dialog[open]")).to_have_count(1)
    check(page)
    page.close()
