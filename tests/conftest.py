"""What all tests share."""

from __future__ import annotations

import gc
import os

import pytest
import torch
from hypothesis import settings

import pages  # noqa: F401 - registers all pages

# Nothing here may reach a network; the libraries are told so before any of them is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Tiny tensors gain nothing from threads, and on a busy machine they wait for each other.
torch.set_num_threads(1)
os.environ.setdefault("PARALLAX_THREADS", "1")  # the application sets it anew
# No map waits for a click because a machine is busy.
os.environ.setdefault("PARALLAX_ASK_FROM", "86400")

# The same examples in every run, and no clock: a busy machine must not turn a test red.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("steady")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Commands that a test runs set more threads; the tests after it would wait for them."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the garbage collector need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_models_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    """Whatever ``models.toml`` lies beside the project, tests see the built-in catalog."""
    monkeypatch.setenv("PARALLAX_MODELS", os.path.join(tmp_path, "none.toml"))


@pytest.fixture(autouse=True)
def _no_store_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    """What tests save lands in a store of their own."""
    monkeypatch.setenv("PARALLAX_STORE", f"sqlite:///{os.path.join(tmp_path, 'store.sqlite')}")
