"""Which tap and channel of a model a screen chooses, and what is told where it cannot be had."""

from __future__ import annotations

import pytest

import core
from dashboard.choices import one_of, within
from dashboard.features import channel_of, feature_of, offered_taps, tap_of, tap_title
from dashboard.screen import Screen

CNN, VIT = "efficientnet-lite0", "dinov2-small"


@pytest.fixture
def told() -> list[str]:
    return []


def test_what_the_address_says_of_a_model(told: list[str]) -> None:
    now = Screen.make(m=(CNN, VIT), feature=(f"{VIT}:block.5.key:channel=7",))
    vit = feature_of(now, 1, core.open_model(VIT), told.append)
    assert (vit.key, vit.tap, vit.channel) == ("feature-1", "block.5.key", 7)
    assert tap_of(vit, "block.11.output", told.append) == "block.5.key"
    assert channel_of(vit, vit.model.tap("block.5.key"), 3, told.append) == 7
    cnn = feature_of(now, 0, core.open_model(CNN), told.append)
    assert tap_of(cnn, "stage.2", told.append) == "stage.2"
    assert channel_of(cnn, cnn.model.tap("stage.2"), 3, told.append) == 3
    assert told == []


def test_what_is_not_to_be_had_is_told(told: list[str]) -> None:
    now = Screen.make(m=(CNN,), feature=(f"{CNN}:stage.77:channel=many",))
    cnn = feature_of(now, 0, core.open_model(CNN), told.append)
    assert tap_of(cnn, "stage.0", told.append) == "stage.0"
    assert [text.partition(",")[0] for text in told] == [
        "feature has the channel 'many'",
        "feature has the layer 'stage.77'",
    ]
    now = Screen.make(m=(CNN,), feature=(f"{CNN}::channel=4000",))
    far = feature_of(now, 0, cnn.model, told.append)
    tap = cnn.model.tap("stage.0")
    assert channel_of(far, tap, 5, told.append) == 5
    assert told[2].startswith(
        f"feature has the channel 4000, but stage.0 has channels 0 to {tap.features - 1};"
    )


def test_another_choice_keeps_those_of_the_models_that_are_shown(told: list[str]) -> None:
    now = Screen.make(m=(CNN, VIT), feature=(f"{VIT}:block.5.key:channel=7", "gone:stage.1"))
    cnn = feature_of(now, 0, core.open_model(CNN), told.append)
    assert cnn.put(now, "stage.1", 4).shared.feature == (
        f"{VIT}:block.5.key:channel=7",
        f"{CNN}:stage.1:channel=4",
    )
    assert cnn.put(now, "stage.1", None).shared.feature[1] == f"{CNN}:stage.1"


def test_taps_that_are_offered_and_their_titles() -> None:
    vit = core.open_model(VIT)
    assert "block.0.value" in offered_taps(vit)
    assert "block.0.input" in vit.taps
    assert "block.0.input" not in offered_taps(vit)
    assert tap_title("block.3.hidden") == "Block 3, MLP"
    assert tap_title("stage.2") == "Stage 2"


def test_single_fields_fall_back_with_a_sentence(told: list[str]) -> None:
    now = Screen.make(layer=77, fusion="max", draw=2**31 - 1)
    assert one_of(now, "fusion", ("mean", "max"), "mean", told.append) == "max"
    assert one_of(Screen(), "fusion", ("mean", "max"), "mean", told.append) == "mean"
    assert within(now, "opacity", 0.0, 1.0, told.append) == 0.6
    assert within(Screen(), "layer", 0, 11, told.append, 11) == 11
    assert told == []
    assert one_of(now, "fusion", ("mean", "min"), "mean", told.append) == "mean"
    assert within(now, "layer", 0, 11, told.append, 11) == 11
    assert within(now, "opacity", 0.0, 0.5, told.append) == 0.5
    assert within(now, "draw", 0, 1000000, told.append) == 1000000
    assert told == [
        "fusion is 'max', which is not available here; shown instead: mean.",
        "layer is 77, expected 0 to 11; shown at the end.",
        "opacity is 0.6, expected 0 to 0.5; shown at the end.",
        "draw is 2147483647, expected 0 to 1000000; shown at the end.",
    ]
