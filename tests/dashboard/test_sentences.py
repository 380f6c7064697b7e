"""What the application says: no markup as text, no word that a program wrote for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import core
from core.models.spec import read_catalog
from dashboard import rows
from dashboard.display import Display
from dashboard.registry import pages
from dashboard.screen import fields
from dashboard.text import ordinal
from tests import sentences
from tests.support.application import figures, healthy, start
from tests.support.builders import GIVEN, built, picture

# -- the list of all sentences --------------------------------------------------------------------


def test_every_page_and_every_field_of_few_values_is_walked() -> None:
    walked = {name for names in sentences.OF_PAGE.values() for name in names}
    few = {name for name in fields() if sentences.choices(name)}
    assert sentences.OF_PAGE.keys() == set(pages())
    assert walked == few
    seen = list(sentences.states())
    assert {page for page, _ in seen} == set(pages())
    for name in few:
        given = {value for _, query in seen for key, value in query.items() if key == name}
        default = fields()[name].model_fields[name].default
        usual = {True: "yes", False: "no"}.get(default, default)
        assert {v for v in sentences.choices(name) if v != usual} <= given, name
    for _, query in sentences.MORE:
        assert query


def test_nothing_that_the_code_can_say_is_wrong() -> None:
    texts = [
        (place, text)
        for folder in ("core", "dashboard", "pages")
        for place, text in sentences.written(folder)
    ]
    assert len(texts) > 500
    found = {place: problem for place, text in texts if (problem := sentences.problems(text))}
    assert found == {}


OPENED: list[tuple[str, dict[str, str]]] = [
    *((page, {}) for page in pages()),
    ("attention", {"tab": "several"}),
    ("attention", {"tab": "joint", "clip": "81"}),
]


@pytest.mark.parametrize(("page", "query"), OPENED, ids=[f"{p}-{len(q)}" for p, q in OPENED])
def test_no_page_says_anything_wrong(page: str, query: dict[str, str]) -> None:
    said = list(sentences.shown(healthy(start(page, **query))))
    assert len(said) > 20
    assert [text for text in said if sentences.problems(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "Salt &amp;amp; pepper",
        "the the map",
        "a  gap",
        "0.30000000000000004 of it",
        "layer None",
        "nan %",
        "both trained on not stated.",
        "its 81th percentile",
    ],
)
def test_wrong_sentences_would_be_seen(text: str) -> None:
    assert sentences.problems(text)
    assert not sentences.problems("Its 11th layer, 99.5th percentile: 0.25 of “none”.")


# -- what was wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said"),
    [(80, "80th"), (81, "81st"), (92, "92nd"), (83, "83rd"), (99.5, "99.5th"), (100, "100th")],
)
def test_a_percentile_is_said_as_people_say_it(number: float, said: str) -> None:
    assert ordinal(number) == said
    assert ordinal(11) == "11th"


@pytest.mark.parametrize(
    ("chosen", "fusion", "said"),
    [
        ("auto", "mean", "replaced by their neighbors' median, as “Auto” in Display does"),
        ("auto", "min", "kept, as “Auto” in Display does"),
        ("keep", "mean", "kept."),
        ("replace", "min", "replaced by their neighbors' median."),
    ],
)
def test_the_sentence_on_bright_patches_says_what_display_says(
    chosen: str, fusion: str, said: str
) -> None:
    found = core.explain(
        built("timm").model, picture(4, 4), "rollout", framing=GIVEN, fusion=fusion
    )
    single = np.zeros(found.relevance.shape, bool)
    single[0, 0] = True
    _, sentence = rows.without_spikes(
        found, Display(0.6, "Inferno", False, 99.0, True, chosen), single
    )
    assert said in sentence


def own_model(folder: Path, *lines: str) -> core.ModelSpec:
    """A model of one's own, with these lines in its entry."""
    file = folder / "models.toml"
    basis = ['id = "a"', 'family = "cnn"', 'architecture = "resnet18"', 'weights = "a.pth"']
    file.write_text("[[model]]\n" + "\n".join([*basis, *lines]), encoding="utf-8")
    return read_catalog(file, own=True)[0]


def trained(folder: Path) -> Iterator[tuple[str, str]]:
    """What is said of entries that tell more and less."""
    yield own_model(folder, 'pretraining = "our parts"', 'trained_on = "k"').training, "our parts"
    yield own_model(folder, 'trained_on = "parts-2026"').training, "parts-2026"
    yield own_model(folder).training, "data not named in its entry"


def test_data_that_an_entry_does_not_name_are_no_data_of_that_name(tmp_path: Path) -> None:
    for said, wanted in trained(tmp_path):
        assert said == wanted


@pytest.mark.parametrize(
    ("image", "again"), [("no-such-sample", False), ("own-0123456789abcdef0123", True)]
)
def test_only_a_picture_that_was_uploaded_is_to_be_uploaded_again(image: str, again: bool) -> None:
    [warning] = healthy(start(image=image)).warning
    assert ("Upload it again" in warning.value) is again


def test_names_above_several_pictures_are_no_markup() -> None:
    [figure] = [
        found
        for found in figures(healthy(start("attention", tab="several")))
        if any("<br>" in str(text) for text in found["layout"]["xaxis"].get("ticktext", []))
    ]
    names = figure["layout"]["xaxis"]["ticktext"]
    assert len(names) >= 4
    assert all("<br><b>" in name for name in names)
    assert not any("&lt;" in name or "&amp;amp;" in name for name in names)
