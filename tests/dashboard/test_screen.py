"""The screen: to the address and back, untrusted addresses, who touches the session."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dashboard import manifest
from dashboard.looks import Look
from dashboard.registry import pages
from dashboard.screen import Screen, fields, kinds

ROOT = Path(__file__).resolve().parents[2]

CHANGED: dict[str, Any] = {
    "image": "coffee",
    "m": ("torchvision/resnet50", "timm/vit_small_patch16_224.dino", "dinov2-small"),
    "fit": "whole",
    "size": "448",
    "classes": ("Egyptian cat", "espresso"),
    "look": (
        "torchvision/resnet50:grad_cam:layer=stage.2",
        "dinov2-small:rollout:discard=0.9,fusion=max",
        "dinov2-small",
    ),
    "row": ("dinov2-small:legrad:layers=3-7",),
    "feature": ("dinov2-small:block.7.key:channel=11",),
    "opacity": 0.25,
    "colors": "Cividis",
    "scale": "shared",
    "clip": 95.5,
    "smooth": False,
    "spikes": "keep",
    "blend": "brightness",
    "tab": "joint",
    "layer": 7,
    "head": 0,
    "query": "r4c11",
    "mass": 0.35,
    "fusion": "mean",
    "discard": 0.99,
    "objective": "channel",
    "steps": 96,
    "seed": 7,
    "moves": False,
    "search": "cat, cup",
    "of_page": "attention",
    "of_picture": "A cup of espresso",
    "of_model": "DINOv2 ViT-S/14",
    "of_class": "Egyptian cat",
    "archived": True,
    "first": "0123456789abcdef" * 2,
    "second": "f" * 32,
    "saved_leaf": 3,
    "sweep": "photographs",
    "sweep_first": "dinov2-small",
    "sweep_second": "timm/resnet50.a1_in1k",
    "x": "divergence",
    "where": ("divergence>0.5", "label=a b"),
    "order": "surest",
    "leaf": 3,
    "picked": 999_999,
    "maps": ("dinov2-small:legrad", "dinov2-small:occlusion"),
}


@pytest.mark.parametrize("field", CHANGED)
def test_every_choice_goes_to_the_address_and_comes_back(field: str) -> None:
    for page in pages():
        screen = Screen.make(page=page, **{field: CHANGED[field]})  # type: ignore[arg-type]
        address = screen.address()
        assert address, "a choice that differs from the default must stand in the address"
        assert Screen.from_address(page, address) == (screen, []), page


# -- every field, whatever it is ----------------------------------------------------------------

OWNERS = fields()
FIELDS = list(OWNERS)
LOOKS = [name for kind in kinds() for name in kind.looks]
REVIEW = [name for name, kind in OWNERS.items() if not kind.is_saved]
CHARACTERS = st.characters(exclude_categories=["Cs"])
LETTERS = st.text(CHARACTERS, max_size=12)
"""Any text that UTF-8, and so an address, can hold."""


def bounds(metadata: Iterable[Any]) -> dict[str, Any]:
    """What a field's annotation says beside its type: ``ge``, ``le``, ``pattern`` and so on."""
    found: dict[str, Any] = {}
    for part in metadata:
        if isinstance(part, FieldInfo):
            found |= bounds(part.metadata)
        else:
            known = {name: getattr(part, name, None) for name in BOUNDS}
            found |= {name: value for name, value in known.items() if value is not None}
    return found


BOUNDS = ("ge", "le", "pattern", "max_length")


