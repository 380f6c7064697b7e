"""Many people at once: does anybody wait for nothing, see anything else, or fill the memory.

The people come over the protocol that the browser speaks (`tests.support.crowd`); each measurement
has a server of its own.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from dashboard import settings
from tests.benchmarks.timing import Row
from tests.support import crowd
from tests.support.serving import running

PEOPLE, RERUNS = 30, 93
SOAK = int(os.environ.get("CROWD_SOAK", "120"))
"""Reruns of the soak; a fifth as many pictures are uploaded. 2,000 take an hour."""

LIGHT = crowd.Screen("compare", "image=coffee&vit_map=rollout&cnn_map=cam")
"""A screen that is made before anybody else comes."""

GIGA = 1e9


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """The application, once its first screen is ready."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
        with running(log, OMP_NUM_THREADS=threads) as (address, process):
            while crowd.health(address)["status"] != "ready":
                time.sleep(0.2)
            yield address, process


def peak(process: int) -> float:
    """The most that a process ever held, in GB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024 / GIGA


def held(process: int) -> float:
    """What a process holds, in GB."""
    return float(psutil.Process(process).memory_info().rss) / GIGA


def rows() -> list[Row]:
    """All figures of a crowd."""
    return [*at_once(), light(), soak(), uploads()]


def measured(
    work: Callable[[str], Awaitable[list[list[crowd.Seen]]]],
) -> tuple[list[list[crowd.Seen]], dict[str, float]]:
    """What was seen on a server of one's own, and what it took."""
    with server() as (address, process):
        before, started = sum(psutil.Process(process).cpu_times()[:2]), time.perf_counter()
        found = asyncio.run(_awaited(work(address)))
        taken = time.perf_counter() - started
        used = sum(psutil.Process(process).cpu_times()[:2]) - before
        return found, {"wall": taken, "processor": used, "peak": peak(process)}


async def _awaited(work: Awaitable[list[list[crowd.Seen]]]) -> list[list[crowd.Seen]]:
    return await work


def at_once() -> list[Row]:
    """The same screens one after another and all at once."""
    plan = crowd.plan(PEOPLE, RERUNS)
    alone, first = measured(lambda address: crowd.one_after_another(address, plan))
    crowded, second = measured(lambda address: crowd.together(address, plan))
    pairs = [
        pair
        for one, other in zip(alone, crowded, strict=True)
        for pair in zip(one, other, strict=True)
    ]
    wrong = sum(bool(crowd.different(*pair) or pair[1].errors) for pair in pairs)
    times = [other.seconds for _, other in pairs]
    people = f"{PEOPLE} sessions, {RERUNS} reruns"
    return [
        Row(
            f"{people}: time together",
            "one after another",
            second["wall"] / first["wall"],
            reach=1.05,
            details={
                "together s": round(second["wall"], 1),
                "one after another s": round(first["wall"], 1),
                "together, processor s": round(second["processor"], 1),
                "one after another, processor s": round(first["processor"], 1),
                "median rerun s": round(crowd.percentile(times, 0.5), 1),
                "95th percentile s": round(crowd.percentile(times, 0.95), 1),
            },
            reason="runs of pages hinder each other in Python's interpreter",
        ),
        Row(f"{people}: reruns with other figures than alone", "absolute", wrong, "", reach=0),
        Row(
            f"{people}: peak of the resident memory",
            "absolute",
            second["peak"],
            "GB",
            reach=1.8,
            details={"one after another GB": round(first["peak"], 2)},
            reason="each session that computes holds what it computes with",
        ),
    ]


async def _light(address: str) -> list[float]:
    """Seconds of reruns that compute nothing new, as long as the others compute."""
    async with crowd.visitor(address) as somebody:
        for _ in range(2):
            await somebody.look(LIGHT)
        others = asyncio.ensure_future(
            crowd.together(address, crowd.plan(PEOPLE - 1, RERUNS - PEOPLE))
        )
        times = []
        while not others.done():
            times.append((await somebody.look(LIGHT)).seconds)
            await asyncio.sleep(0.5)
        await others
        return times


def light() -> Row:
    """A rerun that computes nothing new while everybody else computes."""
    with server() as (address, _):
        times = asyncio.run(_light(address))
    return Row(
        f"a rerun that computes nothing new, while {PEOPLE - 1} others compute: 95th percentile",
        "absolute",
        crowd.percentile(times, 0.95),
        "s",
        reach=1.0,
        details={"median s": round(crowd.percentile(times, 0.5), 2)},
        repeats=len(times),
        reason="it passes the gate at once, but shares Python's interpreter with the others",
    )


def photograph(number: int, side: int = 1600) -> bytes:
    """A picture of about a megabyte that nobody has sent before."""
    small = np.random.default_rng(number).integers(0, 256, (side // 4, side // 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def _send(address: str, first: int, count: int) -> None:
    """One session that uploads pictures on the page Compare."""
    async with crowd.visitor(address) as somebody:
        await somebody.look(LIGHT)
        for number in range(first, first + count):
            seen = await somebody.upload("screen-upload", f"{number}.jpg", photograph(number))
            assert not seen.errors, seen.errors


def soak() -> Row:
    """Memory in the second half of many reruns and uploads against that in the first."""
    with server() as (address, process):

        async def work() -> tuple[float, float]:
            stream, most = crowd.screens(), [0.0, 0.0]
            for part in range(2):
                for number in range(max(1, SOAK // 20)):
                    plan = [[next(stream)] for _ in range(8)]
                    sending = _send(address, (part * SOAK + number) * 2, 2)
                    await asyncio.gather(crowd.together(address, plan), sending)
                    most[part] = max(most[part], held(process))
            return most[0], most[1]

        first, second = asyncio.run(work())
        highest = peak(process)
    return Row(
        f"soak, {SOAK} reruns and {SOAK // 5} uploads: peak of the resident memory",
        "absolute",
        highest,
        "GB",
        reach=1.8,
        details={"first half GB": round(first, 2), "second half GB": round(second, 2)},
        reason="what is computed with at the same time comes on top of what is held",
    )


def uploads() -> Row:
    """Rise of the memory by uploads of many sessions, which end afterwards."""
    sessions, each = 40, 5
    with server() as (address, process):

        async def work() -> tuple[float, float]:
            await _send(address, 10_000, 3)
            rest = held(process)
            for start in range(0, sessions, 4):
                await asyncio.gather(
                    *(_send(address, (start + place) * each, each) for place in range(4))
                )
            return rest, held(process)

        rest, after = asyncio.run(work())
    return Row(
        f"{sessions} sessions of {each} uploads: what they leave behind",
        "absolute",
        1000 * (after - rest),
        "MB",
        reach=settings.current().budget,
        details={"before GB": round(rest, 2), "after GB": round(after, 2)},
        note="the budget bounds what is held: 320 MB by default",
        reason="Streamlit keeps a session for two minutes in case it comes back",
    )
