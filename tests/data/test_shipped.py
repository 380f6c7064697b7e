"""Figures that are shipped were measured with the weights that are shipped."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

import core
from core.paths import DATA, SWEEPS, WEIGHTS
from dashboard import opening, render
from data.recipes.describe_files import maps_table
from data.recipes.head_samples import on_samples
from pages.activation_maximization import examples, make_examples
from pages.compare import make_stills
from pages.representation import make_results, shipped
from pages.representation.view import Representation

PAIR = ("efficientnet-lite0", "dinov2-small")


@pytest.fixture(scope="module")
def digests() -> dict[str, str]:
    return {name: core.open_model(name).weights_digest for name in PAIR}


@pytest.fixture(scope="module")
def details() -> dict[str, Any]:
    return json.loads((WEIGHTS / "dinov2-small.card.json").read_text("utf-8"))["details"]


def test_evidence(digests: dict[str, str]) -> None:
    assert json.loads((DATA / "evidence.json").read_text("utf-8"))["weights"] == digests


def test_maps_that_point(digests: dict[str, str], details: dict[str, Any]) -> None:
    """They were measured with these weights, or the document says that it is not known."""
    weights = details["composites"].get("weights")
    assert weights == digests or "earlier fit of the ViT's classes" in maps_table()


def test_answers_to_the_samples(details: dict[str, Any]) -> None:
    now = on_samples(core.open_model("dinov2-small").module)
    assert list(now) == list(details["samples"])
    for name, entry in now.items():
        for model in ("teacher", "student"):
            written = details["samples"][name][model]
            assert [one["name"] for one in entry[model]][:1] == [written[0]["name"]]
            assert [one["probability"] for one in entry[model]] == pytest.approx(
                [one["probability"] for one in written], abs=0.005
            )


def test_the_demonstration_sweep(digests: dict[str, str]) -> None:
    text = (SWEEPS / "demonstration" / "manifest.json").read_text(encoding="utf-8")
    assert all(digest in text for digest in digests.values())


def test_maximized_pictures_were_measured_on_the_shipped_weights(digests: dict[str, str]) -> None:
    found = json.loads((DATA / "maximization_measures.json").read_text(encoding="utf-8"))
    assert found["weights"] == digests
    assert len(found["rows"]) == 2 * 2 * len({row["class"] for row in found["rows"]})


def test_the_gallery_is_of_the_shipped_weights_and_of_its_links(digests: dict[str, str]) -> None:
    facts = json.loads((DATA / "maximizations.json").read_text(encoding="utf-8"))
    assert facts["weights"] == digests
    assert [row["link"] for row in facts["rows"]] == make_examples.links()
    side = facts["side"]
    with Image.open(DATA / "maximizations.jpg") as sheet:
        assert sheet.size == (3 * side, len(facts["rows"]) * side)
    found = examples.examples()
    assert len(found) == 12
    for one in found:
        [wanted] = render.read(one.link)
        assert not wanted.problems
        assert len(one.titles) == len(one.objectives) == len(one.energies) == 3
        of_class = "objective=channel" not in one.link
        assert [len(values) for values in one.wanted.values()] == ([3, 3] if of_class else [])
        assert np.asarray(one.strip).std(axis=(0, 1)).min() > 5, "something is in each"


def test_the_stills_are_of_the_shipped_weights_and_of_all_samples(digests: dict[str, str]) -> None:
    facts = json.loads(opening.FACTS.read_text(encoding="utf-8"))
    assert facts["weights"] == digests
    assert list(facts["samples"]) == [sample.id for sample in core.samples()]
    with Image.open(opening.SHEET) as sheet:
        assert sheet.size == (3 * facts["side"], len(facts["samples"]) * facts["side"])


@pytest.mark.parametrize("sample", [opening.OPENING, "raccoon"])
def test_a_still_shows_what_the_page_makes(sample: str) -> None:
    view = make_stills.made(sample)
    facts = json.loads(opening.FACTS.read_text(encoding="utf-8"))
    titles = [[panel.title, panel.subtitle] for panel in view.row.panels]
    assert facts["samples"][sample] == titles
    row, side = list(facts["samples"]).index(sample), make_stills.SIDE
    with Image.open(opening.SHEET) as sheet:
        shipped = np.asarray(sheet.crop((0, row * side, 3 * side, (row + 1) * side)), np.float32)
    made = np.asarray(make_stills.strip(view), np.float32)
    assert np.abs(shipped - made).mean() < 4
    others = made[:, np.r_[side : 2 * side, 2 * side : 3 * side, :side]]
    assert np.abs(shipped - others).mean() > 8, "panels in another order would be seen"


def test_the_results_of_representation_are_of_the_shipped_weights(
    digests: dict[str, str],
) -> None:
    """Whoever opens the page waits for nothing, and one that is quick is measured again."""
    with np.load(shipped.FILE) as held:
        facts = json.loads(held[shipped.FACTS].tobytes())
    assert facts["weights"] == digests
    for link in make_results.LINKS:
        [wanted] = render.read(link.replace("&layers_measured=yes", ""))
        view = render.view(wanted)
        assert isinstance(view, Representation)
        assert not view.waits, link
        assert view.arrays
    model = core.open_model("efficientnet-lite0")
    views = view.asked.views()
    again = core.token_norms(model, views, core.Framing("given"))
    [wanted] = render.read("/representation?represents=norms")
    kept = render.view(wanted).arrays["norms-of-patches-efficientnet-lite0"]
    np.testing.assert_allclose(kept.values, again.quantiles, rtol=1e-3)
