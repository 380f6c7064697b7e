"""The page Representation, by AppTest, on the embedded pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import core
from pages.representation.inside import Early, Found, Lengths, Removed
from pages.representation.likeness import Likeness, Nearby
from pages.representation.reach import Reach
from pages.representation.view import Representation
from tests.support.application import address, figures, healthy, png, shown_by, start, texts

SIX = [sample.id for sample in core.samples()[:6]]
ANOTHER = {"picture_set": SIX}
"""A set of pictures for which nothing is shipped."""


def shown(**query: Any) -> Representation:
    """What the page shows of an address."""
    view = shown_by(start("representation", **query))
    assert isinstance(view, Representation)
    return view


def test_it_opens_on_results_for_the_samples() -> None:
    app = healthy(start("representation"))
    view = shown_by(app)
    assert isinstance(view, Representation)
    assert isinstance(view.found, Likeness)
    assert not any(button.key == "measure" for button in app.button)
    values, chance = view.arrays["cka"].values
    assert values.shape == (20, 20)
    np.testing.assert_allclose(np.diagonal(values), 1.0, atol=1e-5)
    np.testing.assert_allclose(values, values.T, atol=1e-5)
    assert np.median(chance) < 0.5
    [figure] = figures(app)
    assert np.shape(figure["data"][0]["z"]) == (20, 20)
    told = figure["data"][0]["text"][0][6]
    assert "EfficientNet-Lite0, stage 0" in told
    assert "DINOv2 ViT-S/14, embedding" in told
    assert f"CKA {values[0, 6]:.2f}" in told
    assert f"below {chance[0, 6]:.2f}" in told
    assert "Over 19 pictures" in texts(app)


def test_attention_distance_stands_beside_receptive_fields() -> None:
    app = healthy(start("representation", represents="distance", image="coffee"))
    view = shown_by(app)
    assert isinstance(view, Representation)
    assert isinstance(view.found, Reach)
    distance = view.arrays["attention-distance-dinov2-small"].values
    assert distance.shape == (12, 6)
    assert 0 < distance.min() < distance.max() < 224
    fields = view.arrays["receptive-field-distance-efficientnet-lite0"].values
    assert fields[0] < fields[2], "later stages look further"
    assert [field.title for field in view.found.fields] == ["EfficientNet-Lite0", "DINOv2 ViT-S/14"]
    drawn = [key for key in view.arrays if key.startswith("receptive-field-")]
    assert len(drawn) == 4
    app.slider(key="screen-receptive_layer").set_value(0.0).run()
    early = shown_by(healthy(app))
    assert "receptive-field-stage-0-efficientnet-lite0" in early.arrays
    assert address(app)["receptive_layer"] == ["0"]
    values = early.arrays["receptive-field-stage-0-efficientnet-lite0"].values
    assert 0 < np.count_nonzero(values) < values.size / 20, "a first stage sees little"


def test_lengths_of_tokens_name_outliers() -> None:
    view = shown(represents="norms")
    assert isinstance(view.found, Found)
    cnn, vit = view.found.sides
    assert isinstance(cnn, Lengths)
    assert isinstance(vit, Lengths)
    assert view.arrays["norms-of-patches-dinov2-small"].values.shape == (14, 6)
    assert view.arrays["norms-of-prefix-dinov2-small"].values.shape == (14, 1)
    for one in (cnn, vit):
        assert ("Most outliers in" in one.said) == (one.places is not None)


def test_neighbors_stand_side_by_side() -> None:
    app = healthy(start("representation", represents="neighbors", image="chelsea"))
    view = shown_by(app)
    assert isinstance(view, Representation)
    found = view.found
    assert isinstance(found, Nearby)
    assert view.asked.pictures[found.at].id == "chelsea"
    assert found.chance == pytest.approx(5 / 18)
    assert found.overlap is not None
    assert found.overlap > found.chance
    for side in found.sides:
        assert len(side.pictures) == 5
        assert "chelsea" not in [picture.id for picture in side.pictures]
    sets = [{picture.id for picture in side.pictures} for side in found.sides]
    common = [
        [picture.id in sets[0] & sets[1] for picture in side.pictures] for side in found.sides
    ]
    assert [list(side.common) for side in found.sides] == common
    app.selectbox(key="screen-near_picture").set_value("rocket").run()
    again = shown_by(healthy(app))
    assert isinstance(again, Representation)
    assert isinstance(again.found, Nearby)
    assert again.asked.pictures[again.found.at].id == "rocket"


def test_where_only_the_last_block_was_fitted_the_lens_says_so() -> None:
    app = healthy(start("representation", represents="lens"))
    view = shown_by(app)
    assert isinstance(view, Representation)
    assert isinstance(view.found, Found)
    [vit] = view.found.sides
    assert isinstance(vit, Early)
    answers = view.arrays["early-answers-dinov2-small"].values
    before = (answers[:-1] == answers[-1]).mean(axis=1).max()
    assert bool(vit.rows) == (before >= 0.1)
    assert ("fitted to the last block alone" in vit.said) == (not vit.rows)
    assert "convolutional network" in texts(app)


def test_a_head_that_is_clicked_shows_the_answers_that_change() -> None:
    view = shown(represents="ablation")
    assert isinstance(view.found, Found)
    [vit] = view.found.sides
    assert isinstance(vit, Removed)
    answers = view.arrays["answers-without-heads-dinov2-small"].values
    assert answers.shape == (72, 19)
    chosen = shown(represents="ablation", ablated_part="70")
    assert isinstance(chosen.found, Found)
    [other] = chosen.found.sides
    assert isinstance(other, Removed)
    assert (other.part, other.name) == (70, "block 11, head 4")
    first = [one.before for one in other.changed]
    assert len(first) == sum(one.before != one.after for one in other.changed)
    blocks = shown(represents="ablation", ablated="blocks")
    assert blocks.arrays["answers-without-blocks-dinov2-small"].values.shape == (12, 19)
    assert "convolutional network" in view.found.without[0]


def test_another_set_is_measured_when_asked() -> None:
    app = healthy(start("representation", represents="norms", m="efficientnet-lite0", **ANOTHER))
    view = shown_by(app)
    assert isinstance(view, Representation)
    assert view.waits
    assert not view.figures
    assert "not known yet for these 6 pictures" in texts(app)
    app.button(key="measure").click().run()
    measured = shown_by(healthy(app))
    assert isinstance(measured, Representation)
    assert not measured.waits
    assert address(app)["layers_measured"] == ["yes"]
    samples = [core.read_image(sample.path) for sample in core.samples()[:6]]
    model = core.open_model("efficientnet-lite0")
    views = [core.shared_view([model], image) for image in samples]
    wanted = core.token_norms(model, views, core.Framing("given"))
    found = measured.arrays["norms-of-patches-efficientnet-lite0"].values
    np.testing.assert_allclose(found, wanted.quantiles, rtol=1e-4)
    again = shown(represents="norms", m="efficientnet-lite0", **ANOTHER)
    assert not again.waits, "what is known is shown without a click"


def test_a_set_that_is_too_small_or_gone_is_told() -> None:
    app = start("representation", picture_set=["coffee", "gone", "own-0123456789abcdef0123"])
    said = texts(app)
    assert "'gone', which is unknown here" in said
    assert "no longer held here" in said
    assert "at least 6 are needed" in said
    view = shown_by(app)
    assert isinstance(view, Representation)
    assert len(view.asked.pictures) == len(core.samples())


def test_uploaded_pictures_make_a_set() -> None:
    app = healthy(start("representation", represents="norms", m="efficientnet-lite0"))
    drawn = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3)).astype(np.uint8)
    files = [(f"{i}.png", png(Image.fromarray(one)), "image/png") for i, one in enumerate(drawn)]
    own = len(app.session_state["_session"].own)
    app.file_uploader(key=f"screen-set-upload-{own}").set_value(files).run()
    view = shown_by(healthy(app))
    assert isinstance(view, Representation)
    assert len(view.asked.pictures) == 6
    assert [picture.name for picture in view.asked.pictures] == [name for name, *_ in files]
    assert len(address(app)["picture_set"]) == 6
