"""A view keeps all that is shown: nothing takes the place of something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import core
from core import Explanation
from dashboard.screen import Screen
from dashboard.view import LONGEST, Maker

MODEL = "efficientnet-lite0"


@pytest.fixture
def shown() -> Maker:
    return Maker(Screen())


@pytest.fixture(scope="module")
def made() -> Explanation:
    found: Explanation = core.explain(
        core.open_model(MODEL), Image.new("RGB", (224, 224), "teal"), "cam", 3
    )
    return found


@pytest.mark.timeout(60)
def test_long_names_of_classes_that_begin_alike_are_told_apart(
    shown: Maker, made: Explanation
) -> None:
    """A name is cut, and what tells one from the other must not be what is cut off."""
    begin = "a class with a name that is much longer than the name of a file may ever be, "
    for target in range(12):
        shown.explanation(replace(made, target=target, label=f"{begin}{target}"), {})
        shown.explanation(replace(made, target=target, label=f"{begin}{target}"), {})
    assert len(shown.arrays) == 12, "the same map twice is one array"
    assert {a.explanation.target for a in shown.arrays.values() if a.explanation} == set(range(12))
    assert max(map(len, shown.arrays)) <= LONGEST
    assert list(shown.arrays)[1].endswith("-2")
    assert list(shown.arrays)[-1].endswith("-12")


def test_other_values_of_the_same_name_stay_beside_the_first(shown: Maker) -> None:
    names = [shown.array("Head: 3", [n], f"first[{n}]") for n in (1, 2, 2)]
    assert names == ["head-3", "head-3-2", "head-3-2"]
    assert [held.values.tolist() for held in shown.arrays.values()] == [[1], [2]]
    assert shown.array("head 3", [3], "other") == "head-3-3", "other words that read the same"


def test_pictures_of_one_title_are_all_kept(shown: Maker) -> None:
    title = "A picture whose title is so long that it is cut off where it is made a name of a file"
    for red in (1, 2, 2):
        shown.picture(title, Image.new("RGB", (2, 2), (red, 0, 0)), f"picture({red})")
    assert list(shown.made) == [title, f"{title} (2)"]
    assert [np.asarray(image)[0, 0, 0] for image in shown.made.values()] == [1, 2]
    assert [held.values[0, 0, 0] for held in shown.arrays.values()] == [1, 2]
