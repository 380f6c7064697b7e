"""A reader's choice is never lost: leave, return, reload, Back, Forward, a link in another browser.

What is compared are the numbers in the figures, not the look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from dashboard.registry import pages
from tests.support.serving import patient, running_again, settle

pytestmark = pytest.mark.slow

CHANGED = {
    "": "image=coffee&size=336&classes=espresso&vit_map=rollout&vit_map.fusion=max&clip=95",
    "attention": "image=camera&tab=layer&layer=3&query=r4c7&mass=0.3",
    "gradient_rollout": "image=cat-beside-cup&fit=whole&classes=espresso&classes=tabby"
    "&class_map=transformer_attribution",
    "activation_maximization": "classes=espresso&steps=16&seed=3",
    "evidence": "image=coffee&classes=cup&change=shuffle&strength=8&seed=3&fill=mean",
    "representation": "image=coffee&represents=neighbors&near_picture=rocket",
    "data_set": "x=artifacts&y=vit_pca_1&where=artifacts%3E%3D0&order=listed&leaf=2&picked=3",
}
"""By page, a screen that differs from the default in many ways."""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody new."""
    fresh = patient(browser.new_context(viewport={"width": 1440, "height": 900}))
    yield fresh
    fresh.close()


def numbers(page: Page) -> dict[str, object]:
    """Digests of all arrays in the figures, and what the settings show."""
    settle(page)
    arrays = page.evaluate(
        """() => [...document.querySelectorAll('.js-plotly-plot')].map(plot =>
            plot.data.map(trace => [trace.z ?? null, trace.y ?? null, trace.zmax ?? null]))"""
    )
    settings = page.evaluate(
        """() => [...document.querySelectorAll(
            '[data-testid=stMain] input, [data-testid=stMain] [data-baseweb=select]')]
            .map(e => e.value || e.innerText)"""
    )
    found: dict[str, object] = {"settings": settings}
    for figure, traces in enumerate(arrays):
        for trace, values in enumerate(traces):
            digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
            found[f"figure {figure}, trace {trace}"] = digest
    return found


def go(page: Page, title: str) -> None:
    with running_again(page):
        page.get_by_test_id("stPageLink").filter(has_text=title).first.click()


@pytest.mark.parametrize("path", CHANGED)
def test_a_screen_survives_everything(
    context: BrowserContext, browser: Browser, address: str, path: str
) -> None:
    page = context.new_page()
    page.goto(f"{address}/{path}?{CHANGED[path]}")
    first, link = numbers(page), page.url
    page.goto(f"{address}/{path}")
    assert numbers(page) != first, "the default screen must be another one"
    page.go_back()
    assert numbers(page) == first, "Back"
    page.reload()
    assert numbers(page) == first, "reload"
    other = "Attention" if path != "attention" else "Compare"
    go(page, other)
    go(page, pages()[path or "compare"].title)
    assert numbers(page) == first, "leaving and returning"
    with running_again(page):
        page.go_back()
    with running_again(page):
        page.go_forward()
    assert numbers(page) == first, "Back and Forward"
    somebody = patient(browser.new_context(viewport={"width": 1440, "height": 900}))
    try:
        elsewhere = somebody.new_page()
        elsewhere.goto(link)
        assert numbers(elsewhere) == first, "the link in another browser"
    finally:
        somebody.close()


def test_a_click_is_undone_by_back(context: BrowserContext, address: str) -> None:
    page = context.new_page()
    page.goto(f"{address}/")
    first = numbers(page)
    with running_again(page):
        page.get_by_role("button", name="Chelsea the cat", exact=True).first.click()
    second = numbers(page)
    assert second != first
    assert "image=chelsea" in page.url
    with running_again(page):
        page.go_back()
    assert numbers(page) == first
    with running_again(page):
        page.go_forward()
    assert numbers(page) == second


def test_every_page_has_a_title_and_one_first_heading_and_asks_no_other_host(
    context: BrowserContext, address: str
) -> None:
    titles: set[str] = set()
    asked: set[str] = set()
    for path in CHANGED:
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url.split("/")[2]))
        page.goto(f"{address}/{path}")
        settle(page)
        titles.add(page.title())
        assert page.locator("h1").count() == 1
        page.close()
    assert len(titles) == len(CHANGED)
    assert {host for host in asked if not host.startswith("127.0.0.1")} <= {""}, asked


def test_an_own_picture_has_an_address(
    context: BrowserContext, browser: Browser, address: str, tmp_path: Path
) -> None:
    from PIL import Image

    file = tmp_path / "blue.png"
    Image.linear_gradient("L").convert("RGB").save(file)
    page = context.new_page()
    page.goto(f"{address}/")
    settle(page)
    page.get_by_text("Your own picture").click()
    page.locator('[data-testid="stFileUploader"] input[type=file]').set_input_files(file)
    page.wait_for_url("**image=own-**")
    first, link = numbers(page), page.url
    somebody = patient(browser.new_context())
    try:
        elsewhere = somebody.new_page()
        elsewhere.goto(link)
        assert numbers(elsewhere) == first
        elsewhere.goto(link.replace("own-", "own-0"))
        settle(elsewhere)
        assert "no longer held here" in elsewhere.content()
    finally:
        somebody.close()
