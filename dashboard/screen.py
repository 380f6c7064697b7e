"""All that a person chose, as one frozen, checked value; its address; and its place in a session.

The address is where a screen lives: every run reads it from there, every choice writes it there.
So reload, Back, Forward, a copied link and a link to another page are the same act: a screen is
put in. Fields that have their default are left out of the address, but for the picture.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, Self, get_args
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import streamlit as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from streamlit.runtime.scriptrunner import get_script_run_ctx

import core
from core import Method, ParallaxError
from dashboard import earlier
from dashboard.looks import LONGEST, MOST, Look

_log = logging.getLogger(__name__)

Page = Literal[
    "compare",
    "attention",
    "gradient_rollout",
    "activation_maximization",
    "evidence",
    "data_set",
    "review",
]
PAGES: tuple[Page, ...] = get_args(Page)
Share = Annotated[float, Field(ge=0, le=1)]
Index = Annotated[int, Field(ge=0, le=100_000)]
Place = Annotated[int, Field(ge=0, le=10**10)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
PATCH, PANEL, SAVED = r"^r\d{1,4}c\d{1,4}$", r"^[a-z-]{1,20}\.\d$", r"^[0-9a-f]{32}$"
SavedId = Annotated[str, Field(pattern=SAVED)]
Sought = Annotated[str, Field(max_length=255)]
Name = Annotated[str, Field(max_length=200)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST)]
Text = Annotated[str, Field(max_length=LONGEST)]
Looks = Annotated[tuple[Text, ...], Field(max_length=MOST)]

OPENING = "panda-and-polar-bear"
"""Picture that the bare address opens with. Addresses of before that name none mean the default of
`Screen.image`, so every other address names its picture."""

PATCHES = r"^[1-9]\d{0,2}x[1-9]\d{0,2}-(?:[0-9a-f]{2}){1,3000}$"
"""Rows, columns, and a bit for each patch in reading order, as hexadecimal digits."""

FORMS = {
    PATCH: "a row and a column, such as r4c7",
    PANEL: "a panel, such as compare.2",
    SAVED: "the id of a saved screen",
    PATCHES: "a grid and its patches, such as 2x2-a0",
}
"""What a text of each pattern is, for people."""

READ = 64
"""Values of one key that are read from an address."""

QUOTED = 60
"""Letters of a value that are quoted where it cannot be used."""


class Screen(BaseModel):
    """What is on the screen, page and all.

    Attributes are named as in the address, where a model (``m``), a class or a picture may stand
    several times. What is chosen of a model is written as a `dashboard.looks.Look`: columns of
    Compare and Evidence (``look``), rows of Gradient rollout (``row``), maps that are measured
    (``maps``), and a layer with its channel (``feature``). `dashboard.columns` reads and changes
    them. ``None`` means that the program chooses.

    A parameter whose default is no longer the one that it was always has a value here and in the
    address: see `Method.earlier` of the registry. Addresses of before: `dashboard.earlier`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    page: Page = "compare"

    # -- shared by all pages
    image: str = "cat-beside-cup"
    m: Names = core.default_models()
    fit: Literal["crop", "pad", "stretch", "whole"] = "crop"
    size: Literal["own", "224", "336", "448", "480", "518", "672"] = "own"
    classes: Annotated[tuple[str, ...], Field(max_length=4)] = ()
    look: Looks = ()
    feature: Looks = ()

    # -- how maps are shown
    opacity: Share = 0.6
    colors: Literal["Inferno", "Viridis", "Cividis", "Turbo"] = "Inferno"
    scale: Literal["own", "shared"] = "own"
    clip: Annotated[float, Field(ge=80, le=100)] = 99.0
    smooth: bool = True
    spikes: Literal["auto", "replace", "keep"] = "auto"
    blend: Literal["overlay", "brightness"] = "overlay"
    against: bool = False
    large: Annotated[str, Field(pattern=PANEL)] | None = None

    # -- Attention
    tab: Literal["grid", "layer", "joint", "channels", "similarity", "several"] = "grid"
    layer: Index | None = None
    head: Index | None = None
    query: Annotated[str, Field(pattern=PATCH)] | None = None
    mass: Annotated[float, Field(ge=0.05, le=1)] = 0.6
    fusion: Literal["mean", "max", "min"] | None = None
    discard: Share = 0.0
    matrix: bool = False
    transformer: Name | None = None
    sides: Annotated[tuple[Name, ...], Field(max_length=2)] = ()
    several: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    several_map: Literal["attention", "joint"] = "attention"
    draw: Seed | None = None
    drawn: Annotated[int, Field(ge=1, le=8)] = 4
    several_layers: Literal["few", "all"] = "few"

    # -- Gradient rollout
    row: Looks = ()
    animated: str | None = None

    # -- Activation maximization
    objective: Literal["class", "channel"] = "class"
    steps: Annotated[int, Field(ge=16, le=512)] = 48
    side: Annotated[int, Field(ge=16, le=1024)] | None = None
    seed: Seed = 0
    variation: Annotated[float, Field(ge=0, le=1)] | None = None
    gray: Annotated[float, Field(ge=0, le=1)] | None = None
    seam: Annotated[float, Field(ge=0, le=1)] | None = None
    moves: bool = True
    effect: bool = True

    # -- Evidence, and the line below a map of Compare
    question: Literal["removal", "curves", "randomization", "pointing"] = "removal"
    change: Literal["map", "patches", "shuffle", "drop", "blur", "gray"] = "map"
    top_of: Annotated[int, Field(ge=0, le=MOST - 1)] | None = None
    top: Annotated[float, Field(ge=0.01, le=1)] = 0.2
    removed: Annotated[str, Field(pattern=PATCHES)] | None = None
    fill: Literal["blur", "mean", "black", "noise"] = "blur"
    strength: Annotated[float, Field(ge=0, le=64)] | None = None
    maps: Annotated[tuple[Text, ...], Field(max_length=32)] = ()
    measured: bool = False
    checked: bool = False
    curve: Literal["deletion", "insertion"] = "deletion"
    of: str | None = None
    step: Annotated[int, Field(ge=0, le=16)] = 4
    four: Annotated[tuple[str, ...], Field(max_length=4)] = ()

    # -- Review
    search: Sought | None = None
    of_page: str | None = None
    of_picture: Sought | None = None
    of_model: Sought | None = None
    of_class: Sought | None = None
    archived: bool = False
    first: SavedId | None = None
    second: SavedId | None = None
    saved_leaf: Index = 0
    export_from: Index = 0

    # -- Data set
    sweep: str | None = None
    sweep_first: str | None = None
    sweep_second: str | None = None
    x: str | None = None
    y: str | None = None
    color: Literal["agreement", "outcome", "label"] = "agreement"
    where: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    order: Literal[
        "maps",
        "surest",
        "divergence",
        "vit_right",
        "cnn_right",
        "second_right",
        "first_right",
        "wrong",
        "artifacts",
        "alike",
        "listed",
    ] = "maps"
    leaf: Annotated[int, Field(ge=1, le=10**8)] = 1
    picked: Place | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_defaults(cls, given: Any) -> Any:
        """Write out what is no longer the default that it was."""
        if isinstance(given, dict):
            return given | _named(given, lambda method: method.current)
        return given

    # -- the address ------------------------------------------------------------------------

    @classmethod
    def from_address(cls, page: str, given: Mapping[str, Sequence[str]]) -> tuple[Self, list[str]]:
        """Read a screen from an address.

        Parameters
        ----------
        given
            All values of every key of the address; untrusted.

        Returns
        -------
        screen
            With the default wherever a value cannot be used.
        problems : list of str
            One sentence for each key that was not used, with what is shown instead.
        """
        values: dict[str, Any] = {"page": page}
        problems: list[str] = []
        for key, texts in earlier.address(given).items():
            wanted = cls.model_fields.get(key)
            if wanted is None or key == "page":
                problems.append(
                    f"The address has a key {_quoted(key)} that no page knows; it is ignored."
                )
                continue
            raw = tuple(texts[:READ]) if isinstance(wanted.default, tuple) else texts[-1]
            try:
                found = getattr(cls(**{key: raw}), key)
                values[key] = raw if key in LOOKS else found
            except ValidationError as error:
                reason = _reason(error)
                shown = _default(wanted.default)
                problems.append(
                    f"{key} in the address is {_quoted(texts[-1])} ({reason}); shown instead: "
                    f"{shown}."
                )
        # An address of before does not name them and means the default of then.
        values |= _named(values, lambda method: method.earlier)
        return cls(**values), problems

    def address(self) -> dict[str, list[str]]:
        """The picture and all that differs from its default, as keys and values of an address."""
        found: dict[str, list[str]] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "page" or (value == field.default and name != "image"):
                continue
            found[name] = [_text(v) for v in (value if isinstance(value, tuple) else [value])]
        return found

    def to(self, **changes: Any) -> Self:
        """This screen with some fields changed, checked anew; fields of before are converted.

        Raises
        ------
        pydantic.ValidationError
            A value that its field does not take.
        """
        return type(self)(**(self.model_dump() | earlier.fields(changes)))

    def without_review(self) -> Self:
        """This screen without what only the Review page has: what is saved."""
        return self.to(**{name: type(self).model_fields[name].default for name in REVIEW})

    @property
    def mask(self) -> npt.NDArray[np.bool_] | None:
        """Patches that are taken away, (rows, cols); ``None`` where none were chosen."""
        if self.removed is None:
            return None
        shape, _, digits = self.removed.partition("-")
        rows, cols = map(int, shape.split("x"))
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))[: rows * cols]
        return np.pad(bits, (0, rows * cols - bits.size)).reshape(rows, cols).astype(bool)

    @staticmethod
    def of_mask(mask: npt.NDArray[np.bool_]) -> str:
        """What `removed` is for a mask."""
        return f"{mask.shape[0]}x{mask.shape[1]}-{np.packbits(mask).tobytes().hex()}"

    @property
    def patch(self) -> tuple[int, int] | None:
        """Row and column of the query; ``None`` for what the classifier reads."""
        if self.query is None:
            return None
        row, _, column = self.query[1:].partition("c")
        return int(row), int(column)


