"""The Evidence page, by AppTest, on the embedded pair, and on small models what takes long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import core
from core import heatmaps
from dashboard import measurements
from dashboard.screen import Screen
from pages.evidence.options import Options, text_of_mask
from tests.support import application
from tests.support.application import figures, healthy

ROOT = Path(__file__).resolve().parents[2]


def start(**query: Any) -> AppTest:
    """The page with an address, after its first run."""
    return healthy(application.start("evidence", **query))


def given(*models: core.Model) -> tuple[Any, core.Framing]:
    """What the default screen shows to models, if not others are named to the embedded pair."""
    image = core.read_image(ROOT / "data" / "samples" / "cat-beside-cup.jpg")
    models = models or tuple(map(core.open_model, ("dinov2-small", "efficientnet-lite0")))
    return core.shared_view(models, image, core.Framing("crop")), core.Framing("given")


@pytest.fixture
def few_passes(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models of one's own can be chosen; the pages compute the same of all models."""
    monkeypatch.setenv("PARALLAX_MODELS", str(small))


# -- take it away ---------------------------------------------------------------------------------


def test_taking_the_cat_away_changes_both_answers_as_core_says() -> None:
    mask = np.zeros((16, 16), bool)
    mask[:, :8] = True  # the cat's half
    app = start(change="patches", removed=text_of_mask(mask))
    for place, model_id in enumerate(("efficientnet-lite0", "dinov2-small")):
        model = core.open_model(model_id)
        view, framing = given()
        after = core.what_if(model, view, mask, framing=framing)
        index = model.labels.index("Egyptian cat")
        assert app.metric[place].value == f"{after.probability(index):.1%}"
        table = app.dataframe[place].value
        shown = dict(zip(table["class"], table["after"], strict=True))
        assert shown[after.labels[0]] == pytest.approx(after.probabilities[0], abs=1e-6)
        assert next(iter(shown)) == after.labels[0]


def test_one_patch_by_keyboard_and_all_back() -> None:
    app = start(change="patches", query="r3c4")
    app.button(key="patch-toggle").click().run()
    [removed] = np.atleast_1d(app.query_params["removed"])
    mask = Options(removed=removed).mask
    assert mask is not None
    assert np.argwhere(mask).tolist() == [[3, 4]]
    assert healthy(app).button(key="patch-toggle").label == "Put it back"
    app.button(key="patch-clear").click().run()
    assert app.button(key="patch-toggle").label == "Take it away"
    assert [m.delta for m in healthy(app).metric] == ["+0.0 points"] * 2


def test_masks_survive_the_address() -> None:
    rng = np.random.default_rng(0)
    for shape in ((16, 16), (37, 21), (1, 3)):
        mask = rng.random(shape) < 0.4
        kept = Options(removed=text_of_mask(mask)).mask
        assert kept is not None
        assert np.array_equal(kept, mask)


def test_mask_of_another_grid_is_named_and_takes_nothing_away() -> None:
    app = start(change="patches", removed="4x4-ffff")
    assert any("4 × 4 patches" in w.value for w in app.warning)
    assert [m.delta for m in app.metric] == ["+0.0 points"] * 2


def test_top_of_a_map_takes_as_many_patches_as_asked() -> None:
    app = start(change="cnn", top="0.5")
    assert any("128 of 256 patches" in c.value for c in app.caption)


def test_whole_picture_changes_draw_one_line_a_model() -> None:
    app = start(change="gray")
    [curve] = figures(app)
    assert [trace["name"] for trace in curve["data"]] == ["EfficientNet-Lite0", "DINOv2 ViT-S/14"]
    before = [m.value for m in app.metric]
    app.select_slider(key="screen-strength").set_value(0.0).run()
    assert [m.delta for m in healthy(app).metric] == ["+0.0 points"] * 2
    assert [m.value for m in app.metric] != before


def test_strength_that_is_not_offered_is_named() -> None:
    app = start(change="shuffle", strength="3")
    assert any("strength is 3" in w.value for w in app.warning)


