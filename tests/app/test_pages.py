"""The frame, Compare, and what holds on every page, by AppTest, on the embedded pair."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import core
from dashboard import cache
from dashboard.looks import Look
from dashboard.opening import OPENING
from dashboard.registry import pages
from dashboard.text import plain
from tests.support.application import (
    address,
    healthy,
    hold_no_own_pictures,
    png,
    start,
    texts,
    upload,
)
from tests.support.builders import FEW_PASSES
from tests.support.hub import playing

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(pages())
OF_MODELS = tuple(page for page in PAGES if page not in ("data_set", "review"))
"""Pages that ask models about a picture."""


MODELS = ("efficientnet-lite0", "dinov2-small")


def panels(app: AppTest) -> list[dict[str, Any]]:
    """The visible heat maps of the first figure, from left to right."""
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    traces = [trace for trace in figure["data"] if trace["type"] == "heatmap"]
    return [trace for trace in traces if trace.get("hoverinfo") == "skip"]


@pytest.mark.parametrize("page", OF_MODELS)
def test_each_page_draws_without_a_click(page: str) -> None:
    app = healthy(start(page, image=None))
    assert len(app.title) == 1
    assert any("Sources:" in caption.value for caption in app.caption)
    assert not app.warning


def test_the_bare_address_opens_with_its_own_picture_and_others_keep_theirs() -> None:
    app = healthy(start(image=None))
    opened = next(sample for sample in core.samples() if sample.id == OPENING)
    assert any(opened.title in caption.value for caption in app.caption)
    assert any(plain(opened.note) in caption.value for caption in app.caption)
    before = healthy(start(image=None, clip="95"))
    assert any("A cat beside a cup" in caption.value for caption in before.caption)


def test_compare_asks_both_models_the_same_question() -> None:
    app = healthy(start())
    cam, rollout = panels(app)
    assert np.shape(cam["z"]) == (7, 7)
    assert np.shape(rollout["z"]) == (16, 16)
    assert cam["zmin"] == rollout["zmin"] == 0
    assert cam["colorscale"] == rollout["colorscale"], "one language of color for both maps"
    assert cam["colorscale"][0][1].endswith(", 0.000)"), "the picture is plain where a map is zero"
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert len({image["source"] for image in figure["layout"]["images"]}) == 1
    assert figure["layout"]["xaxis2"]["matches"] == "x", "zoom moves all panels"
    titles = [annotation["text"] for annotation in figure["layout"]["annotations"]]
    assert sum("Egyptian cat · " in title and " %, " in title for title in titles) == 2
    assert [len(table.value) for table in app.dataframe] == [5, 5]
    assert {m.label for m in app.metric} == {"Rank correlation", "Overlap of top 20 %"}
    assert any("cannot be attributed to the architectures" in e.label for e in app.expander)


def test_what_speaks_against_a_class_is_shown_when_it_is_asked_for() -> None:
    app = healthy(start())
    cam, rollout = panels(app)
    plain_colors = cam["colorscale"]
    app.toggle(key="screen-against").set_value(True).run()
    signed, same = panels(healthy(app))
    assert signed["zmin"] == -signed["zmax"]
    middle = len(signed["colorscale"]) // 2
    assert signed["colorscale"][middle][1].endswith(", 0.000)")
    assert signed["z"] == cam["z"]
    assert (same["colorscale"], same["zmin"]) == (plain_colors, 0), "nothing speaks against there"
    assert rollout["z"] == same["z"]


@pytest.mark.parametrize(
    ("image", "classes", "said"),
    [
        ("retina", [], "None of the classes fits this picture"),
        ("coffee", ["ostrich"], "such a map explains almost nothing"),
    ],
)
def test_maps_that_explain_little_say_so(image: str, classes: list[str], said: str) -> None:
    app = healthy(start(image=image, classes=classes))
    assert any(said in note.value for note in app.info)


def test_a_class_of_which_both_models_are_sure_needs_no_warning() -> None:
    app = healthy(start(image="coffee"))
    assert not app.info


@pytest.mark.slow
def test_a_map_without_a_zero_keeps_its_own_scale_where_others_are_compared() -> None:
    """An address of before, whose RISE is the paper's, beside CAM on a shared scale."""
    app = healthy(start(scale="shared", vit_map="rise", **{"vit_map.count": "3"}))
    assert not app.warning
    cam, rise = panels(app)
    assert np.min(cam["z"]) >= 0, "multiples of the mean of what is positive"
    assert np.min(rise["z"]) > 0
    assert rise["zmax"] < 1.5 < np.max(cam["z"])
    assert any("Its zero has no meaning" in c.value for c in app.caption)
    assert any("Definition paper" in c.value or "definition paper" in c.value for c in app.caption)
    picked = healthy(app.selectbox(key="screen-look-1").set_value("occlusion").run())
    assert address(picked)["look"] == ["efficientnet-lite0", "dinov2-small:occlusion"]