def _named(
    values: Mapping[str, Any], defaults: Callable[[Method], Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Looks in their one spelling, completed by parameters that must not be left out.

    Parameters
    ----------
    values
        Fields by name; what is no tuple of texts is left to its check.
    defaults
        What a method's parameters are where none are given; of the methods of `Method.earlier`.
    """
    return {
        name: tuple(Look.read(text).named(defaults).text for text in values[name])
        for name in LOOKS
        if isinstance(values.get(name), tuple | list)
        and all(isinstance(text, str) and len(text) <= LONGEST for text in values[name])
    }


LOOKS = ("look", "row", "maps", "feature")
"""Fields that list looks, or what is of a look's form."""

REVIEW = (
    "search",
    "of_page",
    "of_picture",
    "of_model",
    "of_class",
    "archived",
    "first",
    "second",
    "saved_leaf",
    "export_from",
)
"""Fields that only the Review page has."""


def _default(value: Any) -> str:
    """What is shown in place of what an address says, for people."""
    if value is None or value == ():
        return "what the program chooses"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _reason(error: ValidationError) -> str:
    """What was expected, in a few words."""
    first = error.errors()[0]
    if first["type"] == "string_pattern_mismatch":
        return f"expected {FORMS[str(first['ctx']['pattern'])]}"
    text = str(first["msg"]).removeprefix("Input should be ")
    return f"expected {text}" if text != first["msg"] else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def _quoted(text: str) -> str:
    """What an address says, short enough for a sentence that says more than that."""
    return repr(text if len(text) <= QUOTED else text[: QUOTED - 1] + "…")


# -- in a session -------------------------------------------------------------------------------

_SCREEN, _PROBLEMS, _SAID, _OWN = "_screen", "_problems", "_said", "_own"


def enter(page: str) -> Screen:
    """Read the screen of this run from the address; called once a run, before anything is drawn."""
    given = {key: st.query_params.get_all(key) for key in st.query_params}
    given = given or {"image": [OPENING]}
    screen, problems = Screen.from_address(page, given)
    problems = list(dict.fromkeys([*problems, *st.session_state.pop(_SAID, [])]))
    st.session_state[_SCREEN], st.session_state[_PROBLEMS] = screen, problems
    return screen


def current() -> Screen:
    """The screen of this run."""
    screen: Screen = st.session_state[_SCREEN]
    return screen


def change(**fields: Any) -> None:
    """Choose: the screen with these fields changed becomes the address.

    To be called from a widget's callback; the run that follows reads it.
    """
    become(current().to(**fields))


def become(screen: Screen) -> None:
    """Choose as `change` does, a whole screen."""
    st.session_state[_SCREEN] = screen
    st.query_params.from_dict(screen.address())


def show_instead(screen: Screen) -> None:
    """In this run, show another screen than the address says, which stays as it is."""
    st.session_state[_SCREEN] = screen


def problem(sentence: str) -> None:
    """Add to what could not be shown as the address wanted; see `problems`."""
    if sentence not in st.session_state[_PROBLEMS]:
        st.session_state[_PROBLEMS].append(sentence)


def problems() -> list[str]:
    """What could not be shown as the address wanted, one sentence each."""
    found: list[str] = st.session_state[_PROBLEMS]
    return found


def bound(field: str, value: Any, read: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Key and callback that tie a widget to a field.

    Parameters
    ----------
    value
        What the widget is to show in this run.
    read
        Turns what the widget holds into the field's value; as it is by default.
    """
    return tied(field, value, lambda held: change(**{field: read(held) if read else held}))


def held(key: str) -> Any:
    """What a widget of this key holds; for callbacks."""
    return st.session_state[key]


def tied(
    name: str, value: Any, write: Callable[[Any], None], *, seed: bool = True
) -> dict[str, Any]:
    """Key and callback of a widget whose choice ``write`` puts into the screen.

    Parameters
    ----------
    seed
        Whether the widget is told ``value``; files cannot be put into a widget.
    """
    key = f"screen-{name}"
    if seed:
        st.session_state[key] = value
    return {"key": key, "on_change": guarded(lambda: write(st.session_state[key]))}


def guarded(act: Callable[..., None]) -> Callable[..., None]:
    """A callback that ends in a sentence whatever a browser says that a widget holds.

    What a widget holds comes from outside, like an address, and need not have been offered.
    """

    def tried(*given: Any) -> None:
        try:
            act(*given)
        except ParallaxError as error:
            say(str(error))
        except Exception:
            _log.warning("a choice could not be used", exc_info=True)
            say("What was chosen is not offered here, so nothing was changed; choose again.")

    return tried


# -- pictures of one's own, and what is said once ------------------------------------------------


def remember_own(picture_id: str) -> None:
    """Add a picture to those of this session, the newest last."""
    kept: list[str] = st.session_state.setdefault(_OWN, [])
    if picture_id in kept:
        kept.remove(picture_id)
    kept.append(picture_id)


def own_pictures() -> list[str]:
    """Pictures that this session brought, the newest last."""
    kept: list[str] = st.session_state.get(_OWN, [])
    return list(kept)


def say(sentence: str) -> None:
    """Show a sentence in the run that follows, and only there; for callbacks."""
    st.session_state.setdefault(_SAID, []).append(sentence)


def again() -> NoReturn:
    """Start the run anew; what was to be said in this one is said in the next."""
    for sentence in problems():
        say(sentence)
    st.rerun()


# -- what a session made ------------------------------------------------------------------------


def keep(name: str, value: Any) -> None:
    """Hold something that this session made, until it is replaced; no part of the address."""
    st.session_state[f"_made-{name}"] = value


def kept(name: str) -> Any:
    """What `keep` holds under this name; ``None`` if there is nothing."""
    return st.session_state.get(f"_made-{name}")


def forget(name: str) -> None:
    """Hold nothing under this name any more."""
    st.session_state.pop(f"_made-{name}", None)


def in_session() -> bool:
    """Whether this thread runs for a session; what others would keep belongs to nobody."""
    return get_script_run_ctx(suppress_warning=True) is not None


def session() -> str:
    """What tells this session from the others."""
    return str(st.session_state.setdefault("_session", uuid4().hex))
