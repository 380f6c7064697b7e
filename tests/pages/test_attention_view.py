"""A page's view is made without Streamlit, and its files are those of the page's buttons."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from streamlit.runtime.scriptrunner import get_script_run_ctx

import core
from dashboard import render
from dashboard.view import View
from pages.attention.channels import Channels
from pages.attention.every_patch import PanelMaps, small_enough
from pages.attention.grid import EveryMap
from pages.attention.joint import JointMaps
from pages.attention.layer import Matrix, OneLayer, OneQuery
from pages.attention.several import Several
from pages.attention.similarity import Similarity
from pages.attention.view import AttentionView


def rendered(page: str, **query: Any) -> View:
    """What ``python -m dashboard.render`` makes of a link, in a thread without a session."""

    def make() -> View:
        assert get_script_run_ctx(suppress_warning=True) is None
        [wanted] = render.read(f"/{page}?{urlencode(query, doseq=True)}")
        return render.view(wanted)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


# -- Attention ------------------------------------------------------------------------------------


def attention(**query: Any) -> AttentionView:
    found = rendered("attention", **({"image": "coffee"} | query))
    assert isinstance(found, AttentionView)
    return found


@pytest.mark.parametrize(
    ("query", "kind", "figures"),
    [
        ({"query": "r4c7"}, EveryMap, ["query-grid", "prefix-table", "grid-maps"]),
        (
            {"tab": "layer", "layer": "3", "head": "2", "mass": "0.3"},
            OneLayer,
            ["query-layer", "large-map", "small-maps", "small-masks"],
        ),
        ({"tab": "layer", "matrix": "yes"}, OneLayer, ["attention-matrix"]),
        ({"tab": "joint", "discard": "0.5"}, JointMaps, ["large-joint", "small-joints"]),
        (
            {"tab": "channels", "scale": "shared"},
            Channels,
            ["channels", "strongest-feature-0", "strongest-feature-1"],
        ),
        (
            {"tab": "similarity", "query": "r4c7"},
            Similarity,
            ["query-similarity", "cosines", "components"],
        ),
        ({"tab": "several", "several": ["coffee", "camera"]}, Several, ["several"]),
    ],
)
def test_every_tab_of_attention(query: dict[str, Any], kind: type[Any], figures: list[str]) -> None:
    view = attention(**query)
    assert isinstance(view.tab, kind)
    assert not view.problems
    assert list(view.figures) == figures
    assert view.arrays


def test_what_the_model_answers_is_kept_of_the_models_that_are_asked() -> None:
    assert list(attention().answers) == ["dinov2-small"]
    both = attention(tab="channels", sides=["dinov2-small", "efficientnet-lite0"])
    assert list(both.answers) == ["dinov2-small", "efficientnet-lite0"]
    assert attention(tab="several").answers == {}, "other pictures than the scene's"


def test_what_attention_cannot_show_is_told() -> None:
    view = attention(transformer="gone", tab="layer", layer="77", head="77", query="r99c0")
    assert view.problems == (
        "transformer is 'gone', which is not among the vision transformers shown (m); shown "
        "instead: dinov2-small.",
        "layer is 77, expected 0 to 11; shown at the end.",
        "head is 77, but this model has heads 0 to 5; shown instead: the mean over the heads.",
        "query is row 99, column 0, but this picture has 16 × 16 patches counted from 0; no patch "
        "is chosen.",
    )
    assert isinstance(view.tab, OneLayer)
    assert (view.tab.layer, view.tab.head, view.tab.query.patch) == (11, None, None)
    assert isinstance(view.tab.shown, OneQuery)


def unpacked(panel: PanelMaps) -> np.ndarray:
    """The maps as a browser reads them."""
    packed = panel.packed
    values = np.frombuffer(base64.b64decode(packed["values"]), "<i2") * packed["step"]
    places = packed["rows"] * packed["cols"]
    return values.reshape(places, packed["rows"], packed["cols"])


def test_maps_that_follow_the_pointer_are_those_of_a_click() -> None:
    view = attention(tab="similarity", query="r4c7")
    assert isinstance(view.tab, Similarity)
    followed = view.tab.followed
    assert followed is not None
    assert (followed.chart, followed.query) == ("cosines", "query-similarity")
    clicked = [found.values for name, found in view.arrays.items() if name.endswith("cosine")]
    assert len(clicked) == len(followed.panels) == 2
    for values, panel in zip(clicked, followed.panels.values(), strict=True):
        rows, cols = panel.grid
        place = int(4.5 / 16 * rows) * cols + int(7.5 / 16 * cols)
        np.testing.assert_allclose(unpacked(panel)[place], values, atol=1e-4)


@pytest.mark.parametrize("head", [{}, {"head": "2"}])
def test_attention_that_follows_the_pointer_is_that_of_a_click(head: dict[str, str]) -> None:
    view = attention(tab="layer", layer="3", query="r4c7", **head)
    assert isinstance(view.tab, OneLayer)
    assert isinstance(view.tab.shown, OneQuery)
    followed = view.tab.shown.followed
    assert followed is not None
    maps = view.arrays["attention-layer-3"].values
    expected = maps[2] if head else maps.mean(axis=0)
    found = unpacked(followed.panels[0])[4 * 16 + 7]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_many_patches_follow_a_click_only() -> None:
    assert small_enough((16, 16), (26, 26))
    assert not small_enough((16, 16), (27, 27))
    for tab in ("similarity", "layer"):
        shown = attention(tab=tab, size="518").tab
        shown = shown.shown if isinstance(shown, OneLayer) else shown
        assert shown.followed is None


def test_a_matrix_of_more_cells_than_a_browser_shows_is_not_made() -> None:
    view = attention(tab="layer", matrix="yes", size="672")
    assert isinstance(view.tab, OneLayer)
    assert isinstance(view.tab.shown, Matrix)
    assert view.tab.shown.figure is None
    assert "2305 × 2305 cells" in view.tab.shown.note
    assert not view.arrays


def test_without_a_transformer_only_features_are_shown() -> None:
    view = attention(m="efficientnet-lite0")
    assert view.tab is None
    assert not view.figures
    alone = attention(m="efficientnet-lite0", tab="channels")
    assert isinstance(alone.tab, Channels)
    assert [channel.side.model.spec.id for channel in alone.tab.channels] == ["efficientnet-lite0"]


def test_pictures_drawn_at_random_that_cannot_be_read_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "pianos"
    folder.mkdir()
    Image.new("RGB", (60, 40), "teal").save(folder / "whole.png")
    (folder / "broken.png").write_bytes(b"none")
    monkeypatch.setenv("PARALLAX_PICTURES", str(tmp_path))
    view = attention(tab="several", draw="0", drawn="2")
    assert isinstance(view.tab, Several)
    assert view.tab.pictures.source is True
    [picture] = view.tab.pictures.shown
    assert "whole" in picture.name
    [sentence] = view.tab.pictures.unreadable
    assert "broken" in sentence
    assert len(view.arrays) == 1


@pytest.mark.parametrize("head", [None, 2])
def test_the_matrix_is_that_of_the_chosen_head_or_their_mean(head: int | None) -> None:
    chosen = {} if head is None else {"head": str(head)}
    view = attention(tab="layer", matrix="yes", layer="3", **chosen)
    [shown] = [array for name, array in view.arrays.items() if name.startswith("matrix")]
    found = core.attention(core.open_model("dinov2-small"), _seen(view), core.Framing("given"))
    heads = range(found.heads) if head is None else [head]
    layer = int(shown.code.split("matrix(")[1].split(",")[0])
    wanted = np.mean([found.matrix(layer, one) for one in heads], axis=0)
    np.testing.assert_allclose(shown.values, wanted, atol=1e-6)
    assert shown.values.sum(axis=1) == pytest.approx(np.ones(len(wanted)), abs=1e-5)


def _seen(view: View) -> Image.Image:
    """What both models are given."""
    assert view.scene is not None
    models = [core.open_model(model_id) for model_id in view.scene.ids]
    return core.shared_view(models, view.scene.picture.image, view.scene.framing)
