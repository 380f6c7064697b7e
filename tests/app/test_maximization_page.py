"""The activation-maximization page, by AppTest, on the embedded pair."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

import core
from dashboard import render
from pages.activation_maximization import run as maximization
from pages.activation_maximization.run import STILL, WHOLE, Run, Task
from tests.support import application
from tests.support.application import address, healthy, shown_by, switch

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"parameterization": "phase", "steps": "16", "side": "112"}


def start(**query: Any) -> AppTest:
    """The page with an address, after its first run."""
    return healthy(application.start("activation_maximization", **query))


def leaves(block: Block) -> Iterator[Any]:
    """All elements below a block, in the order in which they are shown."""
    for child in block.children.values():
        if isinstance(child, Block):
            yield from leaves(child)
        else:
            yield child


def labels(app: AppTest) -> list[str]:
    """Labels of all buttons."""
    return [button.label for button in app.button]


def finish(app: AppTest, patience: float = 200) -> AppTest:
    """Look again and again, as the browser does, until the run has ended."""
    deadline = time.monotonic() + patience
    while "Stop" in labels(app):
        assert time.monotonic() < deadline
        time.sleep(0.3)
        healthy(app.run())
    return app


def energies(app: AppTest) -> list[str]:
    return [m.value for m in app.metric if m.label == "Seam energy"]


def test_start_stands_above_the_settings_and_no_two_widgets_share_a_label() -> None:
    app = start()
    order = [getattr(leaf, "label", "") for leaf in leaves(app.main)]
    assert order.index("Start") < order.index("Maximize")
    assert [w.label for w in app.selectbox].count("Size in pixels") == 1
    assert "Size in pixels" not in [w.label for w in app.select_slider]


def test_run_survives_touched_settings_leaving_and_returning() -> None:
    app = start(twin="yes", **SMALL)
    app.button(key="start").click().run()
    assert "Stop" in labels(healthy(app))
    app.slider(key="screen-steps").set_value(32).run()
    assert "Stop" in labels(healthy(app)), "a touched setting ended the run"
    switch(app, "compare")
    switch(app, "activation_maximization")
    finish(healthy(app))
    assert len(energies(app)) == 3
    assert sum("16 steps, 112 × 112 pixels, phase" in c.value for c in app.caption) == 3
    said = [m.value for m in app.markdown if " calls it " in m.value]
    assert len(said) == 3 * 2, "both models about each picture"
    assert all("Egyptian cat" in text for text in said)
    downloads = [b for b in app.get("download_button") if b.key.startswith("download-")]
    assert len(downloads) == 3
    shown = shown_by(app)
    assert len(shown.made) == len(shown.arrays) == 3
    made = next(iter(shown.arrays.values()))
    models = {name: core.open_model(name) for name in shown.weights}
    again = eval(made.code, {"core": core, "np": np, "models": models})
    assert np.array_equal(again, made.values), "the lines of Python make the same picture"
    assert made.code.endswith(".on_white())")
    app.segmented_control(key="screen-transparency").set_value("bare").run()
    bare = next(iter(shown_by(healthy(app)).arrays.values()))
    assert bare.code.endswith(".image)")
    assert bare.values.mean() < made.values.mean(), "what fades does so to white"
    app.segmented_control(key="screen-transparency").set_value("white").run()
    switch(app, "compare")
    switch(app, "activation_maximization")
    assert len(energies(healthy(app))) == 3
    app.button(key="start").click().run()
    assert len(energies(healthy(app))) == 3, "old results stay until the new ones exist"
    app.button(key="stop").click().run()
    finish(app)
    assert energies(app)


def test_time_is_said_before_and_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        maximization,
        "_paces",
        {
            ("efficientnet-lite0", 112, "phase"): 0.1,
            ("dinov2-small", 112, "phase"): 0.2,
            ("dinov2-small", 112, "fourier"): 9.0,
        },
    )
    app = start(parameterization="phase", steps="48", side="112", twin="yes")
    assert any("3 pictures, 48 steps: about 24 s" in c.value for c in app.caption)
    app.button(key="start").click().run()
    app.button(key="stop").click().run()
    finish(app)


def test_class_is_shared_with_the_other_pages() -> None:
    app = start()
    picker = app.selectbox(key="screen-classes")
    assert picker.options[0] == "automatic: Egyptian cat"
    picker.set_value("espresso").run()
    assert app.query_params["classes"] in ("espresso", ["espresso"])
    switch(app, "compare")
    assert healthy(app).selectbox(key="screen-classes").value == "espresso"


def test_channel_out_of_range_names_the_range_before_anything_starts() -> None:
    app = start(objective="channel", cnn_tap="stage.0", cnn_channel="4000")
    said = [w.value.replace("\\", "") for w in app.warning]
    assert any("feature has the channel 4000" in s and "channels 0 to 15" in s for s in said)
    assert len(app.selectbox(key="screen-feature-0-channel").options) == 1 + 16
    assert app.selectbox(key="screen-feature-0-channel").options[0].startswith("most contrast: ")
    assert "Stop" not in labels(app)


@pytest.mark.parametrize("part", ["output", "hidden", "query", "key", "value"])
def test_every_part_of_a_block_can_be_asked_for(part: str) -> None:
    app = start(objective="channel", vit_tap=f"block.3.{part}", vit_channel="70")
    model = core.open_model("dinov2-small")
    last = model.tap(f"block.3.{part}").features - 1
    assert len(app.selectbox(key="screen-feature-1-channel").options) == last + 2
    assert app.selectbox(key="screen-feature-1-channel").value == 70
    if part in ("query", "key", "value"):
        assert "70 (head 1, channel 6)" in app.selectbox(key="screen-feature-1-channel").options


def task(model: core.Model, objective: core.Objective, steps: int = 4) -> Task:
    return Task("title", model, objective, core.Regularization(), steps, 56, 0, 14, STILL)


def test_an_objective_that_does_not_exist_is_refused_before_a_thread_starts() -> None:
    model = core.open_model("efficientnet-lite0")
    with pytest.raises(core.ParameterError, match="0 to 15"):
        Run([task(model, core.conv_channel("stage.0", 4000))])


def test_small_previews_come_before_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int, int]] = []
    real = maximization._maximize

    def noted(task: Task, steps: int, side: int, on_step: Any) -> core.Maximization:
        made.append((task.title, steps, side))
        return real(task, steps, side, on_step)

    monkeypatch.setattr(maximization, "_maximize", noted)
    monkeypatch.setattr(maximization, "_paces", {})
    cnn, vit = (core.open_model(name) for name in ("efficientnet-lite0", "dinov2-small"))
    one = task(cnn, core.class_logit(285))
    other = replace(one, title="other", model=vit, preview=28)
    twin = replace(other, title="twin", regularization=core.Regularization(seam=0.0))
    run = Run([one, other, twin])
    run.start()
    assert run.wait(100)
    steps = maximization.PREVIEW_STEPS
    assert made[0] == ("other", steps, 28), "one for each model, and none where none is smaller"
    assert [side for _, _, side in made[1:]] == [56] * len(made[1:])
    first, second, third = (result.preview for result in run.results)
    assert first is None
    assert second is third
    assert second.size == (28, 28)
    assert [len(result.history) for result in run.results] == [4, 4, 4]


def test_a_preview_of_the_phase_is_looked_at_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops of the network's own size would leave time for a few steps only."""
    looks: list[tuple[int, Any]] = []
    real = core.maximize

    def noted(*given: Any, size: int, transforms: Any, **options: Any) -> Any:
        looks.append((size, transforms))
        return real(*given, size=size, transforms=transforms, **options)

    monkeypatch.setattr(core, "maximize", noted)
    monkeypatch.setattr(maximization, "PREVIEW_STEPS", 1)
    model, crops = core.open_model("efficientnet-lite0"), core.Crops(count=3)
    phase = {"parameterization": "phase", "transforms": crops, "preview": 32}
    run = Run([replace(task(model, core.class_logit(285), steps=1), **phase)]).start()
    assert run.wait(100)
    assert looks[0] == (32, replace(crops, count=2, side=32))
    assert looks[-1] == (56, crops)


