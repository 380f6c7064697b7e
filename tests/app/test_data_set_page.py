"""The data-set page over made-up rows and over a small real sweep, by AppTest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pyarrow as pa
import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

import core
from core import sweep
from dashboard import application, cache
from tests.support.application import address, healthy, start, texts
from tests.support.rows import synthetic

COUNT = 128
CNN, VIT = "EfficientNet-Lite0", "DINOv2 ViT-S/14"
OTHER_VIT = "timm/deit_tiny_patch16_224.fb_in1k"
THREE = ("efficientnet-lite0", "dinov2-small", OTHER_VIT)
PAIR_LAYOUT = Path(__file__).resolve().parents[1] / "support" / "sweeps" / "pair-layout"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's folder: made-up rows, and three samples through the embedded pair."""
    place = tmp_path_factory.mktemp("sweeps")
    synthetic(place / "made-up", COUNT, parts=2)
    pictures = tmp_path_factory.mktemp("pictures")
    for sample in core.samples()[:3]:
        os.link(sample.path, pictures / sample.path.name)
    sweep.run(sweep.Plan(str(pictures), target="shared"), place / "real")
    synthetic(place / "three", COUNT, parts=2, models=THREE)
    synthetic(place / "alone", COUNT, parts=2, models=("dinov2-small",))
    shutil.copytree(PAIR_LAYOUT, place / "of-before")
    return place


@pytest.fixture(autouse=True)
def _offered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_SWEEPS", str(folder))


@pytest.fixture
def made_up() -> Iterator[AppTest]:
    return healthy(start("data_set", sweep="made-up"))


def figure(app: AppTest, label: str) -> str:
    return next(str(metric.value) for metric in app.metric if metric.label == label)


def cards(app: AppTest) -> list[str]:
    """Keys of the buttons of the gallery."""
    return [str(button.key) for button in app.button if button.label == "Look closer"]


def test_figures_scatter_classes_and_gallery(made_up: AppTest) -> None:
    assert figure(made_up, "Pictures") == str(COUNT)
    assert {m.label for m in made_up.metric} >= {
        "Same first answer",
        f"{CNN} right",
        f"{VIT} right",
    }
    traces = json.loads(made_up.get("plotly_chart")[0].proto.spec)["data"]
    assert sum(len(trace["customdata"]) for trace in traces) <= COUNT
    assert {trace["name"] for trace in traces} == {"same answer", "different answers"}
    assert len(cards(made_up)) == 12
    assert not made_up.warning


def test_which_model_is_better_is_a_sentence_with_an_interval(made_up: AppTest) -> None:
    def said() -> str:
        [sentence] = [m.value for m in made_up.markdown if " points (95 % interval " in m.value]
        return str(sentence).replace("\\", "")

    before = said()
    assert before.startswith(f"**{VIT} is right ")
    [table] = [d.value for d in made_up.dataframe if "Calibration error" in d.value]
    assert table["Model"].tolist() == [CNN, VIT]
    assert table["Right"].str.fullmatch(r"[\d.]+% \([\d.]+% to [\d.]+%\)").all()
    assert table["Calibration error"].between(0, 1).all()
    healthy(made_up.multiselect(key="screen-where").set_value(["same_answer=no"]).run())
    assert said() != before


def test_a_filter_counts_everywhere_and_stands_in_the_address(made_up: AppTest) -> None:
    before = cards(made_up)
    made_up.multiselect(key="screen-where").set_value(["same_answer=no"]).run()
    healthy(made_up)
    assert address(made_up)["where"] == ["same_answer=no"]
    left, of, every = figure(made_up, "Pictures").split()
    assert (of, every) == ("of", str(COUNT))
    assert 0 < int(left) < COUNT
    assert figure(made_up, "Same first answer") == "0%"
    assert cards(made_up) != before
    traces = json.loads(made_up.get("plotly_chart")[0].proto.spec)["data"]
    assert {trace["name"] for trace in traces} == {"different answers"}


def selected(app: AppTest, element: Any, **what: Any) -> AppTest:
    """What a browser sends when something is selected in a chart or a table."""
    held = app._tree.get_widget_states()
    selection = {"points": [], "point_indices": [], "box": [], "lasso": [], "rows": [], **what}
    text = json.dumps({"selection": selection})
    held.widgets.append(WidgetState(id=element.proto.id, string_value=text))
    return healthy(app._run(held))


