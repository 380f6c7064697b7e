"""Several people at once, over the real protocol: everybody sees what they would see alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import Iterator

import pytest

from core.recording.batches import ON_CPU
from dashboard.sweeping import GRACE, count_samples
from tests.support import crowd
from tests.support.hub import until
from tests.support.serving import serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, started as the README says."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(log, PARALLAX_PASSES="1", PARALLAX_ASK_FROM="86400") as url:
        until(lambda: crowd.health(url)["status"] == "ready", 240)
        yield url


def test_figures_of_a_crowd_are_those_of_one_alone(address: str) -> None:
    plan = crowd.plan(3, 6)
    crowded = asyncio.run(crowd.together(address, plan))
    # What is held now was made by many at once; what is made alone has to be made anew.
    assert [e for seen in crowded for one in seen for e in one.errors] == []
    drawn = [one for seen in crowded for one in seen if one.figures]
    assert len(drawn) == 5
    assert all(any(crowd.arrays(spec) for spec in one.figures) for one in drawn)
    alone = asyncio.run(crowd.one_after_another(address, plan))
    for together, apart in zip(crowded, alone, strict=True):
        for one, other in zip(together, apart, strict=True):
            assert crowd.different(one, other) == []


async def _leave(address: str, count: int) -> tuple[float, int]:
    """Ask for long work, wait until a place in the line is told, leave, wait until all has ended.

    Returns the seconds until then, and how often a place was taken after they left.
    """
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(crowd.visitor(address)) for _ in range(count)]
        for number, somebody in enumerate(people):
            await somebody.ask(crowd.Screen("compare", f"vit_map=rise&vit_map.seed={number}"))
        following = [asyncio.ensure_future(somebody.end()) for somebody in people]
        deadline = time.monotonic() + 240
        while not any("ahead of yours" in text for one in people for text in one.told):
            assert time.monotonic() < deadline, "nobody was told a place"
            await asyncio.sleep(0.1)
        for one in following:
            one.cancel()
    left, served = time.monotonic(), crowd.health(address)["served"]
    calm = 0
    while calm < 3:
        busy = await asyncio.to_thread(crowd.health, address)
        calm = calm + 1 if busy["computing"] == busy["waiting"] == 0 else 0
        assert time.monotonic() < left + 240, busy
        await asyncio.sleep(0.1)
    return time.monotonic() - left, crowd.health(address)["served"] - served


def test_what_readers_left_behind_ends_and_who_waits_is_told_the_place(address: str) -> None:
    served = crowd.health(address)["served"]
    taken, begun = asyncio.run(_leave(address, 6))
    assert taken < 5, "the step that is under way, on a slow machine"
    assert begun <= 2, "who has left begins no other step"
    ended = crowd.health(address)
    assert ended["left"] > 0
    assert ended["served"] - served < 6 * 500 // 16, "the work was not done to its end"


# -- a reader who closes the page ends the sweep that was made for it -----------------------------

PORTION = 3
"""Places for computing that a portion of pictures takes of the transformer, one after the other:
for the pass, for the attention and for the gradients that its map asks for. Of the convolutional
network it takes one. A sweep looks whether it is wanted after each portion; the one that is under
way is brought to its end."""


async def _look(address: str, count: int) -> float:
    """So many readers open the page of the sweep of the samples, watch it for a while, and leave.

    Returns the seconds that it took to look at a portion of pictures with both networks.
    """
    before = crowd.health(address)["served"]
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(crowd.visitor(address)) for _ in range(count)]
        for somebody in people:
            await somebody.ask(crowd.Screen("data_set", "sweep=samples"))
        following = [asyncio.ensure_future(somebody.end()) for somebody in people]
        began = await _served(address, before + 1)
        seconds = await _served(address, before + 2 + PORTION) - began
        for one in following:
            one.cancel()
    return seconds


async def _served(address: str, count: int) -> float:
    """Wait until a place was taken so often; the time of it."""
    deadline = time.monotonic() + 240
    while (await asyncio.to_thread(crowd.health, address))["served"] < count:
        assert time.monotonic() < deadline, "the sweep does not get on"
        await asyncio.sleep(0.05)
    return time.monotonic()


def _readers(address: str) -> int:
    """How many browsers the server knows of."""
    asked = f"{address}/_stcore/metrics?families=active_sessions"
    with urllib.request.urlopen(asked, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    [count] = [line.split()[1] for line in lines if line.startswith("active_sessions ")]
    return int(count)


@pytest.mark.timeout(600)
def test_a_sweep_ends_with_its_readers_and_goes_on_for_the_next(address: str) -> None:
    begun = crowd.health(address)["served"]
    for _ in range(2):
        seconds = asyncio.run(_look(address, 2))
        until(lambda: _readers(address) == 0, 60)
        time.sleep(GRACE)
        # From here on nobody looks at it, and nobody did for as long as a sweep waits for a reader.
        over = crowd.health(address)["served"]
        time.sleep(max(3, 1.5 * seconds))  # a sweep that goes on takes more
        until(lambda: crowd.health(address)["computing"] == 0, 60)
        ended = crowd.health(address)["served"]
        assert ended - over <= PORTION, "it went on without a reader"
        time.sleep(max(1, seconds / 2))
        assert crowd.health(address)["served"] == ended, "it went on without a reader"
    all_of_it = (1 + PORTION) * count_samples() / ON_CPU
    assert ended - begun < all_of_it, "it ended because all was done"


def test_other_numbers_would_be_seen() -> None:
    def seen(z: str) -> crowd.Seen:
        return crowd.Seen([f'{{"data": [{{"z": {z}, "name": "map"}}]}}'], [], [], 1.0)

    assert crowd.different(seen("[[1, 2.0000001]]"), seen("[[1, 2]]")) == []
    assert crowd.different(seen("[[1, 2.1]]"), seen("[[1, 2]]")) == ["figure 0.0.z"]
    assert crowd.different(seen("[[1, null]]"), seen("[[1, 2]]"))
    encoded = '{"bdata": "AAAAAAAA8D8=", "dtype": "f8"}'  # 1.0
    assert crowd.different(seen(encoded), seen("[1]")) == []
    assert crowd.different(seen(encoded), seen("[2]"))