def test_a_preview_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maximization, "PREVIEW", 0.0)
    model = core.open_model("efficientnet-lite0")
    seen: list[int] = []
    real = core.maximize

    def counted(*given: Any, on_step: Any, size: int, **options: Any) -> Any:
        def step(number: int, *state: Any) -> bool:
            seen.append(size)
            return bool(on_step(number, *state))

        return real(*given, on_step=step, size=size, **options)

    monkeypatch.setattr(core, "maximize", counted)
    run = Run([replace(task(model, core.class_logit(285)), preview=32)]).start()
    assert run.wait(100)
    assert seen.count(32) == 1


def test_finished_run_keeps_no_model_alive() -> None:
    model = core.open_model("efficientnet-lite0")
    watched = weakref.ref(model)
    run = Run([task(model, core.class_logit(285))]).start()
    assert run.wait(100)
    assert isinstance(run.results[0].image, Image.Image)
    assert len(run.results[0].history) == 4
    assert run.done == 1
    del model
    gc.collect()
    assert watched() is None


def test_run_that_nobody_looks_at_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maximization, "PATIENCE", 0.0)
    model = core.open_model("efficientnet-lite0")
    run = Run([task(model, core.class_logit(285), steps=400)]).start()
    assert run.wait(100)
    assert len(run.results[0].history) < 400