def test_a_box_in_the_scatter_filters_and_a_click_looks_closer(made_up: AppTest) -> None:
    box = {"x": [0.6, 0.2], "y": [-0.5, 0.5]}
    selected(made_up, made_up.get("plotly_chart")[0], box=[box])
    assert address(made_up)["where"] == [
        "divergence>=0.2",
        "divergence<=0.6",
        "correlation>=-0.5",
        "correlation<=0.5",
    ]
    assert 0 < int(figure(made_up, "Pictures").split()[0]) < COUNT
    selected(made_up, made_up.get("plotly_chart")[0], points=[{"customdata": [7]}])
    assert address(made_up)["picked"] == ["7"]


def test_a_class_that_is_selected_filters(made_up: AppTest) -> None:
    table = made_up.dataframe[0]
    name = table.value["name"].iloc[2]
    selected(made_up, table, rows=[2])
    assert address(made_up)["where"] == [f"label={name}"]


def test_orders_and_leaves(made_up: AppTest) -> None:
    first = cards(made_up)
    made_up.selectbox(key="screen-order").set_value("listed").run()
    assert cards(healthy(made_up)) != first
    second = healthy(start("data_set", sweep="made-up", order="listed", leaf="2"))
    assert not set(cards(second)) & set(cards(made_up))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"sweep": "nothing"}, "nothing"),
        ({"sweep": "../../etc"}, "etc"),
        ({"sweep": "own-0123456789abcdef0123"}, "own-0123456789abcdef0123"),
        ({"sweep": "made-up", "where": "magic>1"}, "magic>1"),
        ({"sweep": "made-up", "where": "divergence>high"}, "high"),
        ({"sweep": "made-up", "x": "magic"}, "magic"),
        ({"sweep": "made-up", "leaf": "999"}, "999"),
        ({"sweep": "made-up", "picked": "999"}, "999"),
        ({"sweep": "made-up", "order": "magic"}, "order"),
        ({"sweep": "made-up", "order": "wrong"}, "order"),
        ({"sweep": "alone", "order": "vit_right"}, "order"),
        ({"sweep": "alone", "x": "divergence"}, "divergence"),
        ({"sweep": "three", "sweep_first": "magic"}, "magic"),
    ],
)
def test_a_bad_address_is_one_sentence_and_the_page_goes_on(
    query: dict[str, str], said: str
) -> None:
    app = healthy(start("data_set", **query))
    [warning] = app.warning
    assert said in warning.value.replace("\\", "")
    assert app.metric


