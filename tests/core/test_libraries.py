"""Libraries of networks are imported by one thread at a time."""

from __future__ import annotations

import pytest

from tests.support.alone import alone

TWO_AT_ONCE = """
import sys, threading, time
import core

def hold(event, given):
    "Keep one thread inside torchvision until the other is about to import a part of it."
    file = getattr(given[0], "co_filename", "") if event == "exec" else ""
    if file.endswith("torchvision/extension.py"):
        inside.set()
        if parts.wait(5):
            time.sleep(0.5)
    elif file.endswith("timm/layers/_fx.py"):
        parts.set()

inside, parts = threading.Event(), threading.Event()
sys.addaudithook(hold)
found = []
asking = threading.Thread(
    target=lambda: found.append(core.find_spec("torchvision/resnet50").available)
)
asking.start()
inside.wait()
core.open_model("efficientnet-lite0")
asking.join()
assert found in ([True], [False]), found
"""


@pytest.mark.slow
def test_two_threads_that_need_them_first_are_handed_whole_modules() -> None:
    """Python hands out half a package where one thread imports it and another a part of it."""
    alone(TWO_AT_ONCE)
