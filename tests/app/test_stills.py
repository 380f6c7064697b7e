"""The first screen of a sample is there as a still until the browser has drawn it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from streamlit.testing.v1 import AppTest

from dashboard import opening
from tests.support.application import figures, healthy, start
from tests.support.serving import patient


def stills(app: AppTest) -> int:
    return sum("still below" in element.proto.body for element in healthy(app).get("html"))


DRAWN = ".st-key-compare .imagelayer image"


def places(page: Page, selector: str) -> list[list[float]]:
    """Left, top, width and height of elements, within the row of maps."""
    found: list[list[float]] = page.evaluate(
        """selector => {
            const row = document.querySelector('.st-key-compare').getBoundingClientRect();
            return [...document.querySelectorAll(selector)].map(element => {
                const { x, y, width, height } = element.getBoundingClientRect();
                return [x - row.x, y - row.y, width, height];
            });
        }""",
        selector,
    )
    return found


def test_only_first_screens_of_samples_have_one() -> None:
    first = opening.still("compare", {})
    assert first is opening.still("compare", {"image": [opening.OPENING]})
    assert opening.still("compare", {"image": ["coffee"]}) not in (first, None)
    for page, address in (
        ("attention", {}),
        ("compare", {"fit": ["pad"]}),
        ("compare", {"image": ["coffee"], "look": ["dinov2-small:rollout"]}),
        ("compare", {"image": ["own-1"]}),
        ("compare", {"image": [""]}),
    ):
        assert opening.still(page, address) is None, address


def test_it_stands_below_the_figure_once() -> None:
    app = start(image=None)
    assert stills(app) == 1
    assert len(figures(app)) == 1
    assert stills(app.run()) == 0
    app.button(key="pick-coffee").click().run()
    assert stills(app) == 0, "the browser has the code that draws figures"
    assert stills(start(image="coffee", opacity="0.8")) == 0


@pytest.mark.slow
def test_a_browser_shows_it_until_the_figure_is_drawn(browser: Browser, address: str) -> None:
    page = patient(browser.new_page(viewport={"width": 1440, "height": 900}))
    held: list[Route] = []
    page.route("**/PlotlyChart*", lambda route: held.append(route))
    page.goto(address)
    still = page.locator(".still.below")
    expect(still).to_be_visible()
    panels = places(page, ".still.below i")
    for route in held:
        route.continue_()
    page.unroute("**/PlotlyChart*")
    expect(still).to_be_hidden()
    expect(page.locator(DRAWN)).to_have_count(3)
    for before, after in zip(panels, places(page, DRAWN), strict=True):
        assert all(abs(one - other) <= 3 for one, other in zip(before, after, strict=True))
    page.close()