def test_a_broken_folder_is_one_line_and_a_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made-up").symlink_to(folder / "made-up")
    for name, content in (("a-broken", '{"version": 1}'), ("b-broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(content, encoding="utf-8")
    monkeypatch.setenv("PARALLAX_SWEEPS", str(tmp_path))
    app = healthy(start("data_set"))
    assert figure(app, "Pictures") == str(COUNT)
    options = app.selectbox(key="screen-sweep").options
    assert [o for o in options if "broken" in o] == [
        "a-broken · cannot be opened",
        "b-broken · cannot be opened",
    ]
    app.selectbox(key="screen-sweep").set_value("a-broken").run()
    [warning] = healthy(app).warning
    assert "a-broken" in warning.value
    assert not app.metric


def test_a_damaged_thumbnail_or_map_is_said_at_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import parquet

    made = synthetic(tmp_path / "damaged", COUNT, parts=2)
    for name, column, value in (
        ("pictures", "thumbnail", b"no picture"),
        ("maps", "shape", [10**9, 1]),
    ):
        table = parquet.read_table(made.part(0, name))
        place = table.schema.get_field_index(column)
        field = table.field(place)
        values = pa.array([value] * len(table), field.type)
        parquet.write_table(table.set_column(place, field, values), made.part(0, name))
    monkeypatch.setenv("PARALLAX_SWEEPS", str(tmp_path))
    app = healthy(start("data_set", sweep="damaged", order="listed"))
    assert len(cards(app)) == 12
    said = "".join(element.proto.body for element in app.get("html"))
    assert said.count("thumbnail of this picture is damaged") == 12


def test_the_looks_of_a_sweep_of_others_are_decoded_in_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of a foreign Parquet file meets a decoder here: neither thumbnail nor original."""
    asked: list[int] = []
    strange = core.read_untrusted_images

    def noted(files: object, *given: object) -> object:
        asked.append(len(files))  # type: ignore[arg-type]
        return strange(files, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(core, "read_untrusted_images", noted)
    application.end()  # what was decoded before is not held
    healthy(start("data_set", sweep="made-up", order="listed", leaf="3"))
    assert asked == [12]


def test_a_sweep_can_be_stopped_and_gone_on_with() -> None:
    def keys(app: AppTest) -> set[str | None]:
        return {button.key for button in app.button}

    app = healthy(start("data_set", sweep="samples"))
    assert "stop-sweep" in keys(app)
    assert not app.checkbox(key="keep-sweep").value
    run = cache.made_sweeps().get("samples")
    assert run is not None
    app.button(key="stop-sweep").click().run()
    assert "go-on-with-sweep" in keys(healthy(app))
    assert run.wait(60)
    assert not run.finished
    assert "go-on-with-sweep" in keys(healthy(app.run())), "looking does not begin it"
    assert cache.made_sweeps().get("samples") is run
    app.button(key="go-on-with-sweep").click().run()
    assert "stop-sweep" in keys(healthy(app))
    again = cache.made_sweeps().get("samples")
    assert again is not None
    assert again is not run
    assert not again.stopped
    app.checkbox(key="keep-sweep").check().run()
    assert again.readers.keeps("test session id")
    app.button(key="stop-sweep").click().run()
    assert again.wait(60)
    healthy(app)


def test_no_picture_left_is_said() -> None:
    app = healthy(start("data_set", sweep="made-up", where="divergence>2"))
    assert any("No picture passes" in info.value for info in app.info)
    assert figure(app, "Same first answer") == "–"


def test_a_picture_whose_original_is_gone_is_still_shown() -> None:
    app = healthy(start("data_set", sweep="made-up", order="listed"))
    app.button(key=cards(app)[0]).click().run()
    healthy(app)
    [picked] = address(app)["picked"]
    [warning] = app.warning
    assert "may have been moved" in warning.value
    assert any("top 5" in text.value for text in app.markdown)
    app.button(key="close-picked").click().run()
    assert "picked" not in address(healthy(app))
    assert f"pick-{picked}" in cards(app)


def test_a_picture_opens_on_the_other_pages_as_it_was_swept(folder: Path) -> None:
    found = sweep.open_sweep(folder / "real")
    [row] = found.read("pictures", [1], ["path"])
    of_the_cnn, _ = found.read("maps", [1], ["target", "scale"])
    app = healthy(start("data_set", sweep="real", picked="1"))
    assert not app.warning
    links = [link.proto for link in app.get("page_link") if "picked=1" in link.proto.query_string]
    pages = {link.page: link.query_string for link in links}
    assert {"compare", "attention", "gradient_rollout", "activation_maximization"} <= {
        name.strip("/") or "compare" for name in pages
    }
    query = next(text for text in pages.values() if "image=own-" in text)
    image = query.split("image=")[1].split("&")[0]
    compare = healthy(start(image=image, classes=of_the_cnn["target"], cnn_map="cam"))
    assert f"Picture: {row['path']}" in texts(compare).replace("\\", "")
    spec = json.loads(compare.get("plotly_chart")[0].proto.spec)
    maps = [t for t in spec["data"] if t["type"] == "heatmap" and t.get("hoverinfo") == "skip"]
    largest = max(abs(value) for line in maps[0]["z"] for value in line)
    assert largest == pytest.approx(of_the_cnn["scale"], rel=1e-3)


def test_what_is_not_shown_is_said() -> None:
    app = healthy(start("data_set", sweep="real"))
    said = "\n".join(text.value for text in app.markdown)
    assert "are a chosen set" in said
    assert "unmatched" in said
    assert "fitted to one labeled photograph of each" in said


# -- any number of models, and sweeps of before ---------------------------------------------------


def names_of_models(app: AppTest) -> set[str]:
    """Models that figures are said to be of."""
    return {m.label.removesuffix(" right") for m in app.metric if m.label.endswith(" right")}


def test_of_three_models_the_reader_picks_which_are_compared() -> None:
    app = healthy(start("data_set", sweep="three"))
    assert names_of_models(app) == {CNN, VIT}
    assert not app.warning
    before = figure(app, "Same first answer")
    app.selectbox(key="screen-sweep_first").set_value(OTHER_VIT).run()
    healthy(app)
    assert address(app)["sweep_first"] == [OTHER_VIT]
    assert address(app)["sweep_second"] == ["dinov2-small"]
    assert names_of_models(app) == {"DeiT-Ti/16", VIT}
    assert figure(app, "Same first answer") != before
    again = healthy(
        start("data_set", sweep="three", sweep_first=OTHER_VIT, sweep_second="dinov2-small")
    )
    assert figure(again, "Same first answer") == figure(app, "Same first answer")
    assert cards(again) == cards(app)
    said = "".join(element.proto.body for element in app.get("html"))
    assert "DeiT-Ti/16 Gradient rollout" in said
    app.button(key=cards(app)[0]).click().run()
    tops = [text.value for text in healthy(app).markdown if "top 5" in text.value]
    assert len(tops) == 3, "all models answer for the picture that is looked at closer"


def test_the_same_model_twice_leaves_the_one_that_was_chosen() -> None:
    app = healthy(start("data_set", sweep="three", sweep_second="efficientnet-lite0"))
    assert names_of_models(app) == {CNN, VIT}
    app = healthy(start("data_set", sweep="three", sweep_first="dinov2-small"))
    assert names_of_models(app) == {CNN, VIT}


def test_a_picture_opens_with_the_models_that_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where both are transformers; no model is shown that was not swept."""
    data = next(one for one in core.samples() if one.id == "coffee").path.read_bytes()
    monkeypatch.setattr(cache, "original", lambda *_: data)
    both = [OTHER_VIT, "dinov2-small"]
    app = start("data_set", sweep="three", sweep_first=both[0], sweep_second=both[1], picked="1")
    queries = [link.proto.query_string for link in healthy(app).get("page_link")]
    found = parse_qs(next(query for query in queries if "image=own-" in query))
    assert found["m"] == both
    assert [text.split(":")[0] for text in found["look"]] == both


def test_one_model_alone_is_compared_with_nothing() -> None:
    app = healthy(start("data_set", sweep="alone"))
    assert not app.warning
    assert names_of_models(app) == {VIT}
    assert not {m.label for m in app.metric} & {"Same first answer", "Rank correlation, median"}
    assert len(cards(app)) == 12
    app.button(key=cards(app)[0]).click().run()
    assert "picked" in address(healthy(app))


@pytest.mark.parametrize("name", ["of-before", "made-up", "three", "alone"])
def test_no_name_of_the_page_says_cnn_or_vit(name: str) -> None:
    """Titles of models name them; of which kind they are does not tell them apart."""
    app = healthy(start("data_set", sweep=name, order="listed", picked="0"))
    names = [m.label for m in app.metric] + [b.label for b in app.button]
    names += [option for box in app.main.selectbox for option in box.options]
    names += [str(app.multiselect(key="screen-where").options)]
    names += [element.proto.body for element in app.get("html") if "sweep-" in element.proto.body]
    for text in names:
        words = text.replace("ViT-S/14", "").split()
        assert not {"CNN", "ViT", "CNN's", "ViT's"} & set(words), text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"where": "vit_right=yes"}, "3 of 4"),
        ({"where": "correlation__cnn_cam__vit_rollout>0.7"}, "1 of 4"),
        ({"where": "cnn_answer=jaguar"}, "1 of 4"),
        ({"where": "same_answer=yes", "order": "listed"}, "3 of 4"),
        ({"x": "vit_pca_1", "y": "overlap__cnn_cam__vit_rollout"}, "4"),
        ({"x": "correlation__cnn_cam__cnn_grad_cam", "y": "deletion__vit_rollout"}, "4"),
    ],
)
def test_an_address_of_before_shows_what_it_showed(query: dict[str, str], said: str) -> None:
    app = healthy(start("data_set", sweep="of-before", **query))
    assert not app.warning
    assert figure(app, "Pictures") == said
    traces = json.loads(app.get("plotly_chart")[0].proto.spec)["data"]
    assert sum(len(trace["customdata"]) for trace in traces) == min(3, int(said.split()[0]))


