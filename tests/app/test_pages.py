"""Every page by AppTest, on the embedded pair."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("compare", "attention", "gradient_rollout", "activation_maximization")


def start(page: str = "compare", **query: str) -> AppTest:
    """The application on one page, after its first run."""
    app = AppTest.from_file(str(ROOT / "dashboard" / "Home.py"), default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page != "compare":
        app.switch_page(f"../pages/{page}.py").run()
    return app


def healthy(app: AppTest) -> AppTest:
    """Fail on a traceback or an error box."""
    assert not app.exception, app.exception
    assert not app.error, [e.value for e in app.error]
    return app


def figures(app: AppTest) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def heat(figure: dict) -> dict:
    """The heat map trace of a figure."""
    return next(trace for trace in figure["data"] if trace["type"] == "heatmap")


@pytest.mark.parametrize("page", PAGES)
def test_each_page_draws_without_a_click(page: str) -> None:
    app = healthy(start(page))
    assert app.header[0].value
    assert any("Sources:" in caption.value for caption in app.caption)


def test_compare_shows_both_maps_on_the_same_view_with_top_five() -> None:
    app = healthy(start())
    shown = figures(app)
    assert len(shown) == 3
    sources = {figure["layout"]["images"][0]["source"] for figure in shown}
    assert len(sources) == 1, "picture and both overlays must show the very same pixels"
    assert len(heat(shown[1])["z"]) == 7
    assert len(heat(shown[2])["z"]) == 16
    tables = app.dataframe
    assert [len(table.value) for table in tables] == [5, 5]
    assert {m.label for m in app.metric} >= {"Rank correlation", "Overlap of top 20 %"}
    assert any("not trained on the same data" in box.value for box in app.info)


def test_class_lists_mark_the_classes_that_a_card_doubts() -> None:
    import core

    card = next(s for s in core.catalog() if s.id == "dinov2-small").card
    for page in ("compare", "gradient_rollout", "activation_maximization"):
        app = healthy(start(page))
        picker = (
            app.multiselect[0]
            if page == "gradient_rollout"
            else app.selectbox(key=("class" if page == "compare" else "maximized"))
        )
        marked = {i for i, name in enumerate(picker.options) if name.endswith("· doubtful")}
        assert marked == card.doubtful
        assert card.class_origin in picker.help
        assert card.doubtful_reason in picker.help
        if page == "gradient_rollout":
            assert not any(card.doubtful_reason in caption.value for caption in app.caption)
            picker.set_value([min(card.doubtful), 285]).run()
            said = [c.value for c in healthy(app).caption if card.doubtful_reason in c.value]
            assert len(said) == 1, "once, below the map of that class"


def test_choosing_a_class_changes_the_class_map_and_not_the_rollout() -> None:
    app = healthy(start(image="cat-beside-cup", fit="whole"))
    app.selectbox(key="class").set_value(285).run()
    cat = figures(healthy(app))
    app.selectbox(key="class").set_value(967).run()
    cup = figures(healthy(app))
    assert heat(cat[1])["z"] != heat(cup[1])["z"]
    assert heat(cat[2])["z"] == heat(cup[2])["z"]


def test_parameters_of_the_model_s_entry_are_the_widgets_defaults() -> None:
    app = healthy(start())
    fusion = next(w for w in app.segmented_control if w.label == "Head fusion")
    assert fusion.value == "min"
    assert any("Fusion min, discard 0, definition paper" in c.value for c in app.caption)


@pytest.mark.parametrize("key", ["cnn_map", "vit_map"])
def test_every_method_draws_on_compare(key: str) -> None:
    app = start()
    for place in range(len(app.selectbox(key=key).options)):
        app.selectbox(key=key).select_index(place).run()
        assert len(figures(healthy(app))) == 3


def test_choices_stand_in_the_address_and_come_from_it() -> None:
    app = healthy(start(vit_map="gradient_rollout", image="coffee"))
    assert app.selectbox(key="vit_map").value == "gradient_rollout"
    assert any("A cup of espresso" in caption.value for caption in app.caption)
    app.selectbox(key="fit").set_value("pad").run()
    assert app.query_params["fit"] in ("pad", ["pad"])


def test_unknown_model_in_the_address_is_one_sentence() -> None:
    app = healthy(start(cnn="resnet-5000"))
    assert any("resnet-5000" in warning.value for warning in app.warning)
    assert len(figures(app)) == 3


def test_model_without_network_falls_back_to_the_embedded_one(monkeypatch) -> None:
    import core.models.sources as sources

    def refuse(spec):
        raise OSError("no route to host")

    monkeypatch.setitem(sources._LOADERS, "torchvision", refuse)
    app = healthy(start(cnn="torchvision/resnet50"))
    assert any("cannot be downloaded" in w.value for w in app.warning)
    assert len(figures(app)) == 3


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_upload_is_shown_and_bad_upload_costs_nothing() -> None:
    app = start()
    upload = next(u for u in app.file_uploader if u.key == "upload")
    upload.set_value(("mine.png", png(Image.new("RGB", (300, 200), "teal")), "image/png")).run()
    healthy(app)
    assert any("mine.png" in c.value for c in app.caption)
    upload = next(u for u in app.file_uploader if u.key == "upload")
    upload.set_value(("broken.png", b"\x89PNG not really", "image/png")).run()
    healthy(app)
    assert any("broken.png" in w.value for w in app.warning)
    assert len(figures(app)) == 3, "the page goes on with what it had"


@pytest.mark.parametrize(
    "view", ["Layers × heads", "One layer", "Joint maps", "Query, key, value", "Several pictures"]
)
def test_every_attention_view_draws(view: str) -> None:
    app = healthy(start("attention", view=view))
    assert figures(app)


def test_drawn_pictures_are_named_by_their_category(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "grand_piano"
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "image_0001.jpg")
    monkeypatch.setenv("PARALLAX_PICTURES", str(tmp_path))
    app = start("attention", view="Several pictures")
    source = next(w for w in app.segmented_control if w.key == "several-source")
    source.set_value("random").run()
    captions = [image.caption for shown in healthy(app).get("image") for image in shown.proto.imgs]
    assert captions == [r"grand piano · image\_0001"]  # escaped: captions are Markdown


def test_attention_works_on_shapes_that_are_not_square() -> None:
    app = healthy(start("attention", image="cat-beside-cup", fit="whole", view="Joint maps"))
    assert figures(app)


def test_gradient_rollout_shows_two_classes_beside_rollout_and_cnn() -> None:
    app = healthy(start("gradient_rollout", image="cat-beside-cup", fit="whole"))
    shown = figures(app)
    assert len(shown) == 7  # rollout, picture, two classes × two models, animation
    assert len(shown[-1]["frames"]) == 20
    table = app.dataframe[0].value
    assert list(table["classes"]) == ["Egyptian cat / espresso"] * 2


def test_activation_maximization_runs_and_reports_seam_energy() -> None:
    app = healthy(start("activation_maximization"))
    app.slider(key="steps").set_value(16)
    next(s for s in app.select_slider if s.label == "Size in pixels").set_value(112)
    next(b for b in app.button if b.label == "Start").click().run(timeout=240)
    healthy(app)
    energies = [m for m in app.metric if m.label == "Seam energy"]
    assert len(energies) == 3
    assert figures(app)[-1]["data"][0]["mode"] == "lines"


def test_matched_pair_is_one_click_away_and_refused_with_a_sentence_offline(monkeypatch) -> None:
    import core.models.sources as sources

    def refuse(spec):
        raise OSError("no route to host")

    for source in ("timm", "torchvision"):
        monkeypatch.setitem(sources._LOADERS, source, refuse)
    app = healthy(start())
    next(b for b in app.button if b.label.startswith("Use the matched pair")).click().run()
    healthy(app)
    assert app.selectbox(key="cnn").value == "torchvision/resnet50"
    assert app.selectbox(key="vit").value == "timm/deit_small_patch16_224.fb_in1k"
    assert sum("cannot be downloaded" in w.value for w in app.warning) == 2
    assert len(figures(app)) == 3


@pytest.mark.parametrize("page", PAGES)
def test_transformer_without_classes_on_every_page(page: str, tmp_path, monkeypatch) -> None:
    import timm
    from safetensors.torch import save_file

    module = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    save_file(module.state_dict(), tmp_path / "plain.safetensors")
    entry = 'id = "plain"\nfamily = "vit"\narchitecture = "vit_tiny_patch16_224"\n'
    own = tmp_path / "models.toml"
    own.write_text(f'[[model]]\n{entry}weights = "plain.safetensors"\n')
    monkeypatch.setenv("PARALLAX_MODELS", str(own))
    app = start(page, vit="plain")
    assert not app.exception, app.exception
    if page == "gradient_rollout":
        [error] = app.error
        assert "trained without classes" in error.value
    else:
        healthy(app)
        assert app.selectbox(key="vit").value == "plain"
