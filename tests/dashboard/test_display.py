"""What the display options decide without a page."""

from __future__ import annotations

import pytest

import core
from dashboard.controls import Display
from tests.support.builders import GIVEN, built, picture


@pytest.mark.parametrize(
    ("spikes", "fusion", "replaced"),
    [
        ("auto", "mean", True),
        ("auto", "max", True),
        ("auto", "min", False),
        ("replace", "min", True),
        ("keep", "max", False),
    ],
)
def test_single_bright_patches_are_replaced_where_they_outshine_the_rest(
    spikes: str, fusion: str, replaced: bool
) -> None:
    found = core.explain(
        built("timm").model, picture(4, 4), "rollout", framing=GIVEN, fusion=fusion
    )
    display = Display(0.6, "Inferno", False, 99.0, True, spikes)
    assert display.replaces_spikes(found) is replaced
