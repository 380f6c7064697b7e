"""What any browser may send: whatever one visitor says, the others keep what they have."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from PIL import Image
from streamlit.proto.BackMsg_pb2 import BackMsg

import core
from dashboard import application, cache, messages
from dashboard.messages import Verdict
from tests.support import crowd
from tests.support.application import figures, healthy, start
from tests.support.crowd import Screen, Seen, Visitor
from tests.support.hub import until

LOOKED_AT = Screen("compare", "image=camera")


@pytest.fixture(scope="module")
def address(address: str) -> str:
    """The server of all tests, once it counts its passes."""
    until(lambda: crowd.health(address)["status"] == "ready", 240)
    return address


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((300, 260), 80).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


async def swept(somebody: Visitor) -> tuple[Screen, Seen]:
    """Sweep a picture, and look until it is finished; what the page then shows."""
    await somebody.look(Screen("data_set", ""))
    await somebody.upload("sweep-upload-0", "noise.png", png())
    await somebody.press("Sweep 1 picture")
    page = Screen("data_set", somebody.query)
    while True:
        seen = await somebody.look(page)
        assert seen.errors == []
        kinds = [(e.WhichOneof("type"), e) for e in somebody.elements.values()]
        goes_on = any(kind == "button" and e.button.id.endswith("-stop-sweep") for kind, e in kinds)
        if seen.figures and not goes_on:
            return page, seen
        await asyncio.sleep(0.5)


async def _emptied(address: str) -> None:
    async with crowd.visitor(address) as somebody, crowd.visitor(address) as other:
        await somebody.look(LOOKED_AT)
        await somebody.upload("screen-upload", "noise.png", png())
        own = Screen("compare", somebody.query)
        assert "image=own-" in own.query
        before = await somebody.look(own)
        page, finished = await swept(somebody)
        assert "sweep=" in page.query
        served = crowd.health(address)["served"]
        await other.look(LOOKED_AT)
        clear = BackMsg()
        clear.clear_cache = True
        for _ in range(3):
            await other.tell(clear)
            # The same visitor's next run comes after the message, and so does everybody's.
            assert (await other.look(LOOKED_AT)).errors == []
        async with crowd.visitor(address) as third:
            after = await third.look(own)
            assert (after.errors, after.notes) == (before.errors, before.notes)
            assert crowd.different(before, after) == []
            data_set = await third.look(page)
            assert (data_set.errors, data_set.notes) == (finished.errors, finished.notes)
            assert crowd.different(finished, data_set) == [], "it is there and not begun anew"
        assert crowd.health(address)["served"] == served, "no pass was made again"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_message_that_empties_streamlits_caches_costs_nobody_anything(address: str) -> None:
    asyncio.run(_emptied(address))


def test_no_model_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = figures(healthy(start(image="camera")))
    uploads, sweeps = cache.own_pictures(), cache.made_sweeps()
    opened: list[str] = []
    monkeypatch.setattr(core, "open_model", opened.append)
    monkeypatch.setattr(core, "record", opened.append)
    st.cache_data.clear()
    st.cache_resource.clear()
    assert figures(healthy(start(image="camera"))) == before
    assert opened == []
    assert (cache.own_pictures(), cache.made_sweeps()) == (uploads, sweeps)
    assert cache.shared() is application.current()


def git_info(message: BackMsg) -> None:
    message.load_git_info = True


def run_on_save(message: BackMsg) -> None:
    message.set_run_on_save = True


def stop(message: BackMsg) -> None:
    message.stop_script = True


def heartbeat(message: BackMsg) -> None:
    message.app_heartbeat = True


def disconnect(message: BackMsg) -> None:
    message.debug_disconnect_websocket = True


def shut_down(message: BackMsg) -> None:
    message.debug_shutdown_runtime = True


def nothing(message: BackMsg) -> None:
    message.Clear()


def odd_page(message: BackMsg) -> None:
    message.rerun_script.page_script_hash = "no such page"
    message.rerun_script.page_name = "../../etc/passwd"


def odd_fragment(message: BackMsg) -> None:
    message.rerun_script.fragment_id = "no such fragment"


def odd_context(message: BackMsg) -> None:
    context = message.rerun_script.context_info
    context.timezone, context.locale, context.url = "\0/../..", "\u202e" * 10_000, "http://["


def many_widgets(message: BackMsg) -> None:
    for number in range(20_000):
        message.rerun_script.widget_states.widgets.add(id=f"x{number}", string_value="y")


def many_hashes(message: BackMsg) -> None:
    message.rerun_script.cached_message_hashes.extend(f"{n:05x}" for n in range(300_000))


def long_query(message: BackMsg) -> None:
    message.rerun_script.query_string = "a=b&" * 500_000


def deferred(message: BackMsg) -> None:
    message.backend_operation_request.deferred_file.file_id = "no such file"


def frame_rows(message: BackMsg) -> None:
    message.backend_operation_request.dataframe_chunk.source_id = "no such table"
    message.backend_operation_request.dataframe_chunk.limit = 2**31 - 1


def skills(message: BackMsg) -> None:
    message.backend_operation_request.install_skills.SetInParent()


def many_files(message: BackMsg) -> None:
    message.file_urls_request.file_names.extend([""] * 2_000_000)


def large(message: BackMsg) -> None:
    message.rerun_script.query_string = "x" * (messages.MOST_BYTES + 1)


async def _said(address: str, say: Callable[[BackMsg], None], closes: bool) -> None:
    message = BackMsg()
    say(message)
    async with crowd.visitor(address) as somebody, crowd.visitor(address) as other:
        before = await somebody.look(LOOKED_AT)
        await other.look(LOOKED_AT)
        await other.look(Screen("compare", ""))  # what a message without an address opens
        served = crowd.health(address)["served"]
        if message.WhichOneof("type") == "backend_operation_request":
            message.backend_operation_request.session_id = other.session
        await other.tell(message)
        if closes:
            await asyncio.wait_for(other.socket.wait_closed(), 60)
            assert other.socket.close_code == messages.TOO_BIG
        else:
            assert (await other.look(LOOKED_AT)).errors == []
        after = await somebody.look(LOOKED_AT)
        assert (after.errors, after.notes) == (before.errors, before.notes)
        assert crowd.different(before, after) == []
        assert crowd.health(address)["served"] == served


@pytest.mark.slow
@pytest.mark.parametrize(
    "say",
    [
        git_info, run_on_save, stop, heartbeat, disconnect, shut_down, nothing, odd_page,
        odd_fragment, odd_context, many_widgets, many_hashes, long_query, frame_rows, skills,
    ],
)  # fmt: skip
def test_others_see_what_they_saw_before(
    say: Callable[[BackMsg], None], address: str, asked_git: Path
) -> None:
    asyncio.run(_said(address, say, closes=False))
    assert not asked_git.exists(), "git runs in the thread that serves everybody"


@pytest.mark.slow
@pytest.mark.parametrize("say", [many_files, large])
def test_who_says_too_much_is_shut_out_at_once(
    say: Callable[[BackMsg], None], address: str
) -> None:
    asyncio.run(_said(address, say, closes=True))


def test_messages_are_judged_by_what_they_are() -> None:
    wanted = {git_info: Verdict.IGNORED, many_files: Verdict.CLOSED, large: Verdict.CLOSED}
    for say in (*wanted, stop, many_widgets, deferred, skills):
        message = BackMsg()
        say(message)
        assert messages.judged(message.SerializeToString()) is wanted.get(say, Verdict.PASSED)
    usual = BackMsg()
    usual.file_urls_request.file_names.extend(["a picture.png"] * messages.MOST_FILES)
    assert messages.judged(usual.SerializeToString()) is Verdict.PASSED
    assert messages.judged(b"\xff\xff no message") is Verdict.PASSED


# -- one object --------------------------------------------------------------------------------


def test_many_who_ask_at_once_are_given_one_application() -> None:
    application.end()
    found: list[application.Application] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        found.append(application.current())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    application.end()
    assert application.current() is not found[0]
    assert cache.shared() is application.current(), "Streamlit's cache holds on to nothing"