def chosen(kind: Any, limits: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """All values that an annotation allows."""
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        return chosen(inner, {**limits, **bounds(metadata)})
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        [inner] = [one for one in get_args(kind) if one is not NoneType]
        return chosen(inner, limits)
    if get_origin(kind) is tuple:
        [inner, _] = get_args(kind)
        most = limits["max_length"]
        return st.lists(chosen(inner, {}), min_size=1, max_size=most).map(tuple)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(limits["ge"], limits["le"])
    if kind is float:
        return st.floats(limits["ge"], limits["le"])
    assert kind is str, kind
    if "pattern" in limits:
        return st.from_regex(re.compile(limits["pattern"], re.ASCII), fullmatch=True)
    return st.text(CHARACTERS, max_size=limits.get("max_length", 40))


def looks() -> st.SearchStrategy[Look]:
    """Looks of any texts."""
    pairs = st.dictionaries(LETTERS.filter(bool), LETTERS, max_size=3)
    return st.builds(Look, LETTERS, LETTERS, pairs.map(lambda found: tuple(sorted(found.items()))))


@given(look=looks())
def test_any_look_comes_back_from_its_text(look: Look) -> None:
    assert Look.read(look.text) == look
    assert Look.read(look.text).text == look.text


def allowed(name: str) -> st.SearchStrategy[Any]:
    """All values of a field but its default."""
    field = OWNERS[name].model_fields[name]
    if name in LOOKS:
        some = st.lists(looks(), min_size=1, max_size=bounds(field.metadata)["max_length"])
        return some.map(lambda found: tuple(look.text for look in found))
    every = chosen(field.annotation, bounds(field.metadata))
    return every.filter(lambda value: value != field.default)


def through_an_address(screen: Screen) -> tuple[Screen, list[str]]:
    """What comes back from a link, written as a browser writes it."""
    query = urlencode(screen.address(), doseq=True)
    return Screen.from_address(screen.page, parse_qs(query, keep_blank_values=True))


@pytest.mark.parametrize("name", FIELDS)
@given(data=st.data())
def test_any_value_of_any_field_comes_back_from_a_link(name: str, data: st.DataObject) -> None:
    value = data.draw(allowed(name))
    screen = Screen.make(**{name: value})
    assert screen.value(name) == value
    address = screen.address()
    assert set(address) == {"image", name}
    assert through_an_address(screen) == (screen, [])


@settings(max_examples=2)
@pytest.mark.parametrize("name", FIELDS)
@given(data=st.data())
def test_a_field_belongs_to_a_link_of_any_page(name: str, data: st.DataObject) -> None:
    screen = Screen.make(page="evidence", **{name: data.draw(allowed(name))})
    assert through_an_address(screen) == (screen, [])


HOSTILE = (
    "",
    "nan",
    "-inf",
    "1e999",
    "-1",
    "7.5",
    "9" * 5000,
    "\uff19",
    "yes",
    "None",
    "\x00",
    "\ud800",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "r1c1\n",
    "many lines\n" * 9,
    "x" * 100_000,
)
"""What somebody may write behind a key."""

FREE = {
    name
    for name in FIELDS
    if not isinstance(OWNERS[name].model_fields[name].default, tuple)
    and str(OWNERS[name].model_fields[name].annotation) in ("<class 'str'>", "str | None")
    and not bounds(OWNERS[name].model_fields[name].metadata)
}
"""Fields that take any text, and are checked where it is known what there is."""


def test_free_fields_are_few() -> None:
    """A new one must be checked by the page that reads it, and is entered here after that."""
    assert {
        "image",
        "animated",
        "of",
        "of_page",
        "sweep",
        "sweep_first",
        "sweep_second",
        "x",
        "y",
    } == FREE


@pytest.mark.parametrize("name", FIELDS)
def test_a_hostile_value_is_a_value_or_a_sentence(name: str) -> None:
    for text in HOSTILE:
        _check_hostile(name, text)


def _check_hostile(name: str, text: str) -> None:
    shown = ascii(text[:12])
    field = OWNERS[name].model_fields[name]
    screen, problems = Screen.from_address("compare", {name: [text]})
    if not problems:
        value = screen.value(name)
        assert Screen.make(**{name: value}) == screen, shown
        if "\ud800" not in text:  # which no browser can send
            assert through_an_address(screen) == (screen, []), shown
        if name in FREE:
            assert value == text
        return
    assert name not in FREE, shown
    assert screen == Screen(), shown
    [sentence] = problems
    assert sentence.startswith(f"{name} in the address is ")
    assert "(" in sentence, "what was expected"
    assert sentence.endswith(".")
    assert len(sentence) < 400, "a sentence that is cut does not tell what is shown instead"
    assert "\n" not in sentence
    assert field.default is not None or "what the program chooses" in sentence


CHECKED = [name for name in FIELDS if name not in FREE]


@pytest.mark.parametrize("name", CHECKED)
def test_a_checked_field_refuses_something(name: str) -> None:
    """The test above is also passed by a field that takes everything."""
    several = isinstance(OWNERS[name].model_fields[name].default, tuple)
    given = [["a"] * 65] if several else [[text] for text in HOSTILE]
    assert any(Screen.from_address("compare", {name: texts})[1] for texts in given)


def test_all_choices_together() -> None:
    screen = Screen.make(page="attention", **CHANGED)
    assert Screen.from_address("attention", screen.address()) == (screen, [])
    assert hash(screen) == hash(screen.to())


PICTURE = {"image": ["cat-beside-cup"]}


def test_defaults_are_left_out_but_for_the_picture() -> None:
    assert Screen().address() == PICTURE
    assert Screen.make(opacity=0.6, classes=()).address() == PICTURE


def test_an_address_of_before_that_names_no_picture_means_the_one_of_then() -> None:
    for address in ({"vit_map": ["rollout"]}, {}):
        screen, _ = Screen.from_address("compare", address)
        assert screen.shared.image == "cat-beside-cup"


# -- defaults that were other ones before ---------------------------------------------------------

PAPER, CENTERED = ("definition", "paper"), ("definition", "centered")
BEFORE = {"cnn_map": "look", "vit_map": "look", "class_map": "row"}
"""Fields of version 0.4 that named a method, and where it stands now."""


def looks_of(screen: Screen, field: str) -> list[Look]:
    return [look for look in map(Look.read, screen.value(field)) if look.method]


@pytest.mark.parametrize("pick", BEFORE)
def test_an_address_of_before_means_the_definition_of_then(pick: str) -> None:
    """As version 0.4 wrote them: RISE had one definition, so no address names any."""
    for address in ({pick: ["rise"]}, {pick: ["rise"], f"{pick}.count": ["256"]}):
        screen, problems = Screen.from_address("compare", address)
        assert not problems
        [look] = looks_of(screen, BEFORE[pick])
        assert PAPER in look.parameters
        # It stays so wherever the screen goes from there.
        again, _ = Screen.from_address("compare", screen.to(opacity=0.3).address())
        assert looks_of(again, BEFORE[pick]) == [look]


@pytest.mark.parametrize("field", LOOKS)
def test_what_is_chosen_now_is_told_apart_from_it(field: str) -> None:
    chosen = Screen().to(**{field: ("dinov2-small:rise",)})
    assert chosen.value(field) == ("dinov2-small:rise:definition=centered",)
    assert Screen.from_address("compare", chosen.address()) == (chosen, [])
    paper = ("dinov2-small:rise:definition=paper",)
    assert Screen.make(**{field: paper}).address() == PICTURE | {field: [*paper]}
    named, _ = Screen.from_address("compare", {field: ["dinov2-small:rise"]})
    assert named.value(field) == paper, "every version writes it out"
    assert Screen.make(**{field: ("a:occlusion",)}).address() == PICTURE | {field: ["a:occlusion"]}


def test_a_maximization_of_before_is_one_of_fourier_coefficients() -> None:
    """Its addresses name no parameterization; those of today always do, on the page itself."""
    page = "activation_maximization"
    for address in ({"image": ["coffee"]}, {"classes": ["espresso"], "steps": ["64"]}, {}):
        before, problems = Screen.from_address(page, address)
        assert not problems
        assert before.value("parameterization") == "fourier"
        again, _ = Screen.from_address(page, before.to(seed=3).address())
        assert again.value("parameterization") == "fourier"
    now = Screen.make(page)
    assert now.value("parameterization") == "phase"
    assert now.address() == PICTURE | {"parameterization": ["phase"]}
    assert Screen.from_address(page, now.address()) == (now, [])
    elsewhere, _ = Screen.from_address("compare", {"image": ["coffee"], "steps": ["64"]})
    assert "parameterization" not in elsewhere.address()
    assert elsewhere.to(page).value("parameterization") == "phase"
    assert before.to("compare").address()["parameterization"] == ["fourier"]


def test_a_list_of_maps_of_before_means_the_definition_of_then() -> None:
    screen, problems = Screen.from_address("evidence", {"cnn_maps": ["cam", "rise"]})
    assert not problems
    assert screen.value("maps") == (
        "efficientnet-lite0:cam",
        "efficientnet-lite0:rise:definition=paper",
    )


def test_a_manifest_of_before_opens_with_the_definition_of_then() -> None:
    stored = (
        '{"parallax": 1, "created": "2026-10-01T12:00:00Z", "page": "compare", '
        '"address": {"image": ["chelsea"], "vit_map": ["rise"], "vit_map.seed": ["3"]}}'
    )
    screen, problems = manifest.read(stored).read_screen()
    assert not problems
    [look] = looks_of(screen, "look")
    assert look == Look("dinov2-small", "rise", (PAPER, ("seed", "3")))


def test_looks_that_are_none_are_refused() -> None:
    with pytest.raises(ValidationError):
        Screen.make(look=((1, 2, 3),))  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Screen.make(look="dinov2-small")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Screen.make(look=("a", "b", "c", "d", "e"))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("opacity", "2"),
        ("opacity", "nan"),
        ("clip", "bright"),
        ("fit", "squeeze"),
        ("layer", "-1"),
        ("layer", "7.5"),
        ("query", "r1c"),
        ("query", "r1c99999"),
        ("steps", "1e9"),
        ("smooth", "perhaps"),
        ("seed", "99999999999"),
        ("size", "13"),
        ("first", "../../etc/passwd"),
        ("second", "0" * 31),
        ("leaf", "-1"),
        ("search", "x" * 300),
        ("nothing", "1"),
        ("page", "attention"),
        ("model_config", "1"),
        ("cnn_map_parameters", "1"),
        ("look", "x" * 500),
        ("unknown.layer", "1"),
    ],
)
def test_a_bad_value_gives_one_sentence_and_the_default(key: str, text: str) -> None:
    screen, problems = Screen.from_address("compare", {key: [text], "image": ["coffee"]})
    assert screen == Screen.make(image="coffee")
    [sentence] = problems
    assert key in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_too_many_classes_are_said() -> None:
    screen, problems = Screen.from_address("compare", {"classes": list("abcdefgh")})
    assert screen.shared.classes == ()
    assert len(problems) == 1


