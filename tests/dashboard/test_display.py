"""What the display options decide without a page."""

from __future__ import annotations

import numpy as np
import pytest

import core
from dashboard.display import Display
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


FIRST, SECOND = np.array([[-1.0, 3.0]], np.float32), np.array([[-8.0, 2.0]], np.float32)


@pytest.mark.parametrize(
    ("shared", "signed", "ends"),
    [
        (False, False, (-1.0, 3.0)),
        (True, False, (-8.0, 3.0)),
        (False, True, (-3.0, 3.0)),
        (True, True, (-8.0, 8.0)),
    ],
)
def test_ends_of_a_scale_are_shared_and_have_zero_in_the_middle_where_that_is_wanted(
    shared: bool, signed: bool, ends: tuple[float, float]
) -> None:
    display = Display(0.6, "Inferno", shared, 100.0, True)
    assert display.limits(FIRST, [FIRST, SECOND], signed) == ends
    assert display.limits(0 * FIRST, [], True) == (-1.0, 1.0)


@pytest.mark.parametrize(("shared", "end"), [(False, 3.0), (True, 7.0)])
def test_a_scale_from_zero_ends_at_what_speaks_for_a_class(shared: bool, end: float) -> None:
    display = Display(0.6, "Inferno", shared, 100.0, True)
    second = np.array([[-8.0, 7.0]], np.float32)
    assert display.limits(FIRST, [FIRST, second], from_zero=True) == (0.0, end)


def test_a_scale_from_zero_has_an_end_where_hardly_anything_is_positive() -> None:
    display = Display(0.6, "Inferno", False, 90.0, True)
    sparse = np.zeros((10, 10), np.float32)
    sparse[0, 0] = 5.0
    assert display.limits(sparse, from_zero=True) == (0.0, 5.0)
    assert display.limits(-sparse, from_zero=True) == (0.0, 1.0)
