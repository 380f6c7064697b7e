"""The gate: who asks first is let in first, long work takes turns, and waiting can be given up."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

import core
from core import capacity, progress
from core.errors import BusyError
from core.recording.transformer import TransformerRecording
from tests.support.builders import GIVEN, as_model, picture, shake, timm_vit


@pytest.fixture(autouse=True)
def one_place() -> Iterator[None]:
    """One place, and counters that begin at nothing."""
    core.configure(passes=1, patience=20)
    yield
    core.configure(capacity.PASSES, capacity.PATIENCE, capacity.MEMORY)
    assert core.load()["computing"] == core.load()["waiting"] == 0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


def waiting(count: int) -> None:
    until(lambda: core.load()["waiting"] == count)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_first_come_first_served() -> None:
    order: list[int] = []

    def ask(number: int) -> None:
        with core.admitted():
            order.append(number)

    with core.admitted():
        threads = []
        for number in range(8):
            threads.append(in_thread(lambda number=number: ask(number)))  # type: ignore[misc]
            waiting(number + 1)
    for thread in threads:
        thread.join()
    assert order == list(range(8))
    assert core.load() == {"computing": 0, "waiting": 0, "places": 1, "served": 9, "left": 0}


def test_who_waits_is_told_the_place_and_moves_up() -> None:
    told: list[int | None] = []

    def ask() -> None:
        with core.watching(None, told.append), core.admitted():
            pass

    release, first = threading.Event(), threading.Event()

    def hold() -> None:
        with core.admitted():
            first.set()
            release.wait(60)

    with core.admitted():
        before = in_thread(hold)
        waiting(1)
        asked = in_thread(ask)
        until(lambda: bool(told))
        assert set(told) == {2}, "one computes, one is before it in the line"
    first.wait(60)
    until(lambda: told[-1] == 1)
    release.set()
    before.join()
    asked.join()
    assert told[-1] == 0, "its turn has come"


def test_who_has_left_does_not_begin_when_the_turn_comes() -> None:
    ended: list[str] = []

    def ask() -> None:
        try:
            with core.watching(None, lambda before: before != 0), core.admitted():
                ended.append("began")
        except core.Stopped:
            ended.append("left")

    with core.admitted():
        thread = in_thread(ask)
        waiting(1)
    thread.join()
    assert ended == ["left"]
    assert core.load() == {"computing": 0, "waiting": 0, "places": 1, "served": 1, "left": 1}


@pytest.mark.parametrize("how", ["an exception", "false", "a signal of no exception's kind"])
def test_who_leaves_the_line_is_gone_at_once(how: str) -> None:
    class Leave(BaseException):
        """Like what ends a run of a page."""

    ended: list[str] = []
    leave = threading.Event()

    def on_wait(before: int | None) -> bool | None:
        if not leave.is_set():
            return None
        if how == "false":
            return False
        raise RuntimeError if how == "an exception" else Leave

    def ask() -> None:
        try:
            with core.watching(None, on_wait), core.admitted():
                ended.append("let in")
        except (core.Stopped, RuntimeError, Leave) as error:
            ended.append(type(error).__name__)

    with core.admitted():
        thread = in_thread(ask)
        waiting(1)
        leave.set()
        started = time.monotonic()
        thread.join()
        assert time.monotonic() - started < 2
        assert core.load()["waiting"] == 0
        assert core.load()["left"] == 1
    assert len(ended) == 1
    assert ended != ["let in"]
    with core.admitted(patience=0):
        pass


def test_impatience_is_counted_and_takes_no_place() -> None:
    def ask() -> None:
        with pytest.raises(BusyError, match="in use for 0 s"), core.admitted(patience=0):
            pass

    with core.admitted():
        contextvars.Context().run(ask)
    assert core.load() == {"computing": 0, "waiting": 0, "places": 1, "served": 1, "left": 1}


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("rise", {"count": 16}),
        ("occlusion", {}),
        ("integrated_gradients", {"steps": 16}),
        ("smooth_grad", {"count": 16}),
    ],
)
def test_a_short_request_is_not_behind_the_whole_of_a_long_one(
    method: str, given: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that comes in the middle has its turn after one more pass."""
    from core.recording import batches

    monkeypatch.setattr(batches, "ON_CPU", 1)
    model = as_model(shake(timm_vit()))
    recording = core.record(model, picture(4, 4), GIVEN)
    done: list[int] = []
    passed: list[int] = []

    def ask() -> None:
        with core.admitted():
            passed.append(len(done))

    threads: list[threading.Thread] = []

    def on_step(step: int, total: int) -> None:
        done.append(step)
        if step == 1:
            assert total >= 4
            threads.append(in_thread(ask))
            until(lambda: bool(passed or core.load()["waiting"]))

    with core.watching(on_step):
        core.explain(model, recording, method, 1, **given)
    threads[0].join()
    assert passed[0] <= 3
    assert len(done) >= 4


