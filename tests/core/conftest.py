"""What the tests of core share."""

from __future__ import annotations

import pytest

import core
from core import capacity


@pytest.fixture(autouse=True, scope="module")
def _usual_capacity() -> None:
    """The limits of the library; tests of pages in the same process set others."""
    core.configure(capacity.PASSES, capacity.PATIENCE, capacity.MEMORY)
