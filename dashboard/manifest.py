"""A screen as data: pictures, models, options, and the resulting arrays.

A manifest is untrusted JSON, so everything in it is checked and bounded, and no value is ever used
as a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
)

from core import ParallaxError
from dashboard.looks import LONGEST
from dashboard.registry import pages
from dashboard.screen import Screen
from dashboard.store import records
from dashboard.store.summary import MOST_MANIFEST

VERSION: Literal[1] = 1
"""Version, incremented when a key changes its meaning."""

LARGEST = MOST_MANIFEST
"""Most bytes of a manifest that is read, and of one that is stored."""

TITLE, AUTHOR, NOTE = records.TITLE, records.AUTHOR, records.NOTE
"""Most characters of typed texts."""

FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Range of years. Extreme times cannot be converted to other time zones: the end of year 9999
does not exist east of Greenwich."""


class ManifestError(ParallaxError):
    """The file is not the manifest of a screen."""


def _digest(text: str) -> str:
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("expected a SHA-256, 64 hexadecimal digits")
    return text


def _aware(moment: datetime) -> datetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"expected a time in the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _page(name: str) -> str:
    if name not in pages():
        raise ValueError(f"expected one of the pages {', '.join(pages())}")
    return name


Digest = Annotated[str, AfterValidator(_digest)]
Text = Annotated[str, Field(max_length=200)]
Moment = Annotated[datetime, AfterValidator(_aware)]
Value = Annotated[str, Field(max_length=LONGEST)]
Values = Annotated[tuple[Value, ...], Field(min_length=1, max_length=32)]
Answer = tuple[Text, Annotated[float, Field(ge=0, le=1)]]
Answers = dict[Text, Annotated[tuple[Answer, ...], Field(max_length=8)]]


Count = Annotated[int, Field(ge=0, le=2**53)]
Number = Annotated[int, Field(ge=-(2**53), le=2**53)]
Shape = Annotated[tuple[Count, ...], Field(max_length=6)]
Single = bool | Number | float | Text | None
Parameter = Single | Annotated[tuple[Single, ...], Field(max_length=64)]
Versions = Annotated[dict[Text, Text], Field(max_length=40)]


class _Data(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, serialize_by_alias=True
    )


class PictureOf(_Data):
    """A picture of the screen: its id in the address, its name, its file's digest."""

    id: Text
    name: Text
    sha256: Digest


class ModelOf(_Data):
    """A model of the screen."""

    title: Text
    weights_sha256: Digest


class _Picture(_Data):
    sha256: Digest


def _stated(written: dict[str, Any], *optional: str) -> dict[str, Any]:
    """The written keys, without optional empty ones."""
    return {key: one for key, one in written.items() if key not in optional or one is not None}


class _Model(_Data):
    id: Text
    weights_sha256: Digest
    answer: Text | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _stated(write(self), "answer")


class _Framing(_Data):
    fit: Text
    size: Count | None = None


class _OneClass(_Data):
    index: Count
    name: Text | None = None


class _Class(_OneClass):
    rather_than: _OneClass | None = None
    opposite: bool | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _stated(write(self), "rather_than", "opposite")


class _Relevance(_Data):
    shape: Shape
    prefix_mass: float | None = None


class MapOf(_Data):
    """How a map was made: the keys of `core.Explanation.manifest` only."""

    manifest: Count
    picture: _Picture
    model: _Model
    framing: _Framing
    method: Text
    parameters: Annotated[dict[Text, Parameter], Field(max_length=32)] = {}
    target: Annotated[_Class | None, Field(alias="class")] = None
    relevance: _Relevance
    versions: Versions = {}


def _if_it_is_one(value: Any, read: ValidatorFunctionWrapHandler) -> MapOf | None:
    """No computation depends on this description, so it is omitted if invalid."""
    try:
        found: MapOf | None = read(value)
    except ValidationError:
        return None
    return found


class ArrayOf(_Data):
    """A resulting array: shape, dtype, digest of its bytes, and how it was made."""

    shape: Shape
    dtype: Text
    sha256: Digest
    map: Annotated[MapOf | None, WrapValidator(_if_it_is_one)] = None