# -- rather than ----------------------------------------------------------------------------------


def test_a_class_rather_than_another_before_and_after() -> None:
    """The map is of the difference of both logits, and so is the probability."""
    app = start(rather_than="tabby", top_of="0")
    vit = core.open_model("dinov2-small")
    view, framing = given()
    cnn = core.open_model("efficientnet-lite0")
    cat, tabby = cnn.labels.index("Egyptian cat"), cnn.labels.index("tabby")
    target = core.rather_than(cat, tabby)
    found = core.explain(cnn, view, "cam", target, framing=framing)
    mask = heatmaps.top_area(heatmaps.resize(found.relevance, (16, 16)), 0.2)
    for place, model in enumerate((cnn, vit)):
        asked = core.rather_than(*map(model.labels.index, ("Egyptian cat", "tabby")))
        after = core.what_if(model, view, mask, framing=framing)
        assert app.metric[place].label.endswith("Egyptian cat rather than tabby")
        assert app.metric[place].value == f"{after.probability(asked):.1%}"
    first, second = after.probability(cat), after.probability(tabby)
    assert after.probability(asked) == pytest.approx(first / (first + second), abs=1e-5)
    assert any("CAM of Egyptian cat rather than tabby" in c.value for c in app.caption)
    named = [name for table in app.dataframe for name in table.value.get("class", [])]
    assert {"● Egyptian cat", "○ tabby"} <= set(named)
    app.selectbox(key="screen-rather_than").set_value("").run()
    assert healthy(app).metric[0].label.endswith("Egyptian cat")
    assert "rather_than" not in app.query_params


def test_a_class_rather_than_another_as_the_picture_is_changed() -> None:
    app = start(change="gray", rather_than="tabby")
    [curve] = figures(app)
    vit = core.open_model("dinov2-small")
    view, framing = given()
    target = core.rather_than(*map(vit.labels.index, ("Egyptian cat", "tabby")))
    wanted = core.robustness(vit, view, "gray", target=target, framing=framing)
    assert curve["data"][1]["y"] == pytest.approx(wanted.probabilities.tolist(), abs=1e-5)
    assert curve["layout"]["yaxis"]["title"]["text"] == "Egyptian cat rather than tabby"


@pytest.mark.usefixtures("few_steps", "few_passes")
def test_curves_of_a_class_rather_than_another() -> None:
    app = start(
        question="curves",
        measured="yes",
        m=["vit-a"],
        classes="Egyptian cat",
        rather_than="tabby",
    )
    vit = core.open_model("vit-a")
    view, framing = given(vit)
    target = core.rather_than(*map(vit.labels.index, ("Egyptian cat", "tabby")))
    found = core.explain(vit, view, "gradient_rollout", target, framing=framing).relevance
    wanted = core.faithfulness(vit, view, found, target, framing=framing, steps=2)
    line = next(t for t in figures(app)[0]["data"] if t.get("name") == "Gradient rollout")
    assert line["y"] == pytest.approx(wanted.deletion.tolist(), abs=1e-5)
    areas = app.dataframe[0].value.set_index("map")
    assert areas.loc["Gradient rollout", "difference"] == pytest.approx(wanted.difference, abs=1e-3)
    assert app.metric[0].label.startswith("Egyptian cat rather than tabby, ")
    assert any("step is 4, expected 0 to 2" in w.value for w in app.warning)
    kept = application.shown_by(app).arrays["curves-gradient-rollout-vit-a"]
    assert repr(target) in kept.code


@pytest.mark.usefixtures("few_passes")
def test_randomization_of_a_class_rather_than_another() -> None:
    app = start(
        question="randomization",
        measured="yes",
        look=["net-a:cam"],
        m=["net-a"],
        rather_than="tabby",
    )
    cnn = core.open_model("net-a")
    view, framing = given(cnn)
    target = core.rather_than(*map(cnn.labels.index, ("Egyptian cat", "tabby")))
    wanted = core.randomization(cnn, view, "cam", target, framing=framing)
    [trace] = figures(app)[0]["data"]
    assert trace["y"] == pytest.approx([1.0, *wanted.rank_correlation.tolist()], abs=1e-6)
    assert np.array_equal(
        application.shown_by(app).arrays["randomized-cam-net-a"].values,
        wanted.relevance,
    )


