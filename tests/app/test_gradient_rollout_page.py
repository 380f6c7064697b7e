"""The gradient-rollout page, by AppTest, on the embedded pair."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard import animations, cache
from pages.gradient_rollout import view as page
from tests.support import application
from tests.support.application import address, figures, healthy, switch

ROOT = Path(__file__).resolve().parents[2]


def start(**query: Any) -> AppTest:
    """The page with an address, after its first run."""
    return healthy(application.start("gradient_rollout", **query))


def titles(figure: dict) -> list[str]:
    """First lines above the panels of a row."""
    return [note["text"].split("</b>")[0][3:] for note in figure["layout"]["annotations"]]


def maps(figure: dict) -> list[Any]:
    """Values of the visible maps of a figure."""
    return [t["z"] for t in figure["data"] if t.get("showscale", True) and t["type"] == "heatmap"]


def test_a_column_for_each_class_with_rollout_and_picture_first() -> None:
    app = start()
    vit, cnn = figures(app)
    assert titles(vit) == ["Plain rollout", "Egyptian cat", "espresso"]
    assert titles(cnn) == ["Picture", "Egyptian cat", "espresso"]
    assert len(maps(vit)) == 3
    assert len(maps(cnn)) == 2
    [table] = app.dataframe
    assert list(table.value["Classes"]) == ["Egyptian cat / espresso"] * 2


def test_shares_of_maps_without_a_zero_are_dashes() -> None:
    few = {"class_map.count": "2", "cnn_map.count": "2", "cnn_map.definition": "centered"}
    app = start(class_map="rise", cnn_map="rise", **few)
    [table] = app.dataframe
    vit, cnn = table.value["Share on the right half"]
    assert vit == "– / –"
    assert "%" in cnn
    assert any("the map's zero means nothing" in " ".join(c.value.split()) for c in app.caption)


def test_automatic_classes_are_said_and_the_picker_has_names_only() -> None:
    app = start()
    picker = app.multiselect(key="screen-class-list")
    assert picker.label == "Classes · automatic"
    assert picker.value == ["Egyptian cat", "espresso"]
    assert len(picker.options) == len(set(picker.options)) >= 990
    assert not any("·" in name for name in picker.options)
    assert "classes" not in app.query_params


def test_classes_survive_navigation_and_stand_in_the_address() -> None:
    app = start()
    chosen = ["Egyptian cat", "espresso", "cup"]
    app.multiselect(key="screen-class-list").set_value(chosen).run()
    before = figures(healthy(app))
    assert app.query_params["classes"] == chosen
    switch(app, "compare")
    assert healthy(app).selectbox(key="screen-classes").value == "Egyptian cat"
    switch(app, "gradient_rollout")
    assert app.multiselect(key="screen-class-list").value == chosen
    assert [maps(f) for f in figures(healthy(app))] == [maps(f) for f in before]
    linked = start(classes=chosen)
    assert [maps(f) for f in figures(linked)] == [maps(f) for f in before]
    app.multiselect(key="screen-class-list").set_value([]).run()
    assert app.multiselect(key="screen-class-list").label == "Classes · automatic"


def test_unknown_class_in_the_address_is_one_sentence() -> None:
    app = start(classes=["espresso", "unicorn"])
    [said] = [w.value for w in app.warning if "unicorn" in w.value]
    assert "shown instead" in said
    assert titles(figures(app)[1]) == ["Picture", "espresso"]


def test_another_picture_is_asked_anew() -> None:
    app = start(rather_than="tabby", animated="espresso", clip="95")
    app.button(key="pick-chelsea").click().run()
    assert address(healthy(app)) == {"image": ["chelsea"], "clip": ["95"]}


def test_nothing_is_animated_until_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = cache.frames

    def counted(*arguments: Any) -> Any:
        calls.append(arguments[2])
        return real(*arguments)

    monkeypatch.setattr(cache, "frames", counted)
    monkeypatch.setattr(page, "RATIOS", (0.0, 0.9, 0.99))
    app = start()
    assert not calls
    app.button(key="animate-espresso").click().run()
    assert calls == ["rollout", "gradient_rollout"]
    assert app.query_params["animated"] in ("espresso", ["espresso"])
    animated = figures(healthy(app))[2:]
    assert [len(figure["frames"]) for figure in animated] == [3, 3]
    rolled, graded = animated
    assert rolled["frames"][0]["data"][0]["z"] != graded["frames"][0]["data"][0]["z"]
    [menu], [slider] = rolled["layout"]["updatemenus"], rolled["layout"]["sliders"]
    assert abs(menu["y"] - slider["y"]) < 0.1, "the play button stands beside its slider"
    assert menu["x"] < slider["x"]
    switch(app, "compare")
    switch(app, "gradient_rollout")
    assert len(figures(healthy(app))) == 4
    app.button(key="animate-close").click().run()
    assert len(figures(healthy(app))) == 2


def test_all_frames_come_from_one_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    import core

    monkeypatch.setattr(page, "RATIOS", (0.0, 0.5, 0.9))
    app = start(image="coffee")
    passes: list[Any] = []
    from core.recording import recording

    real, others = recording.run, threading.enumerate()  # which other tests may have left at work

    def counted(*arguments: Any) -> Any:
        if threading.current_thread() not in others:
            passes.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(recording, "run", counted)
    app.button(key="animate-espresso").click().run()
    assert len(figures(healthy(app))) == 4
    assert len(passes) <= 1, "once more for the gradients, not once a frame"
    assert core.find_spec("dinov2-small")


def test_ratios_reach_099() -> None:
    assert page.RATIOS[0] == 0
    assert page.RATIOS[-2:] == (0.95, 0.99)
    assert list(page.RATIOS) == sorted(set(page.RATIOS))


def test_gif_frames_say_their_ratio() -> None:
    view = Image.new("RGB", (112, 84), "teal")
    maps = [np.eye(6, 8, dtype=np.float32), np.zeros((6, 8), dtype=np.float32)]
    with Image.open(io.BytesIO(animations.gif(view, maps, ["ratio 0", "ratio 0.99"]))) as gif:
        assert gif.n_frames == 2
        assert gif.width == 112
        assert gif.height > 84
        strips = []
        for place in range(2):
            gif.seek(place)
            strip = np.asarray(gif.convert("L").crop((0, 84, 112, gif.height)))
            assert strip.max() > 200, "there is text"
            strips.append(strip)
    assert not np.array_equal(*strips)


def test_mass_that_reads_the_same_is_said_once() -> None:
    assert animations.mass_range([0.999, 1.0]) == "100%"
    assert animations.mass_range([0.2, 0.4, 0.3]) == "20% to 40%"


def test_transformer_without_classes_leaves_rollout_and_the_cnn(tmp_path, monkeypatch) -> None:
    import timm
    from safetensors.torch import save_file

    module = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    save_file(module.state_dict(), tmp_path / "plain.safetensors")
    entry = 'id = "plain"\nfamily = "vit"\narchitecture = "vit_tiny_patch16_224"\n'
    own = tmp_path / "models.toml"
    own.write_text(f'[[model]]\n{entry}weights = "plain.safetensors"\n')
    monkeypatch.setenv("PARALLAX_MODELS", str(own))
    app = start(vit="plain")
    assert any("trained without classes" in box.value for box in app.info)
    vit, cnn = figures(app)
    assert titles(vit) == ["Plain rollout"]
    assert titles(cnn) == ["Picture", "Egyptian cat", "espresso"]
