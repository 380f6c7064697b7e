"""A reader who closes the page ends the sweep that was made for it, over the real protocol."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.recording.batches import ON_CPU
from dashboard.sweeping import count_samples
from tests.support import crowd
from tests.support.hub import until
from tests.support.serving import serve

WITHIN = 2.0
"""Seconds that a sweep may go on after its reader has left."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The application, started as the README says."""
    with serve(tmp_path / "server.log", PARALLAX_PASSES="1") as url:
        until(lambda: crowd.health(url)["status"] == "ready", 240)
        yield url


async def _look(address: str, count: int, seconds: float) -> None:
    """So many readers open the page of the sweep of the samples, wait until it runs, and leave."""
    before = crowd.health(address)["served"]
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(crowd.visitor(address)) for _ in range(count)]
        for somebody in people:
            await somebody.ask(crowd.Screen("data_set", "sweep=samples"))
        following = [asyncio.ensure_future(somebody.end()) for somebody in people]
        deadline = time.monotonic() + 240
        while (await asyncio.to_thread(crowd.health, address))["served"] < before + 2:
            assert time.monotonic() < deadline, "no sweep began"
            await asyncio.sleep(0.05)
        await asyncio.sleep(seconds)
        for one in following:
            one.cancel()


def test_a_sweep_ends_with_its_readers_and_goes_on_for_the_next(address: str) -> None:
    begun = crowd.health(address)["served"]
    for _ in range(2):
        asyncio.run(_look(address, 2, 0.5))
        left = crowd.health(address)["served"]
        time.sleep(WITHIN)
        until(lambda: crowd.health(address)["computing"] == 0, 60)
        time.sleep(6)  # enough for many passes
        ended = crowd.health(address)["served"]
        assert ended - left <= 2, "it went on without a reader"
    assert ended - begun < 2 * count_samples() / ON_CPU, "it ended because all was done"
