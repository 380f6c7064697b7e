"""Models that must be fetched first, in a browser: nobody waits, and what happens is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from safetensors.torch import save

from tests.support.hub import Hub, playing, until
from tests.support.serving import patient, serve, settle

pytestmark = pytest.mark.slow

WANTED = "timm/deit_tiny_patch16_224.fb_in1k"
OTHER = "timm/deit_small_patch16_224.fb_in1k"
TITLE, SHOWN = "DeiT-Ti/16", "DINOv2 ViT-S/14"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with playing() as found:
        yield found


@pytest.fixture(scope="module")
def address(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("hub")
    variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(place)}
    with serve(place / "server.log", **variables) as found:
        yield found


def visit(browser: Browser, address: str) -> Page:
    page = patient(browser.new_page())
    page.goto(address)
    settle(page)
    return page


def test_a_silent_hub_is_told_while_the_page_goes_on(
    browser: Browser, address: str, hub: Hub
) -> None:
    """How soon it is refused is tested without a browser, in `tests/core/test_downloads.py`."""
    hub.manner = "silent"
    hub.files[f"{OTHER}/model.safetensors"] = b"x"
    page = visit(browser, address)
    page.goto(f"{address}/?vit={OTHER}")
    until(lambda: hub.asked, 20)
    expect(page.get_by_text("DeiT-S/16 cannot be downloaded")).to_be_visible()
    assert "timm" not in page.url
    assert SHOWN in page.get_by_test_id("stSidebar").inner_html()
    asked, hub.manner = len(hub.asked), "hangs up"
    page.get_by_role("button", name="Retry DeiT-S/16").click()
    until(lambda: len(hub.asked) > asked, 20)
    page.context.close()


def test_a_model_arrives_while_others_work_and_give_up(
    browser: Browser, address: str, hub: Hub
) -> None:
    import timm

    hub.manner, hub.asked = "well", []
    module = timm.create_model("deit_tiny_patch16_224")
    content = hub.files[f"{WANTED}/model.safetensors"] = save(module.state_dict())
    hub.pause, hub.pieces = 1.5, 200
    page, other = visit(browser, address), patient(browser.new_page())
    page.goto(f"{address}/?vit={WANTED}")
    expect(page.get_by_text(f"of {len(content) / 1e6:.0f} MB")).to_be_visible()
    assert "timm" not in page.url
    other.goto(f"{address}/attention?vit={WANTED}")
    # Drawn anew every second, so a click that waits for it to rest would never come.
    other.get_by_role("button", name="Cancel").dispatch_event("click")
    expect(other.get_by_role("button", name="Cancel")).to_have_count(0)
    settle(other)
    assert other.get_by_role("button", name="Cancel").count() == 0
    hub.pause = 0
    page.wait_for_url("**m=timm*")
    settle(page)
    until(lambda: TITLE in page.get_by_test_id("stMain").inner_text(), 30)
    assert page.get_by_role("button", name="Cancel").count() == 0
    assert len([path for path in hub.asked if "/resolve/" in path]) == 1
    assert SHOWN in other.get_by_test_id("stSidebar").inner_html()
