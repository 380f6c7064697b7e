"""All choices of a user as one frozen, checked value, and its address. Independent of Streamlit.

A screen has shared options and the options of each page, whose fields are the keys of the
address. Fields with their default value are left out, except for the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import core
from core import Method
from dashboard import earlier
from dashboard.looks import LONGEST, MOST, Look
from dashboard.registry import pages

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

PATCHES = r"^[1-9]\d{0,2}x[1-9]\d{0,2}-(?:[0-9a-f]{2}){1,3000}$"
"""Rows, columns, and a bit for each patch in reading order, as hexadecimal digits."""

FORMS = {
    PATCH: "a row and a column, such as r4c7",
    PANEL: "a panel, such as compare.2",
    SAVED: "the id of a saved screen",
    PATCHES: "a grid and its patches, such as 2x2-a0",
}
"""Descriptions of the patterns, for messages."""

READ = 65
"""Most values of one key read from an address: more than any field takes."""

QUOTED = 60
"""Most characters quoted of an invalid value."""


class Options(BaseModel):
    """The options of one page: fields with defaults, which are keys of the address.

    A field name belongs to one page only. ``None`` means automatic choice.

    Attributes
    ----------
    looks
        Fields that list looks, or values in the form of a look. A parameter whose default has
        changed always has a value there and in the address: see `Method.earlier` of
        the registry.
    is_saved
        Whether it is saved and exported.
    aside
        What the picture and the models of the side bar are for, where they are not what the page
        shows; empty where they are.
    tabs
        The field that says which tab is open; empty where a page has none.
    earlier
        By field whose default has changed, the default of before, as in an address. Every address
        of the page names such a field; one that does not is of before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    looks: ClassVar[tuple[str, ...]] = ()
    is_saved: ClassVar[bool] = True
    aside: ClassVar[str] = ""
    tabs: ClassVar[str] = ""
    earlier: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @model_validator(mode="before")
    @classmethod
    def _name_defaults(cls, given: Any) -> Any:
        """Write out parameters whose default has changed."""
        if isinstance(given, dict):
            return given | _named(cls.looks, given, lambda method: method.current)
        return given

    def to(self, **changes: Any) -> Self:
        """These options with some fields changed, checked again.

        Raises
        ------
        pydantic.ValidationError
            A value is invalid for its field.
        """
        return type(self)(**(self.model_dump() | changes))

    @property
    def pictures(self) -> tuple[str, ...]:
        """Ids of the pictures shown beside the shared one."""
        return ()

    def without_model(self) -> Self:
        """These options after one of the models was removed."""
        return self

    def with_other_model(self) -> Self:
        """These options after one of the models was replaced."""
        return self

    def with_other_picture(self) -> Self:
        """These options where another picture is looked at."""
        return self


def without_looks(options: Options) -> Options:
    """Options of which nothing of a model is chosen."""
    return options.to(**dict.fromkeys(options.looks, ()))


class Shared(Options):
    """The options of all pages.

    Models (``m``) and classes may occur several times. Choices for a model are written as a
    `dashboard.looks.Look`: columns of Compare and Evidence (``look``), and a layer with its channel
    (``feature``); `dashboard.columns` reads and changes them.
    """

    looks: ClassVar[tuple[str, ...]] = ("look", "feature")

    image: str = "cat-beside-cup"
    m: Names = core.default_models()
    fit: Literal["crop", "pad", "stretch", "whole"] = "crop"
    size: Literal["own", "224", "336", "448", "480", "518", "672"] = "own"
    classes: Annotated[tuple[str, ...], Field(max_length=4)] = ()
    rather_than: Name | None = None
    opposite: bool = False
    look: Looks = ()
    feature: Looks = ()
    query: Annotated[str, Field(pattern=PATCH)] | None = None
    seed: Seed = 0

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

    @property
    def patch(self) -> tuple[int, int] | None:
        """Row and column of the query; ``None`` for what the classifier reads."""
        if self.query is None:
            return None
        row, _, column = self.query[1:].partition("c")
        return int(row), int(column)

    def with_other_picture(self) -> Self:
        return self.to(classes=(), rather_than=None)


def kind_of(page: str) -> type[Options]:
    """The class of a page's options."""
    found: type[Options] = pages()[page].part("options").Options
    return found


def kinds() -> tuple[type[Options], ...]:
    """The classes of the shared options and of each page's options."""
    return (Shared, *map(kind_of, pages()))


def fields() -> Mapping[str, type[Options]]:
    """The keys of an address, and the options that each belongs to."""
    return _fields(kinds())


@cache
def _fields(of: tuple[type[Options], ...]) -> Mapping[str, type[Options]]:
    found: dict[str, type[Options]] = {}
    for kind in of:
        if double := found.keys() & kind.model_fields.keys():
            raise TypeError(
                f"{min(double)!r} is a field of {kind.__module__} and of "
                f"{found[min(double)].__module__}; rename the newer one."
            )
        found |= dict.fromkeys(kind.model_fields, kind)
    return found


@cache
def _usual(kind: type[Options]) -> Options:
    """Options of which nothing was chosen; frozen, so made once."""
    return kind()


Part = TypeVar("Part", bound=Options)