def test_pointing_at_a_place_reads_both_maps() -> None:
    figure = json.loads(start().get("plotly_chart")[0].proto.spec)
    readings = [trace["text"] for trace in figure["data"] if trace.get("opacity") == 0.0]
    assert len(readings) == 3
    assert readings[0] == readings[1] == readings[2]
    first = readings[0][0][0]
    assert "row 0, column 0" in first
    assert first.count("of its largest") == 2


def test_automatic_class_is_named_and_follows_one_rule() -> None:
    app = healthy(start())
    picker = app.selectbox(key="screen-classes")
    assert picker.value == ""
    assert picker.format_func("") == "automatic: Egyptian cat"
    for fit in ("whole", "pad"):
        app.selectbox(key="screen-fit").set_value(fit).run()
        assert app.selectbox(key="screen-classes").format_func("") == "automatic: Egyptian cat"
    app.selectbox(key="screen-size").set_value("336").run()
    assert app.selectbox(key="screen-classes").format_func("") == "automatic: Egyptian cat"


def test_a_chosen_class_is_pinned_by_name() -> None:
    app = healthy(start())
    app.selectbox(key="screen-classes").set_value("espresso").run()
    assert address(app)["classes"] == ["espresso"]
    app.selectbox(key="screen-fit").set_value("whole").run()
    assert app.selectbox(key="screen-classes").value == "espresso"
    app.selectbox(key="screen-look-1").set_value("rollout").run()
    assert app.selectbox(key="screen-classes").value == "espresso"


def test_class_lists_hold_names_only() -> None:
    options = start().selectbox(key="screen-classes").options
    labels = core.open_model("efficientnet-lite0").labels
    assert set(options[1:]) == set(labels)
    assert options[1:3] == ["Egyptian cat", "espresso"], "what the picture shows comes first"


def test_a_doubtful_class_is_said_below_its_map() -> None:
    card = next(s for s in core.catalog() if s.id == "dinov2-small").card
    labels = core.open_model("dinov2-small").labels
    assert card.doubtful_reason not in texts(start())
    app = healthy(start(classes=labels[min(card.doubtful)]))
    assert texts(app).count(card.doubtful_reason) == 1
    assert card.class_origin in app.selectbox(key="screen-classes").help


def test_choosing_a_class_changes_the_class_maps_and_not_plain_rollout() -> None:
    app = healthy(start(fit="whole", vit_map="rollout"))
    cat = panels(app)
    app.selectbox(key="screen-classes").set_value("espresso").run()
    cup = panels(healthy(app))
    assert cat[0]["z"] != cup[0]["z"]
    assert cat[1]["z"] == cup[1]["z"]


