"""All that a person chose, as one frozen, checked value, and its address. Knows no Streamlit.

Fields that have their default are left out of the address, but for the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import core
from core import Method
from dashboard import earlier
from dashboard.looks import LONGEST, MOST, Look

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
PATCH, PANEL, SAVED = r"^r\d{1,4}c\d{1,4}$", r"^[a-z0-9-]{1,20}\.\d$", r"^[0-9a-f]{32}$"
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
    rather_than: Name | None = None
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


def link_of(base: str, screen: Screen) -> str:
    """The link to a screen, without what only the Review page has.

    Parameters
    ----------
    base
        The address of its page, without a query; may be empty.
    """
    query = urlencode(screen.without_review().address(), doseq=True, safe=":,=/")
    return "?".join(filter(None, [base, query]))


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