class Manifest(_Data):
    """All that is needed to show a screen again, and to check whether it is the same.

    Attributes
    ----------
    page, address
        The screen, as an address.
    pictures
        The first is the main picture of the page.
    models, answers
        By id of the model.
    labels
        Names of the classes shown.
    arrays
        By name.
    versions
        Of Python and the libraries on which numbers may depend.
    """

    parallax: Literal[1]
    title: Annotated[str, Field(max_length=TITLE)] = ""
    author: Annotated[str, Field(max_length=AUTHOR)] = ""
    created: Moment
    page: Annotated[str, AfterValidator(_page)]
    address: Annotated[dict[Text, Values], Field(max_length=100)]
    pictures: Annotated[tuple[PictureOf, ...], Field(max_length=16)] = ()
    models: Annotated[dict[Text, ModelOf], Field(max_length=16)] = {}
    answers: Annotated[Answers, Field(max_length=16)] = {}
    labels: Annotated[tuple[Text, ...], Field(max_length=32)] = ()
    arrays: Annotated[dict[Text, ArrayOf], Field(max_length=500)] = {}
    versions: Versions = {}
    link: Annotated[str, Field(max_length=4000)] = ""

    @property
    def screen(self) -> Screen:
        """The screen; choices unknown to this version are left out."""
        return self.read_screen()[0]

    def read_screen(self) -> tuple[Screen, list[str]]:
        """The screen, and a sentence for each unknown choice."""
        return Screen.from_address(self.page, self.address)

    def json_text(self) -> str:
        """As the text of a file."""
        return self.model_dump_json(indent=1) + "\n"


def read(data: bytes | str) -> Manifest:
    """Read an untrusted manifest.

    Raises
    ------
    ManifestError
        Too large, not JSON, or not a valid manifest.
    """
    if len(data) > LARGEST:
        raise ManifestError(
            f"The manifest has {len(data) / 2**20:.0f} MB; the limit is {LARGEST // 2**20} MB."
        )
    try:
        found = Manifest.model_validate_json(data)
        found.read_screen()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:3]) or "the file"
        raise ManifestError(
            f"This is not the manifest of a screen ({where}: {first['msg'][:120]}); choose a "
            "JSON file exported by Parallax."
        ) from error
    return found


def describe(values: npt.NDArray[Any], made_by: dict[str, Any] | None = None) -> ArrayOf:
    """Shape, dtype and digest of an array."""
    plain = np.ascontiguousarray(values)
    digest = hashlib.sha256(plain.tobytes()).hexdigest()
    made = None if made_by is None else MapOf.model_validate(made_by)
    return ArrayOf(shape=plain.shape, dtype=plain.dtype.str, sha256=digest, map=made)


def differences(then: Manifest, now: Manifest) -> list[str]:
    """Differences between two manifests, one sentence each; empty if there are none.

    Different versions are only reported if arrays differ.
    """
    said = []
    for before, after in zip(then.pictures, now.pictures, strict=False):
        if before.sha256 != after.sha256:
            said.append(f"The file of the picture {before.name} was different.")
    for model_id, model in then.models.items():
        here = now.models.get(model_id)
        if here is None:
            said.append(f"{model.title} was shown then and is not shown here.")
        elif here.weights_sha256 != model.weights_sha256:
            said.append(f"{model.title} had different weights.")
    missing = [name for name in then.arrays if name not in now.arrays]
    if missing:
        said.append(f"{len(missing)} of {len(then.arrays)} arrays have not been computed here yet.")
    changed = [
        name
        for name, array in then.arrays.items()
        if name in now.arrays and now.arrays[name].sha256 != array.sha256
    ]
    if changed:
        of_all = f"{len(changed)} of {len(then.arrays)} arrays"
        said.append(f"{of_all} differ in at least one bit, the first being {changed[0]}.")
        others = _other_versions(then.versions, now.versions)
        if others:
            said.append(f"Then it was {', '.join(others)}.")
    return said


def _other_versions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {version}, here {now.get(name, 'none')}"
        for name, version in then.items()
        if now.get(name) != version
    ]
