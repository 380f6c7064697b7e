"""The Attention page by AppTest, on the embedded pair."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from core.representations import component_colors, cosine_map, principal_components
from tests.support import application
from tests.support.application import healthy

ROOT = Path(__file__).resolve().parents[2]
TABS = ("grid", "layer", "joint", "channels", "similarity", "several")


def start(**query: str | list[str]) -> AppTest:
    """The page with an address, after its first run."""
    return application.start("attention", **query)


def figure(app: AppTest, key: str) -> dict:
    return json.loads(chart(app, key).proto.spec)


def chart(app: AppTest, key: str):
    return next(c for c in app.get("plotly_chart") if c.proto.id.endswith(f"-{key}-figure"))


def click(app: AppTest, key: str, data: list[int]) -> AppTest:
    """Click the point with this custom data, as the browser reports it."""
    selected = {"points": [{"customdata": data}], "point_indices": [], "box": [], "lasso": []}
    states = app._tree.get_widget_states()
    state = WidgetState(id=chart(app, key).proto.id)
    state.string_value = json.dumps({"selection": selected})
    states.widgets.append(state)
    return app._run(states)


def widget(app: AppTest, kind: str, label: str):
    return next(w for w in getattr(app, kind) if w.label == label)


def go_to(app: AppTest, tab: str) -> AppTest:
    return app.segmented_control(key="screen-tab").set_value(tab).run()


def outlines(app: AppTest, key: str) -> list[dict]:
    return figure(app, key)["layout"].get("shapes", [])


@pytest.mark.parametrize("tab", TABS)
def test_each_tab_draws_and_every_chart_has_a_text(tab: str) -> None:
    app = healthy(start(tab=tab))
    charts = app.get("plotly_chart")
    assert charts
    assert all(c.proto.alt for c in charts)
    assert not app.warning
    for box in app.selectbox:
        said = box.proto.placeholder if box.value is None else box.value
        assert said != "Choose an option", box.label


def test_a_clicked_patch_stays_on_all_tabs_and_in_the_address() -> None:
    app = click(healthy(start()), "query-grid", [3, 5])
    assert app.query_params["query"] in ("r3c5", ["r3c5"])
    assert len(outlines(app, "query-grid")) == 1
    for tab in ("layer", "similarity"):
        go_to(healthy(app), tab)
        assert len(outlines(app, f"query-{tab}")) == 1
        assert widget(app, "number_input", "Row").value == 3
        assert widget(app, "number_input", "Column").value == 5
    go_to(app, "grid")
    widget(app, "number_input", "Column").set_value(6).run()
    assert app.query_params["query"] in ("r3c6", ["r3c6"])
    widget(app, "radio", "Whose attention").set_value("readout").run()
    assert "query" not in app.query_params
    assert not outlines(app, "query-grid")


def test_a_click_on_a_small_map_opens_it_large() -> None:
    app = healthy(start())
    heads = 6
    app = healthy(click(app, "grid-maps", [3 * (heads + 1) + 2]))
    assert app.segmented_control(key="screen-tab").value == "layer"
    assert widget(app, "slider", "Layer").value == 3
    assert widget(app, "selectbox", "Head").value == 2
    assert "Layer 3, head 2" in json.dumps(figure(app, "large-map"))
    app = healthy(click(app, "small-maps", [heads]))
    assert "Layer 3, mean of the heads" in json.dumps(figure(app, "large-map"))


def test_the_large_map_is_the_row_of_the_matrix() -> None:
    import core
    from core import Framing

    app = healthy(start(tab="layer", layer="4", head="1", query="r2c3"))
    z = next(t for t in figure(app, "large-map")["data"] if t["type"] == "heatmap")["z"]
    sample = next(s for s in core.samples() if s.id == "cat-beside-cup")
    model = core.open_model("dinov2-small")
    found = core.attention(model, core.read_image(sample.path), Framing("crop"))
    row = found.matrix(4, 1)[1 + 2 * 16 + 3, 1:].reshape(16, 16)
    np.testing.assert_allclose(np.array(z), row, atol=1e-6)
    widget(app, "toggle", "Matrix").set_value(True).run()
    spec = json.loads(healthy(app).get("plotly_chart")[-1].proto.spec)
    names = spec["data"][0]["y"]
    assert names[:2] == ["class token", "row 0, column 0"]
    assert len(names) == 257


def test_channels_start_at_the_most_active_and_say_which_it_is() -> None:
    import core
    from core import Framing

    app = healthy(start(tab="channels"))
    boxes = [b for b in app.selectbox if b.label == "Channel"]
    sample = next(s for s in core.samples() if s.id == "cat-beside-cup")
    vit = core.open_model("dinov2-small")
    view = core.shared_view(
        (vit, core.open_model("efficientnet-lite0")),
        core.read_image(sample.path),
        Framing("crop"),
    )
    values = core.features(vit, view, "block.11.output", Framing("given"))
    low, high = np.percentile(values, (10, 90), axis=(1, 2))
    best = int((high - low).argmax())
    assert boxes[1].value == -1
    assert boxes[1].options[0] == f"most contrast: {best}"
    assert f"channel {best}" in json.dumps(figure(app, "channels"))
    app = click(app, "strongest-feature-1", [1])
    assert "dinov2-small:block.11.output:channel=" in str(healthy(app).query_params["feature"])


def test_signed_channels_have_zero_in_the_middle() -> None:
    app = healthy(start(tab="channels", vit_tap="block.5.key", vit_channel="7"))
    maps = [t for t in figure(app, "channels")["data"] if t["type"] == "heatmap"]
    shown = next(t for t in reversed(maps) if t.get("showscale", True))
    assert shown["zmin"] == -shown["zmax"]


def test_similarity_of_a_patch_with_itself_is_one() -> None:
    app = healthy(start(tab="similarity", query="r4c7"))
    maps = [t for t in figure(app, "cosines")["data"] if t.get("showscale", True)]
    cosine = np.array(maps[-1]["z"])
    assert cosine[4, 7] == pytest.approx(1.0, abs=1e-6)
    assert cosine.max() <= 1.0


def png(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), color).save(buffer, "PNG")
    return buffer.getvalue()


def upload(app: AppTest, *colors: str) -> AppTest:
    files = [(f"{color}.png", png(color), "image/png") for color in colors]
    box = next(u for u in app.file_uploader if u.label == "Pictures to add")
    return healthy(box.set_value(files).run())


def test_uploads_survive_switching_the_source(monkeypatch, tmp_path) -> None:
    folder = tmp_path / "grand_piano"
    folder.mkdir()
    for i, color in enumerate(("red", "blue", "lime")):
        (folder / f"image_{i}.png").write_bytes(png(color))
    monkeypatch.setenv("PARALLAX_PICTURES", str(tmp_path))
    app = healthy(start(tab="several", several=["coffee", "camera"]))
    app = upload(app, "teal", "navy")
    pictures = widget(app, "multiselect", "Pictures, up to 8")
    assert len(pictures.value) == 4
    source = next(s for s in app.segmented_control if s.label == "Pictures")
    source.set_value("drawn").run()
    assert "grand piano · image" in chart(healthy(app), "several").proto.alt
    assert app.query_params["draw"] in ("0", ["0"])
    source = next(s for s in app.segmented_control if s.label == "Pictures")
    source.set_value("chosen").run()
    assert len(widget(healthy(app), "multiselect", "Pictures, up to 8").value) == 4
    assert "teal.png" in chart(app, "several").proto.alt


def test_without_a_folder_nothing_is_said_of_one(monkeypatch) -> None:
    monkeypatch.delenv("PARALLAX_PICTURES", raising=False)
    app = healthy(start(tab="several"))
    assert not any(s.label == "Pictures" for s in app.segmented_control)
    assert "PARALLAX" not in str(app)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"query": "r99c0"}, "query"),
        ({"query": "here"}, "query"),
        ({"tab": "layer", "head": "77"}, "head"),
        ({"tab": "layer", "layer": "77"}, "layer"),
        ({"tab": "channels", "vit_channel": "4000"}, "feature"),
        ({"tab": "channels", "cnn_tap": "stage.77"}, "feature"),
        ({"tab": "similarity", "vit_tap": "block.77.key"}, "feature"),
        ({"tab": "joint", "fusion": "sum"}, "fusion"),
        ({"tab": "several", "several": ["coffee", "own-gone"]}, "several"),
        ({"tab": "several", "several": ["coffee", "nothing"]}, "several"),
    ],
)
def test_a_bad_value_is_one_sentence(query: dict, word: str) -> None:
    app = healthy(start(**query))
    assert len(app.warning) == 1
    assert app.warning[0].value.replace("\\", "").startswith(word)
    assert app.get("plotly_chart")


def test_cosines_and_components_on_small_arrays() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, 4, 3)).astype(np.float32)
    cosine = cosine_map(features, (2, 1))
    flat = features.reshape(5, -1)
    there = features[:, 2, 1]
    wanted = there @ flat / np.linalg.norm(flat, axis=0) / np.linalg.norm(there)
    np.testing.assert_allclose(cosine.ravel(), wanted, atol=1e-6)
    assert cosine[2, 1] == pytest.approx(1.0)
    components, shares = principal_components(features)
    _, values, directions = np.linalg.svd(flat.T - flat.T.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(shares, (values**2 / (values**2).sum())[:3], atol=1e-5)
    along = (flat.T - flat.T.mean(axis=0)) @ directions[:3].T
    np.testing.assert_allclose(np.abs(components.reshape(3, -1).T), np.abs(along), atol=1e-4)
    tall, _ = principal_components(np.repeat(features, 4, axis=0))  # more channels than places
    np.testing.assert_allclose(tall, components * 2, atol=1e-3)
    peaks = np.abs(components).reshape(3, -1).argmax(axis=1)
    assert (components.reshape(3, -1)[range(3), peaks] > 0).all()
    colors = component_colors(components)
    assert colors.shape == (4, 3, 3)
    assert colors.min() >= 0
    assert colors.max() <= 1
    blank, none = principal_components(np.ones((4, 2, 2)))
    assert not blank.any()
    assert not none.any()
    assert (component_colors(blank) == 0.5).all()


def test_tokens_before_the_patches_are_named_as_the_model_holds_them() -> None:
    from types import SimpleNamespace

    import torch
    from torch import nn

    from pages.attention.words import prefix_names, prefix_text

    def model(prefix: int, **counts: int) -> SimpleNamespace:
        module = nn.Module()
        for name, count in counts.items():
            module.register_parameter(name, nn.Parameter(torch.zeros(1, count, 8)))
        return SimpleNamespace(module=module, prefix=prefix)

    assert prefix_text(model(1, cls_token=1)) == "class token"
    assert prefix_text(model(5, cls_token=1, reg_token=4)) == "class token and 4 registers"
    assert prefix_names(model(3, cls_token=1, register_tokens=2))[2] == "register 2"
    assert prefix_text(model(2, cls_token=1, dist_token=1)) == "class token and distillation token"
    assert prefix_text(model(2, cls_token=1)) == "2 tokens before the patches"


def test_another_layer_lets_go_of_the_channel() -> None:
    app = healthy(start(tab="channels", cnn_channel="70", vit_channel="79"))
    widget(app, "selectbox", "Layer of EfficientNet-Lite0").set_value("stage.0").run()
    assert not healthy(app).warning
    assert app.query_params["feature"] == [
        "efficientnet-lite0:stage.0",
        "dinov2-small::channel=79",
    ]
