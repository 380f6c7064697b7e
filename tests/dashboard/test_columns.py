"""What becomes of a screen when models and columns are added, moved, replaced and removed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard import columns
from dashboard.looks import MOST, Look
from dashboard.screen import Screen

PAIR = Screen.make(m=("a", "b"))
CHOSEN = Screen.make(
    m=("a", "b"),
    look=("b:rollout:fusion=max", "a:cam", "b:rollout:fusion=min"),
    row=("a:cam", "b:legrad"),
    feature=("b:block.1.key:channel=3",),
    maps=("a:cam", "b:rollout"),
)


def test_each_model_has_its_first_map_until_looks_are_chosen() -> None:
    assert columns.columns(PAIR) == (Look("a"), Look("b"))
    assert columns.columns(Screen.make(m=("a", "b"), look=("b:x", "c:y"))) == (
        Look("b", "x"),
        Look("a"),
    )


def test_what_is_usual_is_not_named() -> None:
    changed = columns.with_look(PAIR, 1, Look("b", "legrad"))
    assert changed.shared.look == ("a", "b:legrad")
    assert columns.with_look(changed, 1, Look("b")).shared.look == ()


def test_a_column_of_a_new_model_brings_the_model() -> None:
    found = columns.added(PAIR, Look("c", "rise"))
    assert found.shared.m == ("a", "b", "c")
    assert [look.model for look in columns.columns(found)] == ["a", "b", "c"]
    again = columns.added(found, Look("a", "occlusion"))
    assert again.shared.m == found.shared.m
    assert columns.columns(again)[-1] == Look("a", "occlusion")


def test_a_model_goes_with_its_last_column() -> None:
    one_less = columns.removed(CHOSEN, 0)
    assert one_less.shared.m == ("a", "b")
    assert one_less.shared.look == ("a:cam", "b:rollout:fusion=min")
    gone = columns.removed(one_less, 1)
    assert (gone.shared.m, gone.shared.look) == (("a",), ("a:cam",))
    assert gone.shared.feature == ()
    assert (gone.value("row"), gone.value("maps")) == (("a:cam",), ("a:cam",))


def test_a_choice_among_columns_goes_with_a_model() -> None:
    chosen = CHOSEN.to(top_of=2, of="b:rollout", removed="2x2-80")
    gone = columns.without(chosen, "b")
    assert (gone.value("top_of"), gone.value("of")) == (None, None)
    replaced = columns.instead(chosen, "b", "c", alike=True)
    assert (replaced.value("top_of"), replaced.value("of")) == (2, None)
    assert gone.value("removed") == replaced.value("removed") == "2x2-80"


@pytest.mark.parametrize(
    ("number", "by", "order"), [(0, 1, "acb"), (2, -1, "bca"), (0, -1, "bac"), (2, 1, "bac")]
)
def test_columns_move(number: int, by: int, order: str) -> None:
    now = Screen.make(m=("b", "a", "c"))
    found = columns.moved(now, number, by)
    moved = {"acb": "abc", "bca": "bca", "bac": "bac"}[order]
    assert "".join(look.model for look in columns.columns(found)) == moved


def test_another_model_takes_over_what_it_can_be_asked() -> None:
    alike = columns.instead(CHOSEN, "b", "c", alike=True)
    assert alike.shared.m == ("a", "c")
    assert alike.shared.look == ("c:rollout:fusion=max", "a:cam", "c:rollout:fusion=min")
    assert alike.shared.feature == ("c:block.1.key:channel=3",)
    unlike = columns.instead(CHOSEN, "b", "c", alike=False)
    assert unlike.shared.look == ("c", "a:cam", "c")
    assert columns.instead(PAIR, "b", "a", alike=False).shared.m == ("a",), (
        "none stands there twice"
    )


@settings(max_examples=15)
@given(st.data())
def test_whatever_is_done_every_model_has_a_column_and_none_another(data: st.DataObject) -> None:
    now = PAIR
    for _ in range(data.draw(st.integers(1, 8))):
        shown = columns.columns(now)
        number = data.draw(st.integers(0, len(shown) - 1))
        model = data.draw(st.sampled_from("abcde"))
        act = data.draw(st.sampled_from(["add", "move", "remove", "instead"]))
        if act == "add" and len(shown) < MOST:
            now = columns.added(now, Look(model, data.draw(st.sampled_from(["", "x"]))))
        elif act == "move":
            now = columns.moved(now, number, data.draw(st.sampled_from([-1, 1])))
        elif act == "remove" and len(shown) > 1:
            now = columns.removed(now, number)
        elif act == "instead" and (model == shown[number].model or model not in now.shared.m):
            now = columns.instead(now, shown[number].model, model, alike=True)
        found = columns.columns(now)
        assert 1 <= len(found) <= MOST
        assert {look.model for look in found} == set(now.shared.m)
        assert Screen.from_address("compare", now.address()) == (now, [])
