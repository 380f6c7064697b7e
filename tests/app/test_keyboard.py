"""Without a mouse: what has the focus is seen, is named, and can be used."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.test_browser import PAGES, path_of, visit
from tests.support.serving import running_again

pytestmark = pytest.mark.slow

FOCUSED = r"""() => {
    const focused = document.activeElement;
    if (!focused || focused === document.body) return null;
    const parts = color => [...color.match(/[\d.]+/g).map(Number), 1].slice(0, 4);
    const light = color => {
        const [r, g, b] = color.slice(0, 3).map(v => v / 255).map(
            v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b + .05;
    };
    const contrast = (a, b) => Math.max(a, b) / Math.min(a, b);
    const behind = place => {
        for (; place; place = place.parentElement) {
            const color = parts(getComputedStyle(place).backgroundColor);
            if (color[3] > .9) return color;
        }
        return [255, 255, 255, 1];
    };
    const large = box => box.offsetWidth > 4 && box.offsetHeight > 4;
    const clips = box => !large(box) && getComputedStyle(box).overflow !== "visible";
    const parent = focused.parentElement;
    const whole = focused.closest('label, [data-testid="stDataFrameResizable"]');
    const around = [focused, parent, parent.parentElement, whole];
    const ringed = around.filter(box => box).find(box => {
        const style = getComputedStyle(box);
        return style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2
            && large(box) && !clips(box.parentElement);
    });
    return {
        what: focused.outerHTML.slice(0, 200),
        name: focused.ariaLabel || focused.innerText?.trim() || focused.title || "",
        input: focused.matches("input, textarea, canvas, canvas *, main, .dvn-scroller"),
        contrast: ringed ? contrast(
            light(parts(getComputedStyle(ringed).outlineColor)),
            light(behind(ringed.parentElement))) : 0,
    };
}"""
"""What has the focus, and the contrast of its ring: 0 if there is none of 2 pixels."""

MOST = 250
"""More than what any page has."""


def focusable(page: Page) -> list[dict[str, object]]:
    """All that the key Tab reaches, in its order."""
    found = []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            return found
        found.append(focused)
    raise AssertionError("the focus never comes to the end of the page")


@pytest.mark.parametrize(
    ("scheme", "names"),
    [("light", ("attention", "review")), ("dark", ("compare",))],
)
def test_what_has_the_focus_has_a_ring_and_a_name(
    browser: Browser, address: str, scheme: str, names: Iterable[str]
) -> None:
    for name in names:
        page = visit(browser, f"{address}/{path_of(name)}", scheme=scheme)
        current = page.locator('.st-key-links a[aria-current="page"]')
        expect(current).to_have_count(1)
        number = list(PAGES).index(name)
        assert current.inner_text() == page.locator(".st-key-links a").nth(number).inner_text()
        found = focusable(page)
        assert len(found) > 15, name
        faint = [one for one in found if float(str(one["contrast"])) < 3]
        assert not faint, (name, faint)
        unnamed = [one for one in found if not one["name"] and not one["input"]]
        assert not unnamed, (name, unnamed)
        named_by_icon = [one for one in found if " icon\n" in str(one["name"])]
        assert not named_by_icon, (name, named_by_icon)
        page.close()


def test_a_focused_link_looks_different_from_that_of_the_current_page(
    browser: Browser, address: str
) -> None:
    page = visit(browser, f"{address}/evidence")
    look = "e => (s => s.outlineStyle + s.outlineWidth + s.fontWeight)(getComputedStyle(e))"
    links = page.locator(".st-key-links a")
    current, other = page.locator("[aria-current=page]"), links.first
    before = current.evaluate(look)
    other.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert other.evaluate("e => e === document.activeElement")
    assert other.evaluate(look) != before == current.evaluate(look)
    with running_again(page):
        page.keyboard.press("Enter")
    expect(links.first).to_have_attribute("aria-current", "page")
    expect(page.locator("[aria-current=page]")).to_have_count(1)
    page.close()


def test_panels_open_by_keys_and_tables_have_names(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/?image=cat-beside-cup")
    for title in ("EfficientNet-Lite0", "DINOv2 ViT-S/14"):
        table = page.get_by_role("region", name=f"{title} · top 5", exact=True)
        expect(table.locator("canvas").first).to_be_visible()
        expect(page.get_by_role("button", name=f"Remove {title}")).to_have_count(1)
        expect(page.get_by_role("button", name=f"Parameters of {title}")).to_have_count(1)
    button = page.get_by_role("button", name="Full screen")
    for key in ("Enter", " "):
        for _ in range(MOST):
            page.keyboard.press("Tab")
            if button.evaluate("e => e === document.activeElement"):
                break
        page.keyboard.press(key)
        expect(page.locator("dialog[open] figure")).to_have_count(3)
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open]")).to_have_count(0)
    page.close()