def test_a_class_rather_than_itself_is_said() -> None:
    app = start(rather_than="Egyptian cat")
    assert any("is the class itself" in w.value for w in app.warning)
    assert app.metric[0].label.endswith("Egyptian cat")


# -- curves, randomization, pointing ---------------------------------------------------------------


def test_nothing_is_measured_before_it_is_asked_for() -> None:
    app = start(question="curves")
    assert not figures(app)
    assert app.button(key="measure").label == "Measure"


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as many random maps, which take long."""
    monkeypatch.setattr(measurements, "SEEDS", range(5))


@pytest.fixture
def few_steps(few_draws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves of two steps."""
    monkeypatch.setattr(measurements, "STEPS", 2)


def test_measuring_ends_with_a_second_click_although_the_button_is_still_the_old_one() -> None:
    app = start(question="randomization")
    app.query_params["measured"] = "yes"  # as the address is while it is computed
    app.session_state["_session"].screen = Screen.from_address(
        "evidence", {"question": ["randomization"], "measured": ["yes"]}
    )[0]
    app.button(key="measure").click().run()
    assert "measured" not in healthy(app).query_params


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws", "few_passes")
def test_curves_are_those_of_core_and_chance_is_beside_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measurements, "STEPS", 4)
    cnn, vit = map(core.open_model, ("net-a", "vit-a"))
    view, framing = given(vit, cnn)
    answer = core.predict(vit, view, framing=framing).labels[0]
    app = start(
        question="curves",
        measured="yes",
        m=["net-a", "vit-a"],
        classes=answer,
        maps=["vit-a:rollout"],
        fill="mean",
    )
    cnn_curves, vit_curves = figures(app)[:2]
    rollout = core.explain(vit, view, "rollout", framing=framing).relevance
    target = vit.labels.index(answer)
    wanted = core.faithfulness(vit, view, rollout, target, framing=framing, fill="mean", steps=4)
    lines = {t["name"]: t for t in vit_curves["data"] if t.get("name") and t.get("showlegend")}
    assert set(lines) == {"random, mean of 5", "center", "edges", "Attention rollout"}
    assert lines["Attention rollout"]["y"] == pytest.approx(wanted.deletion.tolist(), abs=1e-5)
    assert any(t.get("name") == "CAM" for t in cnn_curves["data"])
    areas = app.dataframe[1].value.set_index("map")
    assert areas.loc["Attention rollout", "difference"] == pytest.approx(
        wanted.difference, abs=1e-3
    )
    word, _, rivals = areas.loc["Attention rollout", "chance"].partition(" · ")
    assert word in ("yes", "no")
    assert [text.split(":")[0] for text in rivals.split(" · ")] == [
        "random order",
        "from the center outward",
        "edges (Sobel)",
    ]
    assert not areas.loc["center", "chance"]
    app.segmented_control(key="screen-curve").set_value("insertion").run()
    assert healthy(app).metric[0].value == f"{wanted.insertion[4]:.1%}"


def test_randomization_begins_with_the_intact_map() -> None:
    app = start(question="randomization", measured="yes")
    correlations = figures(app)[0]
    assert len(correlations["data"]) == 2
    for trace in correlations["data"]:
        assert trace["y"][0] == 1.0
        assert abs(trace["y"][-1]) < 0.9
    depths = [len(trace["y"]) for trace in correlations["data"]]
    assert depths == [
        1 + len(core.depths_of(core.open_model(m))) for m in ("efficientnet-lite0", "dinov2-small")
    ]
    assert sum("of the mass falls on prefix tokens" in c.value for c in app.caption) == 1
    assert sum("from its minimum to its 99th percentile" in c.value for c in app.caption) == 2


