"""The full-screen viewer: it is given the pictures and maps of the page, apart."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import rendering
from dashboard import figures, lightbox
from dashboard.display import Display
from dashboard.rows import Row
from dashboard.screen import Screen

VIEW = Image.merge("RGB", [Image.linear_gradient("L").resize((64, 48))] * 3)
GRID = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)
PANELS = (
    figures.Panel("Picture", "as the models see it"),
    figures.Panel("One", "CAM\nclass · 48 %", GRID.clip(0), 0.0, 5.0, "relevance", fades=True),
    figures.Panel("Two", "", GRID, -6.0, 6.0, "logit", signed=True),
)


def row(**chosen: Any) -> Row:
    display = Display.of(Screen.make("compare", **chosen))
    return Row("compare", None, "", view=VIEW, panels=PANELS, display=display, opened=1)


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_map_over_its_picture_is_the_overlay_of_exports() -> None:
    shown = lightbox.contents(row(opacity=0.8))
    assert [one["title"] for one in shown["panels"]] == ["Picture", "One", "Two"]
    assert shown["panels"][0]["layer"] is shown["panels"][0]["scale"] is None
    for one, panel, scale in zip(
        shown["panels"][1:],
        PANELS[1:],
        (figures.fading("Inferno"), figures.scale("RdBu_r")),
        strict=True,
    ):
        above = opened(one["layer"])
        together = Image.alpha_composite(VIEW.convert("RGBA"), above).convert("RGB")
        bar = rendering.Bar(figures.numbers(scale), panel.low, panel.high, panel.unit)
        assert panel.relevance is not None
        wanted = rendering.overlay(VIEW, panel.relevance, bar, opacity=0.8)
        gap = np.abs(np.asarray(together, dtype=int) - np.asarray(wanted, dtype=int))
        assert gap.max() <= 2


def test_the_same_picture_is_sent_once() -> None:
    shown = lightbox.contents(row())
    assert [one["picture"] for one in shown["panels"]] == [0, 0, 0]
    assert len(shown["pictures"]) == 1
    lit = lightbox.contents(row(blend="brightness"))
    assert [one["picture"] for one in lit["panels"]] == [0, 1, 2]
    assert not any(one["layer"] for one in lit["panels"])


def test_the_scale_is_that_of_the_map() -> None:
    shown = lightbox.contents(row())
    assert shown["first"] == 1
    assert [one["ratio"] for one in shown["panels"]] == pytest.approx([64 / 48] * 3)
    scale = shown["panels"][1]["scale"]
    assert (scale["low"], scale["high"], scale["unit"]) == ("0", "5", "relevance")
    assert scale["stops"][0].endswith(", 0) 0.0%"), "zero is the picture"
    assert scale["stops"][-1].endswith(", 1) 100.0%")
