"""Cards: what is known of one model, read from data and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import CatalogError
from core.models.cards import Card, Measurement, read_card
from core.models.spec import ModelSpec, catalog, read_catalog
from core.models.storage import is_stored
from core.paths import ROOT, WEIGHTS
from tests.support.alone import alone

FULL = {
    "class_origin": "Its classes are ours.",
    "caveats": ["It has seen no cats.", "Nor dogs."],
    "measurements": [
        {"what": "Right", "on": "parts", "value": 0.8, "error": 0.02, "count": 1200},
        {"what": "Right", "on": "screws", "value": 0.4, "count": 20},
        {"what": "Found", "on": "the belt", "value": 1},
    ],
    "doubtful": [3, 5],
    "doubtful_reason": "It saw one picture of this class: distrust its map.",
    "details": {"anything": ["at", "all"]},
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "parts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_a_card_is_read_whole(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, FULL))
    assert card.measurements == (
        Measurement("Right", "parts", 0.8, 0.02, 1200),
        Measurement("Right", "screws", 0.4, count=20),
        Measurement("Found", "the belt", 1),
    )
    assert card.summary == (
        "Its classes are ours. It has seen no cats. Nor dogs. "
        "Right: 80% ± 2% of 1,200 parts, 40% of 20 screws. Found: 100% on the belt."
    )
    assert card.doubts(3) == card.doubts(5) == FULL["doubtful_reason"]
    assert card.doubts(4) == card.doubts(None) == ""
    assert hash(card) == hash(read_card(tmp_path / "parts.json"))


def test_nothing_is_known_without_a_card(tmp_path: Path) -> None:
    assert Card() == read_card(write(tmp_path, {}))
    assert (Card().summary, Card().doubts(0)) == ("", "")
    assert ModelSpec("mine", "Mine", "vit", "local", "x").card == Card()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ([1], r"holds \[1\], expected an object"),
        ({"caveat": ["x"]}, "unknown key 'caveat'"),
        ({"class_origin": 3}, "has 3 as 'class_origin', expected a text"),
        ({"class_origin": " "}, "expected a text"),
        ({"caveats": "x"}, "expected a list of texts"),
        ({"doubtful": [1, -1], "doubtful_reason": "x"}, "expected a list of class indices"),
        ({"doubtful": [True], "doubtful_reason": "x"}, "expected a list of class indices"),
        ({"doubtful": [1]}, "state why under 'doubtful_reason'"),
        ({"measurements": [3]}, "expected a list of objects"),
        ({"measurements": [{"what": "x", "on": "y"}]}, "measurement 1 has no 'value'"),
        ({"measurements": [{"what": "x", "on": "y", "value": 42}]}, "number from 0 to 1"),
        ('{"measurements": [{"what": "x", "on": "y", "value": NaN}]}', "number from 0 to 1"),
        ({"measurements": [{"rate": 0.4}]}, "measurement 1 has the unknown key 'rate'"),
    ],
)
def test_a_wrong_card_is_refused_with_a_sentence(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(CatalogError, match=f"^The card 'parts.json'.*{said}") as caught:
        read_card(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_card_of_one_s_own_lies_beside_the_catalog_file(tmp_path: Path) -> None:
    entry = '[[model]]\nid = "m"\nfamily = "cnn"\narchitecture = "resnet18"\nweights = "m.pth"\n'
    models = tmp_path / "models.toml"
    models.write_text(f'{entry}card = "parts.json"\n', "utf-8")
    with pytest.raises(CatalogError, match=r"'parts\.json' cannot be read"):
        read_catalog(models, own=True)
    write(tmp_path, FULL)
    (spec,) = read_catalog(models, own=True)
    assert spec.card.class_origin == "Its classes are ours."
    assert hash(spec)
    models.write_text(f"{entry}card = 3\n", "utf-8")
    with pytest.raises(CatalogError, match="'card' is 3"):
        read_catalog(models, own=True)


def test_only_the_model_with_a_card_has_doubts() -> None:
    cards = {spec.id: spec.card for spec in catalog()}
    known = cards.pop("dinov2-small")
    assert known == read_card(WEIGHTS / "dinov2-small.card.json")
    assert known.class_origin
    assert 0 < len(known.doubtful) < 1000
    assert set(cards.values()) == {Card()}


def test_code_knows_no_model_by_name() -> None:
    """What is said of a model stands in the catalog and on its card.

    Addresses of before meant two models by name, whatever the catalog holds by now.
    """
    names = {n for s in catalog() if s.source == "embedded" for n in (s.id, s.title)}
    for folder in ("core", "dashboard", "pages"):
        for path in (ROOT / folder).rglob("*.py"):
            if path == ROOT / "dashboard" / "earlier.py":
                continue
            text = path.read_text("utf-8")
            assert not [name for name in names if name in text], path


def test_stored_weights_are_found_without_loading_them(tmp_path: Path) -> None:
    assert is_stored("embedded", "any", "efficientnet-lite0.safetensors")
    assert not is_stored("embedded", "any", "missing.safetensors")
    own = tmp_path / "own.pth"
    assert not is_stored("local", "any", str(own))
    own.touch()
    assert is_stored("local", "any", str(own))
    assert not is_stored("hub", "nobody/no-such-model", "")


def test_no_model_library_is_imported_before_the_question_is_asked() -> None:
    line = (
        "import sys; from core.models.spec import catalog; specs = catalog();"
        "heavy = {'timm', 'transformers', 'torchvision'}; print(sorted(heavy & set(sys.modules)));"
        "next(s for s in specs if s.source == 'torchvision').available;"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = alone(line)
    assert done.stdout.split("\n")[:2] == ["[]", "['torchvision']"]
