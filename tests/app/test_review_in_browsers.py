"""Two browsers and a server that is killed: a team's review that nothing is lost from."""

from __future__ import annotations

import io
import os
import re
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from dashboard import archive
from tests.support.serving import patient, running, settle

pytestmark = pytest.mark.slow

WANTED = os.environ.get("PARALLAX_SCREENSHOTS")


def visit(browser: Browser, address: str) -> Page:
    """The application in a browser of somebody new."""
    page = patient(browser.new_context(viewport={"width": 1440, "height": 900})).new_page()
    page.goto(address)
    settle(page)
    return page


def seen(thing: Locator) -> None:
    """Wait for it, also on a busy machine."""
    expect(thing).to_be_visible()


def menu(page: Page) -> None:
    """Open the menu of a page."""
    page.get_by_role("button", name="Save & export").click()
    seen(page.get_by_role("button", name="Picture for slides", exact=True))


def download(page: Page, button: str) -> bytes:
    """What a download button gives."""
    with page.expect_download() as waited:
        page.get_by_role("button", name=button, exact=True).first.click()
    return Path(waited.value.path()).read_bytes()


def view(page: Page, title: str) -> None:
    """Open the card of a title."""
    card = page.locator('[class*="st-key-card-"]').filter(has_text=title)
    card.get_by_role("button", name="View").click()
    settle(page)
    seen(page.get_by_role("heading", name=title))


def noted(page: Page, text: str) -> Locator:
    """A note, as it stands on the page."""
    return page.locator("p").filter(has_text=text).first


def arrays_of(file: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(file)) as opened:
        [name] = [name for name in opened.namelist() if name.endswith("arrays.npz")]
        return archive.read_npz(opened.read(name))


def pictures_of_the_readme(browser: Browser, address: str) -> None:
    """An exported picture, and a gallery of a few saved screens."""
    assert WANTED
    for title, query in (
        ("Where is the cat?", "?classes=Egyptian+cat"),
        ("Two classes, one picture", "gradient_rollout"),
        ("Last layer", "attention?tab=layer&image=camera"),
    ):
        page = visit(browser, f"{address}/{query}")
        menu(page)
        if query.startswith("?"):
            with Image.open(io.BytesIO(download(page, "Picture for slides"))) as still:
                still.convert("RGB").save(Path(WANTED) / "export.jpg", quality=85)
        page.get_by_label("Title").fill(title)
        page.get_by_label("Your name").fill("Grace")
        page.get_by_role("button", name="Save", exact=True).click()
        seen(page.get_by_text("It is on the Review page"))
    page = visit(browser, f"{address}/review")
    page.wait_for_timeout(1500)
    page.screenshot(path=Path(WANTED) / "review.jpg", type="jpeg", quality=82)


def test_what_one_saves_and_another_notes_outlives_the_server(
    browser: Browser, tmp_path: Path
) -> None:
    with running(tmp_path / "first.log", data=tmp_path) as (address, process):
        ada = visit(browser, f"{address}/?image=coffee&vit_map=rollout")
        menu(ada)
        ada.get_by_label("Title").fill("A cup")
        ada.get_by_label("Your name").fill("Ada")
        ada.get_by_role("button", name="Save", exact=True).click()
        seen(ada.get_by_text("It is on the Review page"))
        if WANTED:
            pictures_of_the_readme(browser, address)
        grace = visit(browser, f"{address}/review")
        view(grace, "A cup")
        grace.get_by_label("Add a note").fill("I see the saucer")
        grace.get_by_label("Your name").fill("Grace")
        grace.get_by_role("button", name="Add", exact=True).click()
        seen(noted(grace, "I see the saucer"))
        link = grace.url
        os.kill(process, signal.SIGKILL)
    with running(tmp_path / "second.log", data=tmp_path) as (address, _):
        grace.goto(re.sub(r"^http://[^/]*", address, link))
        seen(noted(grace, "I see the saucer"))
        arrays = arrays_of(download(grace, "Export"))
        assert {values.shape for values in arrays.values()} == {(7, 7), (16, 16)}


