"""Addresses, manifests and screens of earlier versions keep their meaning: stored examples."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard import columns, earlier, manifest
from dashboard.looks import Look
from dashboard.screen import Screen

CNN, VIT = "efficientnet-lite0", "dinov2-small"

STORED: list[tuple[str, dict[str, list[str]], dict[str, list[str]]]] = [
    ("compare", {}, {}),
    ("compare", {"cnn": ["torchvision/resnet50"]}, {"m": ["torchvision/resnet50", VIT]}),
    ("compare", {"vit": ["timm/x.y"], "cnn": [CNN]}, {"m": [CNN, "timm/x.y"]}),
    ("compare", {"vit_map": ["rollout"]}, {"look": [CNN, f"{VIT}:rollout"]}),
    (
        "compare",
        {"vit_map": ["rollout"], "vit_map.fusion": ["max"], "vit_map.discard": ["0.9"]},
        {"look": [CNN, f"{VIT}:rollout:discard=0.9,fusion=max"]},
    ),
    (
        "compare",
        {"cnn_map": ["grad_cam"], "cnn_map.layer": ["stage.2"], "vit": ["a/b"]},
        {
            "m": [CNN, "a/b"],
            "look": [f"{CNN}:grad_cam:layer=stage.2", "a/b"],
            "row": [f"{CNN}:grad_cam:layer=stage.2"],
        },
    ),
    (
        "compare",
        {"vit_map.discard": ["0.5"]},
        {"look": [CNN, f"{VIT}::discard=0.5"]},
    ),
    (
        "gradient_rollout",
        {"class_map": ["legrad"], "class_map.layers": ["3-7"], "classes": ["tabby"]},
        {"classes": ["tabby"], "row": [f"{VIT}:legrad:layers=3-7"]},
    ),
    (
        "attention",
        {"tab": ["channels"], "cnn_tap": ["stage.3"], "vit_channel": ["7"]},
        {"tab": ["channels"], "feature": [f"{CNN}:stage.3", f"{VIT}::channel=7"]},
    ),
    (
        "attention",
        {"vit_tap": ["block.7.key"], "vit_channel": ["11"]},
        {"feature": [f"{VIT}:block.7.key:channel=11"]},
    ),
    (
        "activation_maximization",
        {"effect": ["yes"]},
        {"twin": ["yes"], "parameterization": ["fourier"]},
    ),
    (
        "activation_maximization",
        {"effect": ["no"], "steps": ["64"]},
        {"steps": ["64"], "parameterization": ["fourier"]},
    ),
    ("evidence", {"change": ["cnn"]}, {"top_of": ["0"]}),
    ("evidence", {"change": ["vit"], "top": ["0.5"]}, {"top": ["0.5"], "top_of": ["1"]}),
    ("evidence", {"change": ["shuffle"]}, {"change": ["shuffle"]}),
    (
        "evidence",
        {"cnn_maps": ["cam", "rise"], "cnn_maps.rise.count": ["9"], "of": ["cnn.CAM"]},
        {
            "maps": [f"{CNN}:cam", f"{CNN}:rise:count=9,definition=paper"],
            "of": [f"{CNN}.CAM"],
        },
    ),
    (
        "evidence",
        {"vit_maps": ["rollout"], "of": ["vit.Attention rollout"]},
        {"maps": [f"{VIT}:rollout"], "of": [f"{VIT}.Attention rollout"]},
    ),
]
"""Page, address as version 0.4 wrote it, and the same as it is written today."""


@pytest.mark.parametrize(("page", "before", "now"), STORED)
def test_an_address_of_before_is_converted(
    page: str, before: dict[str, list[str]], now: dict[str, list[str]]
) -> None:
    screen, problems = Screen.from_address(page, {"image": ["coffee"], **before})
    assert not problems
    assert screen.address() == {"image": ["coffee"], **now}
    assert Screen.from_address(page, screen.address()) == (screen, []), "and stays as it is"


@pytest.mark.parametrize(("page", "before", "now"), STORED)
def test_a_manifest_of_before_is_converted(
    page: str, before: dict[str, list[str]], now: dict[str, list[str]]
) -> None:
    """Saved screens and archives hold manifests."""
    stored = manifest.Manifest.model_validate(
        {
            "parallax": 1,
            "created": "2026-10-01T12:00:00Z",
            "page": page,
            "address": {"image": ["coffee"], **before},
        }
    )
    screen, problems = manifest.read(stored.json_text()).read_screen()
    assert not problems
    assert screen.address() == {"image": ["coffee"], **now}


def test_the_columns_of_before_are_the_network_and_the_transformer() -> None:
    screen, _ = Screen.from_address("compare", {"vit_map": ["legrad"], "cnn": ["a"]})
    assert columns.columns(screen) == (Look("a"), Look(VIT, "legrad"))


def test_keys_of_before_beside_those_of_today_are_said() -> None:
    screen, problems = Screen.from_address("compare", {"m": ["a"], "cnn": ["b"]})
    assert screen.shared.m == ("a",)
    assert len(problems) == 1
    assert "'cnn'" in problems[0]


def test_texts_that_mean_nothing_stay_texts() -> None:
    hostile = 'a:b,c=d%3A"<script>'
    screen, problems = Screen.from_address("compare", {"vit_map": [hostile]})
    assert not problems
    assert Look.read(screen.shared.look[1]) == Look(VIT, hostile)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"opacity": 0.5}, {"opacity": 0.5}),
        ({"cnn": "a", "vit": "b"}, {"m": ("a", "b")}),
        (
            {"vit_map": "rollout", "vit_map_parameters": (("fusion", "max"),)},
            {"look": (CNN, f"{VIT}:rollout:fusion=max")},
        ),
        ({"cnn_map": None}, {}),
    ],
)
def test_fields_of_before_can_be_chosen(given: dict[str, Any], found: dict[str, Any]) -> None:
    assert earlier.fields(given) == found
    assert Screen.make(**earlier.fields(given)) == Screen.make(**found)
