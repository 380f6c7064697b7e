"""Rows of panels, made without a page."""

from __future__ import annotations

import math

import pytest

import core
from dashboard import rows
from dashboard.rows import CHANCE, Agreement
from tests.support.builders import built, picture


def agreed(*overlaps: float, names: str = "ABC") -> Agreement:
    pairs = [(0, 1), (0, 2), (1, 2)][: len(overlaps)]
    found = dict(zip(pairs, overlaps, strict=True))
    return Agreement(tuple(names[: 2 if len(overlaps) == 1 else 3]), found, found)


@pytest.mark.parametrize(
    ("overlap", "places"), [(0.11, "different"), (0.3, "partly the same"), (0.7, "the same")]
)
def test_two_maps_come_to_a_sentence_with_its_figures(overlap: float, places: str) -> None:
    said = rows.conclusion(agreed(overlap))
    assert f"share {overlap:.0%} of their brightest fifth" in said
    assert said.endswith(f"they point to {places} places.")
    assert f"chance gives {CHANCE:.0%}" in said


def test_of_more_maps_the_ends_are_named() -> None:
    said = rows.conclusion(agreed(0.4, 0.1, math.nan))
    assert said.startswith("A and B agree most: they share 40%")
    assert "A and C agree least, with 10%" in said


def test_nothing_is_concluded_of_one_map_or_of_none() -> None:
    assert rows.conclusion(agreed()) == ""
    assert rows.conclusion(agreed(math.nan)) == ""


def test_chance_is_what_two_unrelated_fifths_share() -> None:
    assert math.isclose(CHANCE, 0.2**2 / (0.4 - 0.2**2), abs_tol=0.002)


def test_a_title_states_both_probabilities_of_a_class_rather_than_another() -> None:
    model = built("timm").model
    found = core.explain(
        model, picture(4, 4), "grad_cam", core.rather_than(0, 1), framing=core.Framing("given")
    )
    assert found.prediction is not None
    first, second = (rows.percent(found.prediction.probability(one)) for one in (0, 1))
    assert rows.standing(found) == f"{first} against {second}"
    assert rows.opinion(found).startswith(f"{model.labels[0]} rather than {model.labels[1]} · ")
