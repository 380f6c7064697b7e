"""Several people at once, over the real protocol: everybody sees what they would see alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.support import crowd
from tests.support.hub import until
from tests.support.serving import serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, started as the README says."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(log, PARALLAX_PASSES="1") as url:
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


def test_other_numbers_would_be_seen() -> None:
    def seen(z: str) -> crowd.Seen:
        return crowd.Seen([f'{{"data": [{{"z": {z}, "name": "map"}}]}}'], [], [], 1.0)

    assert crowd.different(seen("[[1, 2.0000001]]"), seen("[[1, 2]]")) == []
    assert crowd.different(seen("[[1, 2.1]]"), seen("[[1, 2]]")) == ["figure 0.0.z"]
    assert crowd.different(seen("[[1, null]]"), seen("[[1, 2]]"))
    encoded = '{"bdata": "AAAAAAAA8D8=", "dtype": "f8"}'  # 1.0
    assert crowd.different(seen(encoded), seen("[1]")) == []
    assert crowd.different(seen(encoded), seen("[2]"))
