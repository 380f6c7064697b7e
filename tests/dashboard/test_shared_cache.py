"""Results that sessions share: made once, within a budget, gone with their model."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

import core
from core import Recording
from core.models import Model
from dashboard.shared_cache import SharedCache
from tests.support.builders import GIVEN, as_model, picture, shake, timm_vit


def fresh() -> Model:
    """A model that nobody else holds."""
    return as_model(shake(timm_vit()))


def recordings(budget: int = 2**28) -> SharedCache:
    return SharedCache(budget)


def recorded(model: Model) -> Recording:
    return core.record(model, picture(4, 4), GIVEN)


def test_many_who_ask_at_once_share_one_recording() -> None:
    model, made = fresh(), []
    store = recordings()

    def make() -> Recording:
        made.append(1)
        return recorded(model)

    found: list[Recording] = []
    threads = [
        threading.Thread(target=lambda: found.append(store.get("one", make))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len({id(recording) for recording in found}) == 1


def test_budget_holds_and_the_longest_unused_goes_first() -> None:
    model = fresh()
    first = recorded(model)
    assert first.nbytes > 0
    store = recordings(int(2.5 * first.nbytes))
    made: list[str] = []

    def get(key: str) -> None:
        store.get(key, lambda: made.append(key) or recorded(model))  # type: ignore[func-returns-value]

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
        assert store.nbytes <= 2.5 * first.nbytes
    assert made == ["a", "b", "c", "b"]


def test_larger_than_the_budget_is_held_as_the_only_one() -> None:
    model = fresh()
    store = recordings(10)
    found = store.get("a", lambda: recorded(model))
    assert store.get("a", lambda: pytest.fail("made again")) is found
    store.get("b", lambda: recorded(model))
    assert store.get("a", lambda: recorded(model)) is not found


def test_recording_that_failed_is_tried_again() -> None:
    store, model = recordings(), fresh()
    with pytest.raises(RuntimeError):
        store.get("a", lambda: (_ for _ in ()).throw(RuntimeError("no")))
    assert isinstance(store.get("a", lambda: recorded(model)), Recording)


def test_dropped_model_is_gone_with_its_recordings_and_gradients() -> None:
    store, kept = recordings(), fresh()
    store.get("b", lambda: recorded(kept))

    def used_and_dropped() -> weakref.ref[Model]:
        model = fresh()
        recording = store.get("a", lambda: recorded(model))
        core.explain(model, recording, "gradient_rollout", target=1)
        store.drop(model)
        return weakref.ref(model)

    there = used_and_dropped()
    gc.collect()
    assert there() is None
    assert store.nbytes > 0  # the other model's recording is still held
    assert store.get("b", lambda: pytest.fail("made again")).model is kept


def test_of_things_as_old_the_largest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("dashboard.shared_cache.monotonic", lambda: now[0])
    store = SharedCache(1_000)
    for name, size in (("small", 50), ("large", 500), ("medium", 200)):
        store.get(name, lambda size=size: bytes(size))  # type: ignore[misc]
    now[0] = 60
    store.get("new", lambda: bytes(400))
    assert "large" not in store
    assert "small" in store
    assert "new" in store


def test_a_model_that_is_used_is_not_opened_twice_and_one_that_nobody_uses_is_gone() -> None:
    opened: list[int] = []

    def open_one() -> Model:
        opened.append(1)
        return fresh()

    store = SharedCache(1_000)
    used = store.get("model", open_one)
    store.get("other", lambda: bytes(900))
    assert "model" not in store, "it was to make place"
    assert store.get("model", open_one) is used
    gone = weakref.ref(used)
    del used
    store.get("other", lambda: bytes(900))
    gc.collect()
    assert gone() is None
    assert isinstance(store.get("model", open_one), Model)
    assert len(opened) == 2


def test_what_grows_is_measured_again() -> None:
    model = fresh()
    one = recorded(model)
    store = SharedCache(one.nbytes + 100)
    store.get("small", lambda: bytes(10))
    found = store.get("recording", lambda: one)
    before = store.nbytes
    core.explain(model, found, "gradient_rollout", target=1)
    store.settle()
    assert store.nbytes != before
    assert store.nbytes <= one.nbytes + 100


def test_who_waits_for_another_can_leave() -> None:
    store = SharedCache(1_000)
    begun, release = threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        release.wait(60)
        return b"made"

    thread = threading.Thread(target=lambda: store.get("one", slow))
    thread.start()
    begun.wait(60)
    with pytest.raises(core.Stopped), core.watching(None, lambda before: before is not None):
        store.get("one", lambda: b"never")
    told: list[int | None] = []

    def on_wait(before: int | None) -> None:
        told.append(before)
        release.set()

    with core.watching(None, on_wait):
        assert store.get("one", lambda: b"never") == b"made"
    thread.join()
    assert told[0] is None
    assert told[-1] == 0, "what was said of waiting is taken back"