@dataclass(frozen=True)
class Screen:
    """The page and all options.

    Attributes
    ----------
    options
        Options of the pages with choices; see `of`.
    """

    page: str = "compare"
    shared: Shared = field(default_factory=Shared)
    options: tuple[Options, ...] = ()

    @classmethod
    def make(cls, page: str = "compare", **chosen: Any) -> Self:
        """A screen from fields by name, of any page; see `to`."""
        return cls(page).to(**chosen)

    def of(self, kind: type[Part]) -> Part:
        """The options of a page."""
        for one in (self.shared, *self.options):
            if isinstance(one, kind):
                return one
        return cast(Part, _usual(kind))

    def value(self, name: str) -> Any:
        """The value of a field of any page."""
        return getattr(self.of(fields()[name]), name)

    def to(self, page: str | None = None, **changes: Any) -> Self:
        """This screen with some fields of any page changed, checked again.

        Raises
        ------
        pydantic.ValidationError
            A value is invalid for its field.
        TypeError
            No page has the field.
        """
        owners = fields()
        if unknown := changes.keys() - owners.keys():
            raise TypeError(f"no page has a field {min(unknown)!r}")
        given: dict[type[Options], dict[str, Any]] = {}
        for name, value in changes.items():
            given.setdefault(owners[name], {})[name] = value

        def changed(one: Options) -> Options:
            return one.to(**given[type(one)]) if type(one) in given else one

        return self.mapped(changed, page)

    def mapped(self, change: Callable[[Options], Options], page: str | None = None) -> Self:
        """This screen with all options changed by a function.

        Options with only defaults are not stored, so that equal screens are equal values.
        """
        found = [change(self.of(kind)) for kind in kinds()]
        shared = next(one for one in found if isinstance(one, Shared))
        rest = tuple(one for one in found[1:] if one != _usual(type(one)))
        return replace(self, page=page or self.page, shared=shared, options=rest)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Ids of all pictures shown."""
        others = (name for one in self.options for name in one.pictures)
        return (self.shared.image, *others)

    # -- the address ------------------------------------------------------------------------

    @classmethod
    def from_address(
        cls, page: str, given: Mapping[str, Sequence[str]], opening: str = ""
    ) -> tuple[Self, list[str]]:
        """Read a screen from an address.

        Parameters
        ----------
        given
            All values of every key of the address; untrusted.
        opening
            Picture of an address without any key, which is none of before.

        Returns
        -------
        screen
            With the default for each invalid value.
        problems : list of str
            One sentence for each unused key, with what is shown instead.
        """
        if opening and not given:
            return cls.make(page, image=opening), []
        values: dict[str, Any] = {}
        problems: list[str] = []
        owners = fields()
        before = {key: [text] for key, text in kind_of(page).earlier.items()}
        for key, texts in (before | earlier.address(given)).items():
            owner = owners.get(key)
            if owner is None:
                problems.append(
                    f"The address has a key {_quoted(key)} that no page knows; it is ignored."
                )
                continue
            default = owner.model_fields[key].default
            raw = tuple(texts[:READ]) if isinstance(default, tuple) else texts[-1]
            try:
                found = getattr(owner.model_validate({key: raw}), key)
                values[key] = raw if key in owner.looks else found
            except ValidationError as error:
                problems.append(
                    f"{key} in the address is {_quoted(texts[-1])} ({_reason(error)}); shown "
                    f"instead: {_default(default)}."
                )
        # An older address does not name them and means the default of its version.
        listed = [name for kind in kinds() for name in kind.looks]
        values |= _named(listed, values, lambda method: method.earlier)
        return cls.make(page, **values), problems

    def address(self) -> dict[str, list[str]]:
        """The picture and all values that differ from defaults, as keys and values.

        Fields of the page whose default has changed are named as well; see `Options.earlier`.
        """
        found: dict[str, list[str]] = {}
        always = {"image", *kind_of(self.page).earlier}
        parts = dict.fromkeys((self.shared, *self.options, self.of(kind_of(self.page))))
        for one in parts:
            for name, known in type(one).model_fields.items():
                value = getattr(one, name)
                if value != known.default or name in always:
                    listed = value if isinstance(value, tuple) else [value]
                    found[name] = [_text(v) for v in listed]
        return found

    def saved(self) -> Self:
        """This screen without options that are not saved."""
        return self.mapped(lambda one: one if one.is_saved else _usual(type(one)))


def _named(
    names: Sequence[str], values: Mapping[str, Any], defaults: Callable[[Method], Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Looks in canonical form, completed by parameters that must be stated.

    Parameters
    ----------
    names
        Fields that list looks.
    values
        Fields by name; anything but tuples of texts is left to validation.
    defaults
        Parameters of a method if none are given; for methods with `Method.earlier`.
    """
    return {
        name: tuple(Look.read(text).named(defaults).text for text in values[name])
        for name in names
        if isinstance(values.get(name), tuple | list)
        and all(isinstance(text, str) and len(text) <= LONGEST for text in values[name])
    }


def link_of(base: str, screen: Screen) -> str:
    """The link to a screen, without options that are not saved.

    Parameters
    ----------
    base
        The address of its page, without a query; may be empty.
    """
    query = urlencode(screen.saved().address(), doseq=True, safe=":,=/")
    return "?".join(filter(None, [base, query]))


def _default(value: Any) -> str:
    """Text on the value shown instead of that in an address."""
    if value is None or value == ():
        return "what the program chooses"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _reason(error: ValidationError) -> str:
    """The expected value, in a few words."""
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
    """A value of an address, shortened for a sentence."""
    return repr(text if len(text) <= QUOTED else text[: QUOTED - 1] + "…")
