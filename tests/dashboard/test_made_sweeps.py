"""Who a sweep is made for, how many at a time, and what happens when it is stopped and begun."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import core
from core import sweep
from dashboard import sweeping
from dashboard.sweeping import MOST_RUNS, Made, Run

PAIR: Any = (None, None)
PICTURES = 40


def plan(pictures: str) -> sweep.Plan:
    return sweep.Plan(pictures, maps=("cam",))


class Hall:
    """Who is there."""

    def __init__(self) -> None:
        self.there = {"Ada", "Grace"}

    def present(self, reader: str) -> bool:
        return reader in self.there


class Sweeps:
    """Stands in for `core.sweep.run`: a picture takes a moment, and one folder has one writer."""

    def __init__(self) -> None:
        self.pace = 0.02
        self.writing: set[Path] = set()
        self.looked_at: list[tuple[Path, int]] = []
        self.at_once = self.most = 0
        self.clash = ""

    def run(self, plan: Any, folder: Path, *, on_progress: Any, **options: Any) -> None:
        if folder in self.writing:
            self.clash = f"two write to {folder.name}"
        self.writing.add(folder)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            done = sum(where == folder for where, _ in self.looked_at)
            while on_progress(done, PICTURES) is not False and done < PICTURES:
                assert Path(plan.pictures).exists(), "its pictures were taken away"
                time.sleep(self.pace)
                self.looked_at.append((folder, done))
                done += 1
        finally:
            self.at_once -= 1
            self.writing.discard(folder)


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    found = Sweeps()
    monkeypatch.setattr(core.sweep, "run", found.run)
    monkeypatch.setattr(sweeping, "GRACE", 0.3)
    return found


@pytest.fixture
def hall() -> Hall:
    return Hall()


@pytest.fixture
def made(sweeps: Sweeps, hall: Hall) -> Iterator[Made]:
    found = Made(hall.present)
    yield found
    hall.there.clear()
    for run in list(found._runs.values()):
        run.stop()
        assert run.wait(20)


def begin(made: Made, number: int = 0, reader: str | None = "Ada") -> Run:
    return made.begin(f"{number}", [(f"{number}.png", b"%d" % number)], plan, PAIR, reader)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_it_ends_within_two_seconds_when_its_reader_leaves(made: Made, hall: Hall) -> None:
    run = begin(made)
    until(lambda: run.done > 1)
    hall.there.discard("Ada")
    assert run.wait(2)
    assert 0 < run.done < PICTURES
    assert run.problem == ""
    assert not run.finished


def test_one_that_waits_for_its_turn_ends_as_well(made: Made, hall: Hall, sweeps: Sweeps) -> None:
    sweeps.pace = 0.5
    first, second = begin(made, 0, "Grace"), begin(made, 1, "Ada")
    until(lambda: first.done > 0)
    hall.there.discard("Ada")
    assert second.wait(2)
    assert second.done == 0
    assert not first.stopped


def test_it_goes_on_for_another_reader_and_for_one_who_asked(
    made: Made, hall: Hall, sweeps: Sweeps
) -> None:
    run = begin(made)
    assert made.get(run.name, "Grace") is run
    hall.there.discard("Ada")
    time.sleep(0.6)
    assert not run.stopped
    run.readers.keep("Grace", True)
    hall.there.clear()
    sweeps.pace = 0
    assert run.wait(20)
    assert run.finished


def test_a_reader_who_reloads_keeps_it(
    made: Made, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "GRACE", 5.0)
    run = begin(made)
    until(lambda: run.done > 1)
    hall.there.discard("Ada")
    time.sleep(0.1)
    hall.there.add("Ada, reloaded")
    assert made.get(run.name, "Ada, reloaded") is run
    monkeypatch.setattr(sweeping, "GRACE", 0.0)
    time.sleep(0.1)
    assert not run.stopped


def test_stop_is_for_the_reader_who_pressed_it(made: Made, sweeps: Sweeps) -> None:
    sweeps.pace = 0.2
    run = made.samples(PAIR, "Ada")
    assert made.samples(PAIR, "Grace") is run
    until(lambda: run.done > 0, 60)
    run.readers.stop("Ada")
    assert made.samples(PAIR, "Ada") is run, "it is not begun anew for Ada"
    assert not run.readers.looks("Ada")
    time.sleep(0.2)
    assert not run.stopped, "Grace still looks at it"
    run.readers.stop("Grace")
    assert run.wait(2)
    assert not run.finished


def test_the_samples_are_swept_once_for_all_and_again_for_the_next(
    made: Made, sweeps: Sweeps
) -> None:
    runs: list[Run] = []
    threads = [
        threading.Thread(target=lambda who=who: runs.append(made.samples(PAIR, who)))
        for who in ("Ada", "Grace", "Ada", "Grace")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, runs))) == 1
    until(lambda: runs[0].done > 0)
    for who in ("Ada", "Grace"):
        runs[0].readers.stop(who)
    again = made.samples(PAIR, "Mary")
    assert again is not runs[0] or not runs[0].stopped
    sweeps.pace = 0
    made._present = lambda reader: True
    until(lambda: made.samples(PAIR, "Edith").finished)


def test_leaving_ends_the_sweep_of_the_samples(made: Made, hall: Hall) -> None:
    run = made.samples(PAIR, "Ada")
    until(lambda: run.done > 0)
    hall.there.discard("Ada")
    assert run.wait(2)
    assert not run.finished


def test_begun_again_while_the_old_run_still_writes(made: Made, sweeps: Sweeps) -> None:
    """Stop and begin in one breath, many times, without waiting for the run before."""
    sweeps.pace = 0.05
    run = begin(made)
    for _ in range(6):
        until(lambda run=run: bool(sweeps.writing))
        run.readers.stop("Ada")
        assert run.stopped
        assert not run.ended, "the old run must still write when the new one is begun"
        following = begin(made)
        assert following is not run
        assert following.problem == ""
        run = following
    sweeps.pace = 0
    assert run.wait(20)
    assert run.finished, run.problem
    assert sweeps.clash == ""
    places = [place for _, place in sweeps.looked_at]
    assert places == list(range(PICTURES)), "nothing is made twice or left out"


def test_going_on_after_a_stop(made: Made, sweeps: Sweeps) -> None:
    run = begin(made)
    until(lambda: run.done > 0)
    run.readers.stop("Ada")
    assert run.wait(2)
    assert made.get(run.name, "Ada") is run, "looking at it does not begin it"
    following = made.go_on(run.name, PAIR, "Ada")
    assert following is not run
    sweeps.pace = 0
    assert following.wait(20)
    assert following.finished
    with pytest.raises(core.SweepError, match="no longer held"):
        made.go_on("own-nothing", PAIR, "Ada")


def test_a_stop_that_is_taken_back_at_once_stops_nothing(made: Made) -> None:
    run = begin(made)
    made.get(run.name, "Grace")
    run.readers.stop("Ada")
    assert made.go_on(run.name, PAIR, "Ada") is run
    assert run.readers.looks("Ada")


def test_only_so_many_run_or_wait(made: Made, hall: Hall, sweeps: Sweeps) -> None:
    runs = [begin(made, number) for number in range(MOST_RUNS)]
    with pytest.raises(core.SweepError, match=f"{MOST_RUNS} sweeps"):
        begin(made, 99)
    assert begin(made, 1) is runs[1], "the same again is no other one"
    runs[2].readers.stop("Ada")
    assert not begin(made, 99).stopped
    sweeps.pace = 0
    until(lambda: all(run.ended for run in runs))
    assert sweeps.most == 1


def test_bytes_have_a_bound_for_each_and_for_all(
    made: Made, sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "MOST_BYTES", 1000)
    monkeypatch.setattr(sweeping, "ALL_BYTES", 2500)

    def large(number: int) -> Run:
        return made.begin(f"{number}", [(f"{number}.png", bytes(900))], plan, PAIR, "Ada")

    with pytest.raises(core.SweepError, match="at most"):
        made.begin("x", [("a.png", bytes(600)), ("b.png", bytes(600))], plan, PAIR, "Ada")
    first, _ = large(1), large(2)
    with pytest.raises(core.SweepError, match="try again"):
        large(3)
    first.readers.stop("Ada")
    assert first.wait(5)
    assert not large(3).ended
    assert made.get(first.name) is None, "the ended one made room"
    assert not first.folder.parent.exists()


def test_a_full_disk_is_a_sentence_and_costs_nothing(
    made: Made, sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(core.SweepError, match="No space left"):
            begin(made)
    assert not any(made._folder.iterdir())
    assert not begin(made).ended


def test_what_fails_says_so_and_is_not_begun_again_by_looking(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise core.SweepError("The sweep cannot be written (No space left on device).")

    monkeypatch.setattr(core.sweep, "run", refuse)
    run = made.samples(PAIR, "Ada")
    assert run.wait(20)
    assert "No space" in run.problem
    assert made.samples(PAIR, "Ada") is run
    assert made.samples(PAIR, "Grace") is run
    assert made.go_on(run.name, PAIR, "Grace") is not run


def test_what_visitors_bring_is_strange_and_the_samples_are_not(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, bool] = {}

    def note(plan: Any, folder: Path, *, strange: bool, **options: Any) -> None:
        told[folder.parent.name.partition("-")[0]] = strange

    monkeypatch.setattr(core.sweep, "run", note)
    assert made.samples(PAIR, None).wait(20)
    assert begin(made, 0, None).wait(20)
    assert told == {"samples": False, "own": True}