def test_parameters_start_from_the_models_own_and_stand_in_the_address() -> None:
    app = healthy(start(vit_map="rollout"))
    fusion = next(w for w in app.segmented_control if w.label == "Head fusion")
    assert fusion.value == "min"
    assert "Fusion min, discard 0, definition paper" in texts(app)
    fusion.set_value("max").run()
    assert address(app)["look"] == ["efficientnet-lite0", "dinov2-small:rollout:fusion=max"]
    assert "Fusion max" in texts(healthy(app))
    app.selectbox(key="screen-look-1").set_value("attention").run()
    assert address(app)["look"][1] == "dinov2-small:attention", "parameters belong to their method"


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_every_method_draws_on_compare(number: int) -> None:
    model_id = MODELS[number]
    offered = start().selectbox(key=f"screen-look-{number}").options
    methods = [m for m in core.methods(core.open_model(model_id)) if m.title in offered]
    blind = [m for m in core.methods(core.open_model(model_id)) if not m.class_specific]
    assert len(methods) + len(blind) == len(offered)
    for method in [*methods, *blind]:
        few = [(k, str(v)) for k, v in sorted(FEW_PASSES.get(method.name, {}).items())]
        looks = [Look(one) for one in MODELS]
        looks[number] = Look(model_id, method.name, tuple(few))
        app = healthy(start(look=[look.text for look in looks]))
        assert app.selectbox(key=f"screen-look-{number}").value == method.name
        assert not app.warning
        assert len(panels(app)) == 2


