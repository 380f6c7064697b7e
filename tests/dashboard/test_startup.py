"""Memory that nobody uses goes back to the system."""

from __future__ import annotations

import gc
import platform
import threading

import numpy as np
import pytest

from dashboard import startup
from tests.benchmarks.memory import resident


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")
def test_what_a_thread_freed_is_given_back() -> None:
    """Small blocks below one that stays are what the C library keeps."""
    stays: list[object] = []

    def work() -> None:
        blocks = [np.ones(16_000, dtype=np.uint8) for _ in range(6_000)]
        stays.append(blocks[-1])
        del blocks

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = resident("VmRSS")
    startup.give_back()
    assert resident("VmRSS") < before - 50


def test_a_system_without_the_function_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "_library", lambda: None)
    assert startup.give_back() is False


def test_what_is_set_aside_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    try:
        startup.set_aside()
        assert gc.get_freeze_count() > before + 10_000
        assert len(gc.get_objects()) < 10_000
    finally:
        gc.unfreeze()