def test_a_zip_and_a_manifest_open_in_another_data_folder(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    page = visit(browser, f"{address}/?image=coffee&vit_map=rollout")
    menu(page)
    files = {
        "screen.json": download(page, "Reopen later"),
        "review.zip": download(page, "Everything"),
    }
    page.context.close()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with running(tmp_path / "there.log", data=tmp_path / "there") as (there, _):
        new = visit(browser, f"{there}/review")
        box = new.locator('[data-testid="stFileUploader"] input[type=file]')
        new.get_by_role("button", name="Open or import").click()
        box.set_input_files(tmp_path / "review.zip")
        seen(new.get_by_text("1 saved screen").first)
        new.goto(f"{there}/review")
        settle(new)
        new.get_by_role("button", name="Open or import").click()
        box.set_input_files(tmp_path / "screen.json")
        new.get_by_role("link", name="Open page").click()
        seen(new.get_by_text("bit for bit"))
        menu(new)
        again = archive.read_npz(download(new, "Numbers"))
    taken = arrays_of(files["review.zip"])
    assert taken.keys() == again.keys()
    assert all(np.array_equal(taken[name], again[name]) for name in again)


def test_a_report_needs_no_network(browser: Browser, address: str, tmp_path: Path) -> None:
    page = visit(browser, f"{address}/attention?tab=layer")
    menu(page)
    (tmp_path / "report.html").write_bytes(download(page, "Report to send"))
    figures = page.locator(".js-plotly-plot").count()
    page.context.close()
    report = patient(browser.new_context(offline=True)).new_page()
    complaints: list[str] = []
    report.on("pageerror", lambda error: complaints.append(str(error)))
    report.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    asked: set[str] = set()
    report.on("request", lambda request: asked.add(request.url.partition(":")[0]))
    report.goto((tmp_path / "report.html").as_uri())
    seen(report.locator(".js-plotly-plot .main-svg").first)
    assert report.locator(".js-plotly-plot").count() == figures
    drag = report.locator(".js-plotly-plot").nth(1).locator("rect.nsewdrag").first
    drag.hover()
    seen(report.locator(".hoverlayer .hovertext").first)
    assert asked <= {"file", "data", "blob"}
    assert not complaints


def test_the_log_quotes_nobody(browser: Browser, tmp_path: Path) -> None:
    """Names of files, titles, notes and addresses stay out of it, also where much fails."""
    marker = "Grandma"
    png = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(png, "PNG")
    with running(tmp_path / "server.log", data=tmp_path) as (address, _):
        page = visit(browser, f"{address}/?classes={marker}&image={marker}&{marker}={marker}")
        page.get_by_text("Your own picture").click()
        chosen = page.locator('input[type="file"]').first
        chosen.set_input_files({"name": f"{marker}.png", "mimeType": "image/png", "buffer": b"no"})
        seen(page.get_by_text("is not a picture this page can read").first)
        chosen.set_input_files(
            {"name": f"{marker}.png", "mimeType": "image/png", "buffer": png.getvalue()}
        )
        seen(page.get_by_text(f"Picture: {marker}.png"))
        settle(page)
        menu(page)
        page.get_by_label("Title").fill(marker)
        page.get_by_label("Your name").fill(marker)
        page.get_by_label("Note").fill(marker)
        page.get_by_role("button", name="Save", exact=True).click()
        seen(page.get_by_text("It is on the Review page"))
        grace = visit(browser, f"{address}/review?search={marker}")
        view(grace, marker)
        (tmp_path / "parallax" / "reviews.sqlite").write_bytes(b"no data base")
        grace.reload()
        settle(grace)
    log = (tmp_path / "server.log").read_text("utf-8")
    assert marker.lower() not in log.lower()
    assert "GET /" not in log, "requests carry addresses"
