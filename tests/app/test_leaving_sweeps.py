"""A reader who closes the page ends the sweep that was made for it, over the real protocol."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.recording.batches import ON_CPU
from dashboard.sweeping import GRACE, count_samples
from tests.support import crowd
from tests.support.hub import until
from tests.support.serving import serve

pytestmark = pytest.mark.slow

PORTION = 3
"""Places for computing that a portion of pictures takes of the transformer, one after the other:
for the pass, for the attention and for the gradients that its map asks for. Of the convolutional
network it takes one. A sweep looks whether it is wanted after each portion; the one that is under
way is brought to its end."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The application, started as the README says."""
    with serve(tmp_path / "server.log", PARALLAX_PASSES="1") as url:
        until(lambda: crowd.health(url)["status"] == "ready", 240)
        yield url


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
