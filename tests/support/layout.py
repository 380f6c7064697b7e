"""What does not fit its window, in a browser."""

from __future__ import annotations

import time
from collections.abc import Iterable

from playwright.sync_api import Page

WIDTHS = (390, 641, 800, 1440)

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


def misfits(page: Page, widths: Iterable[int] = WIDTHS, patience: float = 10.0) -> list[str]:
    """What is still wrong when the side bar has folded and the charts are drawn again."""
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        deadline = time.monotonic() + patience
        page.wait_for_timeout(400)
        while (wrong := page.evaluate(FAULTS)) and time.monotonic() < deadline:
            page.wait_for_timeout(400)
        found += [f"{page.url} at {width}: {fault}" for fault in wrong]
    return found
