"""Temporary files go with their process, in whatever way it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dashboard import scratch
from tests.support import crowd
from tests.support.hub import until
from tests.support.serving import running

ROOT = Path(__file__).resolve().parents[2]
HOLDING = """
import sys
from dashboard import scratch
with scratch.own() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""

posix = pytest.mark.skipif(os.name != "posix", reason="sends signals")


async def visit(address: str, place: Path, then: Callable[[], None]) -> None:
    """Begin a sweep, and stay until it has written its pictures and something was done."""
    async with crowd.visitor(address) as somebody:
        seen = await somebody.look(crowd.Screen("data_set", "sweep=samples"))
        assert seen.errors == []
        async with asyncio.timeout(60):
            while not files(place):
                await asyncio.sleep(0.1)
        then()


def files(folder: Path) -> list[Path]:
    """Pictures that lie below a folder for temporary files."""
    return list(folder.rglob("pictures.parquet"))


@pytest.mark.slow
@posix
def test_what_visitors_brought_goes_with_the_server(tmp_path: Path) -> None:
    """At the latest with the start of the next, if it was killed."""
    place = tmp_path / "temporary"
    place.mkdir()
    for name in ("SIGINT", "SIGKILL", "SIGTERM"):
        with running(tmp_path / f"{name}.log", TMPDIR=str(place)) as (address, process):
            # The folder of the one that was killed goes after all that lies in it.
            until(lambda: [one.name.split("-")[1] for one in place.iterdir()] == [str(process)], 60)
            assert files(place) == []
            asyncio.run(visit(address, place, partial(os.kill, process, getattr(signal, name))))
            if name != "SIGKILL":
                until(lambda: not list(place.iterdir()), 60)
        left = 1 if name == "SIGKILL" else 0
        assert (len(list(place.iterdir())), len(files(place))) == (left, left), name


@pytest.fixture
def held(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that holds a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@posix
def test_only_folders_of_processes_that_are_gone_are_removed(
    held: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert held.stdout is not None
    folder = Path(held.stdout.readline().strip())
    assert folder.parent == tmp_path
    others = [tmp_path / name for name in ("parallax-notes", "parallax-12x-a", "something")]
    for other in others:
        other.mkdir()
    (tmp_path / "parallax-1-link").symlink_to(others[0], target_is_directory=True)
    try:
        assert scratch.remove_left(tmp_path) == []
        reused = folder.rename(folder.with_name(f"parallax-{os.getpid()}-abc"))
        assert scratch.remove_left(tmp_path) == [], "it is locked, whatever number it has"
    finally:
        held.kill()
        held.communicate()
    assert scratch.remove_left(tmp_path) == [reused], "a process of this number lives, but another"
    assert all(other.is_dir() for other in others)


@posix
def test_a_folder_that_is_being_made_stays(tmp_path: Path) -> None:
    mine, gone = tmp_path / f"parallax-{os.getpid()}-new", tmp_path / "parallax-4194999-old"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = tmp_path / f"parallax-{ended.pid}-old"
    mine.mkdir()
    gone.mkdir()
    assert scratch.remove_left(tmp_path) == [gone]
    assert mine.is_dir()


def test_all_temporary_files_lie_in_the_folder() -> None:
    before = tempfile.gettempdir()
    with scratch.own() as folder, tempfile.NamedTemporaryFile(delete=False) as made:
        assert Path(made.name).parent == folder
    assert not folder.exists()
    assert tempfile.gettempdir() == before