def test_a_screen_is_frozen_and_checked_when_it_changes() -> None:
    screen = Screen()
    with pytest.raises(ValidationError):
        screen.shared.opacity = 0.1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        screen.to(opacity=2.0)
    assert screen.to(opacity=0.1) == Screen.make(opacity=0.1)


def test_what_is_saved_has_nothing_of_the_review_page() -> None:
    screen = Screen.make(page="attention", **CHANGED)
    kept = screen.saved().address()
    assert kept
    assert kept.keys() == screen.address().keys() - set(REVIEW)


def test_what_belongs_to_a_picture_goes_with_it() -> None:
    screen = Screen.make(
        classes=("espresso", "cup"), rather_than="cup", animated="cup", clip=95.0, query="r4c7"
    )
    other = screen.mapped(lambda one: one.with_other_picture()).to(image="coffee")
    assert other == Screen.make(image="coffee", clip=95.0, query="r4c7")


def test_the_query_is_a_place() -> None:
    assert Screen.make(query="r4c11").shared.patch == (4, 11)
    assert Screen().shared.patch is None


def test_only_the_session_touches_what_streamlit_keeps() -> None:
    touching = {
        path.relative_to(ROOT).as_posix()
        for folder in ("dashboard", "pages")
        for path in (ROOT / folder).rglob("*.py")
        if "session_state" in path.read_text(encoding="utf-8")
        or "query_params" in path.read_text(encoding="utf-8").replace("query_params=", "")
    }
    # The splash screen reads the address before the session can be imported.
    assert touching == {"dashboard/session.py", "dashboard/splash.py"}