@pytest.mark.parametrize("order", ["vit_right", "cnn_right"])
def test_orders_of_before_are_those_of_now(order: str) -> None:
    named = "second_right" if order == "vit_right" else "first_right"
    before = healthy(start("data_set", sweep="made-up", order=order))
    now = healthy(start("data_set", sweep="made-up", order=named))
    assert cards(before) == cards(now) != []
    assert not before.warning


def test_a_picture_of_a_sweep_of_before_opens_on_the_other_pages() -> None:
    app = healthy(start("data_set", sweep="of-before", picked="1"))
    [warning] = app.warning
    assert "may have been moved" in warning.value
    said = "".join(element.proto.body for element in app.get("html"))
    assert f"{CNN} CAM" in said
    assert f"{VIT} {core.find_method('rollout').title}" in said


def test_a_filter_that_contradicts_a_chosen_one_is_not_offered(made_up: AppTest) -> None:
    offered = made_up.multiselect(key="screen-where").options
    kept = healthy(start("data_set", sweep="made-up", where=["same_answer=no"]))
    left = kept.multiselect(key="screen-where").options
    [chosen] = [text for text in left if text.startswith("Same first answer")]
    assert chosen.endswith("= no")
    assert len(left) == len(offered) - 1


def test_the_side_bar_says_what_it_is_for_here(made_up: AppTest) -> None:
    said = "A sweep has its own pictures and models."
    assert any(said in caption.value for caption in made_up.caption)
    assert not any(said in caption.value for caption in start("compare").caption)