@pytest.mark.usefixtures("few_passes")
def test_randomization_of_a_method_that_draws_says_how_much_two_draws_agree() -> None:
    """Its own seed is another one than that of the weights."""
    app = start(
        question="randomization",
        measured="yes",
        m=["net-a", "vit-a"],
        look=["net-a:smooth_grad:count=1,seed=7", "vit-a"],
    )
    said = [c.value for c in app.caption if "uses random draws" in c.value]
    assert len(said) == 1
    assert "two draws on the intact model correlate at 0." in said[0]
    [line] = [
        shape
        for shape in figures(app)[0]["layout"]["shapes"]
        if shape["line"].get("dash") == "dash"
    ]
    assert f"correlate at {line['y0']:.2f}" in said[0]


def test_shares_of_a_map_without_a_zero_are_not_shown() -> None:
    app = start(
        question="pointing",
        four=["chelsea", "coffee", "camera", "rocket"],
        cnn_map="rise",
        **{"cnn_map.count": "2"},
    )
    assert any("RISE with these parameters has no meaningful zero" in i.value for i in app.info)


def test_four_pictures_show_the_share_of_each_quarter() -> None:
    four = ["chelsea", "coffee", "camera", "rocket"]
    app = start(question="pointing", four=four)
    cnn = core.open_model("efficientnet-lite0")
    first = figures(app)[0]
    said = [note["text"] for note in first["layout"]["annotations"]]
    assert len(said) == 4
    assert "Egyptian cat" in said[0]
    vit = core.open_model("dinov2-small")
    images = [core.read_image(ROOT / "data" / "samples" / f"{name}.jpg") for name in four]
    views = [core.shared_view((vit, cnn), image, core.Framing("crop")) for image in images]
    targets = [cnn.labels.index(text.split("</b>")[0][3:]) for text in said]
    shares = core.grid_pointing(cnn, views, targets, "cam", framing=core.Framing("given"))
    assert [
        f"{share:.0%} of the map" in text for share, text in zip(shares, said, strict=True)
    ] == [True] * 4


def test_what_no_map_shows_is_said_of_each_quarter() -> None:
    app = start(question="pointing", four=["chelsea", "coffee", "camera", "rocket"])
    said = [c.value for c in app.caption if "of the mass falls on prefix tokens" in c.value]
    assert [text.split(".")[0] for text in said] == [
        "**Upper left",
        "**Upper right",
        "**Lower left",
        "**Lower right",
    ]


def test_four_pictures_in_full_screen() -> None:
    four = ["chelsea", "coffee", "camera", "rocket"]
    app = start(question="pointing", four=four, large="pointing-1.2")
    assert not app.warning
    assert [len(figure["layout"]["annotations"]) for figure in figures(app)] == [4, 4]
    assert len(app.get("bidi_component")) == 1


def test_three_pictures_are_not_enough() -> None:
    app = start(question="pointing", four=["chelsea", "coffee", "camera"])
    assert any("Choose four" in i.value for i in app.info)


def test_models_without_classes_are_told_of() -> None:
    app = start(vit="dinov2-small", classes="no such class")
    assert any("no such class" in w.value for w in app.warning)


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
def test_compare_says_whether_a_map_beats_chance_when_it_is_asked() -> None:
    app = application.fresh().run()
    assert not any("chance" in c.value for c in app.caption)
    app.button(key="check").click().run()
    said = [c.value.replace("\\", "") for c in healthy(app).caption if "chance" in c.value]
    assert len(said) == 2
    for line in said:
        assert "better than chance (random order" in line
        assert "from the center outward" in line
        assert "edges (Sobel)" in line
        assert "5 random orders" in line


def test_another_question_is_not_measured_before_it_is_asked_to_be() -> None:
    app = start(question="pointing", four=[], measured="yes")
    app.segmented_control(key="screen-question").set_value("randomization").run()
    assert "measured" not in healthy(app).query_params
    assert not figures(app)
    assert app.button(key="measure").label == "Measure"