@pytest.mark.parametrize("query", [{}, {"parameterization": "phase"}], ids=str)
def test_an_address_of_before_shows_fourier_coefficients(query: dict[str, str]) -> None:
    """Without one the page opens on the phase; an address of before named no parameterization."""
    app = start(image="coffee", **query)
    assert app.segmented_control(key="screen-parameterization").value == query.get(
        "parameterization", "fourier"
    )
    shown = "screen-transparency" in [group.key for group in app.segmented_control]
    assert shown == bool(query), "only the phase has a transparency"
    [steps] = [slider.value for slider in app.slider if slider.label == "Steps"]
    assert steps == (96 if query else 48)


def test_the_bare_address_opens_on_the_phase() -> None:
    app = switch(healthy(application.fresh().run()), "activation_maximization")
    assert healthy(app).segmented_control(key="screen-parameterization").value == "phase"
    [wanted] = render.read("/activation_maximization")
    assert wanted.screen.value("parameterization") == "phase"
    assert "parameterization=phase" in wanted.link


@pytest.mark.parametrize("moves", [STILL, WHOLE], ids=["fourier", "phase"])
def test_a_stopped_run_is_judged_as_well(moves: Any) -> None:
    model = core.open_model("efficientnet-lite0")
    kind = "phase" if moves is WHOLE else "fourier"
    asked = replace(
        task(model, core.class_logit(285), steps=400),
        transforms=moves,
        parameterization=kind,
        wanted="Egyptian cat",
    )
    run = Run([asked]).start()
    while not run.results[0].history:
        time.sleep(0.01)
    run.stop()
    assert run.wait(100)
    [result] = run.results
    assert len(result.history) < 400
    [said] = result.opinions
    answer = core.predict(model, result.image)
    assert said.label == answer.labels[0]
    assert said.wanted == pytest.approx(answer.probability(285), abs=1e-6)
    assert (result.on_white is not None) == (kind == "phase")


def test_model_without_classes_says_so_and_the_other_is_made(tmp_path, monkeypatch) -> None:
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
    assert any("1 picture," in c.value for c in app.caption)
    assert not app.button(key="start").disabled


def test_a_row_of_the_gallery_chooses_its_settings() -> None:
    app = start()
    assert sum((button.key or "").startswith("example-") for button in app.button) == 12
    app.button(key="example-4").click().run()
    now = address(healthy(app))
    assert (now["classes"], now["steps"], now["side"]) == (["goldfish"], ["80"], ["168"])
    assert now["parameterization"] == ["phase"]
    app.button(key="example-10").click().run()
    now = address(healthy(app))
    assert (now["objective"], now["image"]) == (["channel"], ["coffee"])