def test_maximization_lets_others_in_between_its_steps() -> None:
    model = as_model(shake(timm_vit()))
    passed: list[int] = []
    done: list[int] = []
    threads: list[threading.Thread] = []

    def ask() -> None:
        with core.admitted():
            passed.append(len(done))

    def on_step(step: int, loss: float, image: object) -> None:
        done.append(step)
        if step == 2:
            threads.append(in_thread(ask))
            until(lambda: bool(passed or core.load()["waiting"]))

    core.maximize(model, core.class_logit(1), steps=6, size=56, on_step=on_step)
    threads[0].join()
    assert passed[0] <= 3
    assert len(done) == 6


def test_a_slow_listener_shares_its_place_with_nobody() -> None:
    """Not even with who goes ahead of the line."""
    told, go_on, most = threading.Event(), threading.Event(), []

    def slow(before: int | None) -> None:
        if before == 0:
            told.set()
            go_on.wait(60)

    def ask() -> None:
        with core.watching(None, slow), core.admitted():
            most.append(core.load()["computing"])

    def go_ahead() -> None:
        with core.admitted(ahead=True):
            most.append(core.load()["computing"])

    with core.admitted():
        first = in_thread(ask)
        waiting(1)
    told.wait(60)
    second = in_thread(go_ahead)
    waiting(1)
    time.sleep(0.05)
    go_on.set()
    first.join()
    second.join()
    assert most == [1, 1]


@pytest.mark.parametrize("read", ["received", "joints"])
def test_who_has_a_place_waits_for_no_recording(read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the recording's lock may wait for that very place."""
    model = as_model(shake(timm_vit()))
    recording = core.record(model, picture(4, 4), GIVEN)
    assert isinstance(recording, TransformerRecording)
    inside, go_on, done = threading.Event(), threading.Event(), threading.Event()
    plain = TransformerRecording.attention_in_turn

    def slow(self: TransformerRecording, layer: int) -> Iterator[torch.Tensor]:
        inside.set()
        go_on.wait(60)
        yield from plain(self, layer)

    monkeypatch.setattr(TransformerRecording, "attention_in_turn", slow)

    def reads() -> None:
        with core.watching(None, lambda before: done.wait(3)):
            getattr(core.attention(model, recording), read)()
        done.set()

    first = in_thread(reads)
    inside.wait(60)
    monkeypatch.undo()
    second = in_thread(lambda: recording.gradients(["block.1.context"], [1]))
    waiting(1)
    go_on.set()
    first.join(20)
    second.join(20)
    assert done.is_set()
    assert not first.is_alive()
    assert not second.is_alive()


def test_a_turn_given_away_comes_back() -> None:
    order: list[str] = []

    def ask() -> None:
        with core.admitted():
            order.append("the other")

    capacity.next_turn()  # without a place there is nothing to give
    with core.admitted():
        capacity.next_turn()  # and nobody to give it to
        thread = in_thread(ask)
        waiting(1)
        capacity.next_turn()
        order.append("this one")
        assert core.load()["computing"] == 1
    thread.join()
    assert order == ["the other", "this one"]


def test_a_lock_that_others_hold_can_be_left() -> None:
    lock, told = progress.WatchedLock(), []
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock, lock:
            held.set()
            release.wait(60)

    thread = in_thread(hold)
    held.wait(60)

    def on_wait(before: int | None) -> bool:
        told.append(before)
        return False

    with pytest.raises(core.Stopped), core.watching(None, on_wait), lock:
        pass
    assert told == [None]
    release.set()
    thread.join()
    with lock:
        pass


def test_inner_watchers_leave_waiting_to_those_outside() -> None:
    told: list[int | None] = []
    with core.watching(None, told.append), core.watching(lambda done, total: None):
        progress.waiting(3)
    progress.waiting(4)
    assert told == [3]


def test_threads_of_a_pass_are_set() -> None:
    before = torch.get_num_threads()
    try:
        core.configure(threads=before + 1)
        assert torch.get_num_threads() == before + 1
        with pytest.raises(core.ParameterError, match="threads is 0"):
            core.configure(threads=0)
    finally:
        torch.set_num_threads(before)