def test_display_choices_change_what_is_drawn() -> None:
    app = healthy(start(vit_map="rollout"))
    own = [panel["zmax"] for panel in panels(app)]
    app.segmented_control(key="screen-scale").set_value("shared").run()
    shared = panels(healthy(app))
    assert shared[0]["zmax"] == shared[1]["zmax"] != own[1]
    app.segmented_control(key="screen-blend").set_value("brightness").run()
    figure = json.loads(healthy(app).get("plotly_chart")[0].proto.spec)
    assert len({image["source"] for image in figure["layout"]["images"]}) == 3
    assert address(app) == {
        "image": ["cat-beside-cup"],
        "look": ["efficientnet-lite0", "dinov2-small:rollout"],
        "scale": ["shared"],
        "blend": ["brightness"],
    }


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"cnn": "resnet-5000"}, "resnet-5000"),
        ({"image": "nothing"}, "nothing"),
        ({"image": "own-0123456789abcdef0123"}, "no longer held here"),
        ({"classes": "a unicorn"}, "a unicorn"),
        ({"vit_map": "magic"}, "magic"),
        ({"vit_map__discard": "2"}, "discard"),
        ({"vit_map__fusion": "min"}, "fusion"),
        ({"vit_map": "legrad", "vit_map__layers": "0-99999999999"}, "look-1.layers"),
        ({"vit_map": "legrad", "vit_map__layers": "7-3"}, "look-1.layers"),
        ({"opacity": "7"}, "opacity"),
        ({"view": "One layer"}, "view"),
    ],
)
def test_a_bad_address_is_one_sentence_and_the_page_goes_on(
    query: dict[str, str], said: str
) -> None:
    app = healthy(start(**query))
    [warning] = app.warning
    assert said in warning.value.replace("\\", "")
    assert len(panels(app)) == 2


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No host answers, and no library has stored anything."""
    import requests

    def fail(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr("requests.Session.send", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))


def told(app: AppTest, count: int = 1) -> list[str]:
    """Run again until so many sentences tell of failed downloads."""
    deadline, sentences = time.monotonic() + 10, []
    while len(sentences) < count:
        assert time.monotonic() < deadline
        sentences += [w.value for w in app.warning if "cannot be downloaded" in w.value]
        app.run()
    return sentences


@pytest.mark.usefixtures("no_network")
def test_model_without_network_leaves_the_page_as_it_was() -> None:
    app = healthy(start(cnn="torchvision/resnet50"))
    assert "m" not in address(app), "the list is put back at once"
    assert app.selectbox(key="screen-m-0").value == "efficientnet-lite0"
    assert len(panels(app)) == 2
    [sentence] = told(app)
    assert "download.pytorch.org cannot be reached" in sentence.replace("\\", "")
    app.query_params["cnn"] = "torchvision/resnet50"
    healthy(app.run())
    assert "cannot be downloaded" in app.warning[0].value, "remembered for a while"
    assert app.selectbox(key="screen-m-0").value == "efficientnet-lite0"


@pytest.mark.usefixtures("no_network")
def test_a_model_that_could_not_be_fetched_is_tried_again_by_a_click(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = healthy(start(cnn="torchvision/resnet50"))
    told(app)
    begun: list[str] = []
    really = core.download

    def begin(model_id: str) -> core.Download:
        begun.append(model_id)
        return really(model_id)

    monkeypatch.setattr(core, "download", begin)
    app.run()
    assert not begun, "a rerun does not try again"
    assert retries(app) == ["Retry ResNet-50 (torchvision)"]
    app.button(key="retry-torchvision/resnet50").click()
    healthy(app.run())
    assert begun == ["torchvision/resnet50"]
    told(app)
    assert retries(app) == ["Retry ResNet-50 (torchvision)"]
    assert len(panels(healthy(app))) == 2


@pytest.mark.usefixtures("no_network")
def test_a_model_that_is_known_no_longer_is_not_offered_again() -> None:
    app = healthy(start(cnn="torchvision/resnet50"))
    told(app)
    assert len(retries(app)) == 1
    from dashboard.pending_downloads import Pending

    pending = app.session_state["_session"].kept[Pending]
    pending.missed = {"own-gone": "", **pending.missed}
    assert retries(healthy(app.run())) == ["Retry ResNet-50 (torchvision)"]
    assert list(pending.missed) == ["torchvision/resnet50"]


def retries(app: AppTest) -> list[str]:
    labels = [button.label.replace("\\", "") for button in app.button]
    return [label for label in labels if label.startswith("Retry")]


@pytest.mark.usefixtures("no_network")
def test_matched_pair_is_one_click_away() -> None:
    app = healthy(start())
    next(b for b in app.button if b.label == "Use a matched pair").click().run()
    assert len(set(told(app, 2))) == 2
    assert len(panels(healthy(app))) == 2


def test_a_download_is_shown_and_can_be_canceled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    """While a hub says nothing, the page is as it was; nobody waits for it after a cancel."""
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    wanted = "timm/vit_small_patch16_224.augreg_in1k"
    healthy(start())  # what is slow the first time comes before the hub is asked
    with playing() as hub:
        hub.manner = "silent"
        hub.files["timm/vit_small_patch16_224.augreg_in1k/model.safetensors"] = b"x"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        app = healthy(start(vit=wanted))
        assert app.selectbox(key="screen-m-1").value == "dinov2-small"
        assert core.download(wanted).state == "waiting"
        app.button(key="cancel-0").click().run()
        assert not healthy(app).warning
        assert "cancel-0" not in [button.key for button in app.button]


def test_pictures_of_ones_own_are_kept_and_a_bad_file_costs_nothing() -> None:
    app = start()
    upload(app, "mine.png", png(Image.new("RGB", (300, 200), "teal")))
    assert "Picture: mine.png" in texts(healthy(app))
    [mine] = address(app)["image"]
    assert mine.startswith("own-")
    upload(app, "broken.png", b"\x89PNG not really")
    [warning] = healthy(app).warning
    assert "broken.png" in warning.value
    assert address(app)["image"] == [mine], "the page goes on with what it had"
    upload(app, "second.png", png(Image.linear_gradient("L")))
    assert not healthy(app).warning, "an error is said once"
    app.button(key="pick-coffee").click().run()
    assert address(app)["image"] == ["coffee"]
    app.button(key=f"pick-{mine}").click().run()
    assert "Picture: mine.png" in texts(healthy(app))
    upload(app, "second.png", png(Image.linear_gradient("L")))
    assert "Picture: second.png" in texts(healthy(app)), "the same file after another picture"


def test_several_pictures_at_once_and_one_of_them_removed() -> None:
    app = start()
    files = [
        ("teal.png", png(Image.new("RGB", (300, 200), "teal")), "image/png"),
        ("photo.jpg", b"\0\0\0\x18ftypheic" + bytes(40), "image/jpeg"),
        ("IMG_1 [tiny].png", png(Image.new("RGB", (90, 40), "navy")), "image/png"),
    ]
    app.file_uploader(key="screen-upload").set_value(files).run()
    said = "\n".join(w.value for w in healthy(app).warning)
    assert "photo.jpg is a HEIC photograph" in said
    assert "Only 90 × 40 pixels" in said
    [tiny] = address(app)["image"]
    remove = app.selectbox(key="screen-remove-own")
    assert remove.options == ["teal.png", "IMG_1 [tiny].png"], "no Markdown is read there"
    remove.set_value(tiny).run()
    assert address(healthy(app))["image"] == [OPENING]
    assert app.selectbox(key="screen-remove-own").options == ["teal.png"]
    assert cache.own_pictures().get(tiny) is None
    assert "no longer held" not in "\n".join(w.value for w in app.warning)
    app.query_params["image"] = tiny
    assert "Upload it again" in "\n".join(w.value for w in app.run().warning)


def test_pictures_that_newer_ones_pushed_out_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (png(Image.effect_noise((200, 200), sigma)) for sigma in (40, 80))
    monkeypatch.setattr(cache.own_pictures(), "budget", max(len(one), len(two)) + 1000)
    hold_no_own_pictures(monkeypatch)
    app = upload(start(), "one.png", one)
    upload(app, "two.png", two)
    [said] = [w.value for w in healthy(app).warning]
    assert said.startswith("1 of your pictures is no longer held here")
    assert "Picture: two.png" in texts(app)
    assert not healthy(app.run()).warning, "it is said once"


@pytest.mark.parametrize("page", OF_MODELS)
def test_transformer_without_classes_on_every_page(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file

    module = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    save_file(module.state_dict(), tmp_path / "plain.safetensors")
    entry = 'id = "plain"\nfamily = "vit"\narchitecture = "vit_tiny_patch16_224"\n'
    own = tmp_path / "models.toml"
    own.write_text(f'[[model]]\n{entry}weights = "plain.safetensors"\n')
    monkeypatch.setenv("PARALLAX_MODELS", str(own))
    app = healthy(start(page, vit="plain"))
    assert app.selectbox(key="screen-m-1").value == "plain"


@pytest.mark.parametrize("page", ["compare", "gradient_rollout", "activation_maximization"])
def test_network_without_classes_on_every_page(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file

    module = timm.create_model("test_resnet", num_classes=0)
    save_file(module.state_dict(), tmp_path / "plain.safetensors")
    entry = 'id = "bare"\nfamily = "cnn"\narchitecture = "test_resnet"\n'
    own = tmp_path / "models.toml"
    own.write_text(f'[[model]]\n{entry}weights = "plain.safetensors"\n')
    monkeypatch.setenv("PARALLAX_MODELS", str(own))
    app = healthy(start(page, cnn="bare"))
    if page == "compare":
        assert "trained without classes" in texts(app)
        assert len(panels(app)) == 1, "the other model's map stays"


# -- what is kept, and how it is shown ------------------------------------------------------------


def viewers(app: AppTest) -> list[dict[str, Any]]:
    """What each open full-screen viewer shows."""
    found = [one.proto for one in app.get("bidi_component")]
    return [json.loads(one.json) for one in found if one.component_name == "parallax_lightbox"]


def test_cached_explanation_holds_no_copy_of_the_picture() -> None:
    healthy(start(image="astronaut"))
    held = [value for value in cache.results().values() if isinstance(value, core.Explanation)]
    assert len(held) >= 2
    assert {explanation.view.size for explanation in held} == {(1, 1)}


def test_full_screen_is_opened_by_an_address() -> None:
    assert not viewers(healthy(start()))
    app = healthy(start(large="compare.2"))
    assert len(panels(app)) == 2, "the page below it stays"
    [shown] = viewers(app)
    assert shown["first"] == 2
    assert [one["title"] for one in shown["panels"]] == [
        "Picture",
        "EfficientNet-Lite0",
        "DINOv2 ViT-S/14",
    ]
    assert not viewers(healthy(start(large="compare.7")))
    app = start(large="<script>")
    assert any("large in the address" in w.value for w in app.warning)
