"""One model alone, two of one family and four at once, on every page, by AppTest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import core
from tests.support.application import address, figures, healthy, start, texts

LABELS = Path(core.__file__).resolve().parents[1] / "data" / "labels"
SETS = {
    "one network": ["net-a"],
    "one transformer": ["vit-a"],
    "two networks": ["net-a", "net-b"],
    "two transformers": ["vit-a", "vit-b"],
    "four": ["net-a", "vit-a", "net-b", "vit-b"],
}


@pytest.fixture(autouse=True)
def _own(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_MODELS", str(small))


def maps(app: AppTest, number: int = 0) -> list[dict[str, Any]]:
    """The visible heat maps of a figure, from left to right."""
    figure = json.loads(app.get("plotly_chart")[number].proto.spec)
    traces = [trace for trace in figure["data"] if trace["type"] == "heatmap"]
    return [trace for trace in traces if trace.get("hoverinfo") == "skip"]


PAGES: list[tuple[str, dict[str, Any]]] = [
    ("compare", {}),
    ("gradient_rollout", {}),
    ("attention", {}),
    ("attention", {"tab": "layer"}),
    ("attention", {"tab": "joint"}),
    ("attention", {"tab": "channels"}),
    ("attention", {"tab": "similarity"}),
    ("attention", {"tab": "several", "several": ["coffee", "chelsea"]}),
    ("activation_maximization", {}),
    ("activation_maximization", {"objective": "channel"}),
    ("evidence", {}),
    ("evidence", {"change": "shuffle"}),
    ("evidence", {"question": "curves"}),
    ("evidence", {"question": "randomization", "measured": "yes"}),
    ("evidence", {"question": "pointing", "four": ["chelsea", "coffee", "camera", "rocket"]}),
    ("representation", {}),
    ("representation", {"represents": "distance"}),
    ("representation", {"represents": "ablation"}),
    ("data_set", {}),
]


@pytest.mark.parametrize("models", ["one network", "two transformers", "four"])
@pytest.mark.parametrize(("page", "query"), PAGES)
def test_every_page_takes_any_models(page: str, query: dict[str, Any], models: str) -> None:
    app = healthy(start(page, m=SETS[models], **query))
    assert not app.warning, [w.value for w in app.warning]
    shown = [app.selectbox(key=f"screen-m-{i}").value for i in range(len(SETS[models]))]
    assert shown == SETS[models]


@pytest.mark.parametrize("models", SETS)
def test_compare_has_a_column_for_each_model(models: str) -> None:
    app = healthy(start(m=SETS[models]))
    count = len(SETS[models])
    assert len(maps(app)) == count
    assert [t.value.columns.tolist() for t in app.dataframe].count(
        ["class", "probability"]
    ) == count
    assert len(app.metric) == (2 if count == 2 else 0)
    agreement = [t.value for t in app.dataframe if "map" in t.value]
    assert len(agreement) == (1 if count > 2 else 0)
    if agreement:
        [table] = agreement
        assert table.shape == (count, count + 1)


def test_columns_are_added_moved_and_removed() -> None:
    app = healthy(start(m=["vit-a"]))
    app.selectbox(key="screen-add-vit-a").set_value("rollout").run()
    assert address(app)["look"] == ["vit-a", "vit-a:rollout"]
    first, second = maps(healthy(app))
    app.selectbox(key="screen-add-column").set_value("net-a").run()
    assert address(app)["m"] == ["vit-a", "net-a"]
    assert len(maps(healthy(app))) == 3
    app.button(key="arrow_back-1").click().run()
    assert address(app)["look"] == ["vit-a:rollout", "vit-a", "net-a"]
    assert [maps(app)[i]["z"] for i in (0, 1)] == [second["z"], first["z"]]
    app.button(key="arrow_forward-1").click().run()
    assert address(app)["look"] == ["vit-a:rollout", "net-a", "vit-a"]
    app.button(key="close-1").click().run()
    assert address(app)["m"] == ["vit-a"]
    assert address(app)["look"] == ["vit-a:rollout", "vit-a"]
    app.button(key="close-1").click().run()
    [left] = maps(healthy(app))
    assert left["z"] == second["z"]
    assert "close-0" not in [button.key for button in app.button]


def test_two_definitions_of_one_method_stand_side_by_side() -> None:
    looks = ["vit-a:rollout:fusion=mean", "vit-a:rollout:fusion=max"]
    app = healthy(start(m=["vit-a"], look=looks, spikes="keep"))
    first, second = maps(app)
    assert first["z"] != second["z"]
    model, given = core.open_model("vit-a"), core.Framing("given")
    image = core.read_image(next(s for s in core.samples() if s.id == "cat-beside-cup").path)
    view = core.shared_view([model], image, core.Framing("crop"))
    for fusion, drawn in zip(("mean", "max"), (first, second), strict=True):
        wanted = core.explain(model, view, "rollout", framing=given, fusion=fusion).relevance
        assert np.allclose(drawn["z"], wanted, atol=1e-6)
    [figure] = figures(app)[:1]
    heads = [note["text"] for note in figure["layout"]["annotations"]]
    assert ["fusion mean" in head for head in heads] == [False, True, False]
    assert ["fusion max" in head for head in heads] == [False, False, True]
    assert len(app.metric) == 2


def test_the_list_of_models_changes_what_is_shown() -> None:
    app = healthy(start(m=["net-a", "vit-a"]))
    offered = app.selectbox(key="screen-add-model").options
    assert offered[:2] == ["NET-B", "VIT-B"], "one's own first"
    app.selectbox(key="screen-add-model").set_value("vit-b").run()
    assert address(app)["m"] == ["net-a", "vit-a", "vit-b"]
    app.button(key="icon-remove-model-0").click().run()
    assert address(app)["m"] == ["vit-a", "vit-b"]
    app.selectbox(key="screen-m-1").set_value("net-b").run()
    assert address(app)["m"] == ["vit-a", "net-b"]
    assert len(maps(healthy(app))) == 2


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (["net-a"], "Trained on noise"),
        (["net-a", "vit-a"], "Matched pair: both trained on noise"),
        (["net-a", "net-b"], "Unmatched pair. NET-A: noise."),
        (["net-a", "vit-a", "vit-b"], "the same data only for NET-A and VIT-A"),
    ],
)
def test_what_is_matched_is_said_of_all(models: list[str], said: str) -> None:
    app = healthy(start(m=models))
    assert said in texts(app).replace("\\", "").replace("\u2060", "")


def test_gradient_rollout_has_a_row_for_each_model() -> None:
    app = healthy(start("gradient_rollout", m=SETS["four"]))
    first = [figure["layout"]["annotations"][0]["text"] for figure in figures(app)]
    assert ["Plain rollout" in text for text in first] == [True, True, False, False]
    app.selectbox(key="screen-row-1").set_value("legrad").run()
    assert address(healthy(app))["row"] == ["vit-a:legrad"]


def test_attention_asks_one_of_the_transformers() -> None:
    app = healthy(start("attention", m=SETS["four"]))
    assert app.selectbox(key="screen-transformer").value == "vit-a"
    app.selectbox(key="screen-transformer").set_value("vit-b").run()
    assert address(healthy(app))["transformer"] == ["vit-b"]
    assert any("VIT-B" in caption.value for caption in app.caption)


def test_features_of_any_two_models() -> None:
    app = healthy(start("attention", tab="channels", m=SETS["four"], sides=["vit-b", "vit-a"]))
    labels = [slider.label for slider in app.slider if slider.label.startswith("Block")]
    assert labels == ["Block of VIT-B", "Block of VIT-A"]


def test_evidence_takes_away_the_top_of_any_look() -> None:
    looks = ["net-a:occlusion", "net-a", "vit-a:legrad", "vit-b"]
    models = ["net-a", "vit-a", "vit-b"]
    app = healthy(start("evidence", m=models, look=looks))
    picker = app.selectbox(key="screen-top_of")
    assert len(set(picker.options)) == 4
    assert len(app.metric) == 3
    picker.set_value(0).run()
    assert address(healthy(app))["top_of"] == ["0"]


def test_a_fifth_model_is_refused_in_a_sentence() -> None:
    app = healthy(start(m=["net-a", "net-b", "vit-a", "vit-b", "dinov2-small"]))
    [warning] = app.warning
    assert warning.value.startswith("m in the address")


def test_a_look_of_a_model_that_is_not_shown_is_said() -> None:
    app = healthy(start(m=["net-a"], look=["vit-a:rollout"]))
    [warning] = app.warning
    assert "vit-a" in warning.value
    assert len(maps(app)) == 1
