"""The manifest of a sweep, validated and bounded, as it may be untrusted.

Unknown keys are ignored at any depth. The manifest of a sweep of a pair, of 0.4 or 0.5, is
converted to the current form, except for its version and ``columns``: the column names of the
maps in its files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from core.errors import SweepError
from core.sweep import pair_layout
from core.sweep.plan import MOST_MODELS
from core.sweep.schema import VERSION

MOST_BYTES = 16 * 2**20
"""Largest size of the file."""

MOST_PICTURES = 10**9
MOST_CLASSES = 10**6
MOST_MAPS = 100
MOST_RUNS = 10**5
MOST_PART = 10**6
"""Pictures per part."""

METHOD = r"[a-z0-9_]{1,80}"

Key = Annotated[str, StringConstraints(pattern=rf"^(cnn|vit)_{METHOD}$")]
"""Name of a map in columns of a sweep of a pair."""

MapName = Annotated[str, StringConstraints(pattern=rf"^(.{{1,300}}:)?{METHOD}$")]
"""A method, of all models or of one."""

Short = Annotated[str, StringConstraints(max_length=300)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Scalar = bool | int | float | Text | None
Classes = Annotated[list[Text], Field(max_length=MOST_CLASSES)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class FramingPart(_Part):
    """How pictures were fitted."""

    fit: Short
    size: Annotated[int, Field(ge=1, le=2**16)] | None


class _Asked(_Part):
    """The plan, common to all layouts."""

    pictures: Text
    maps: Annotated[list[MapName], Field(max_length=MOST_MAPS)]
    framing: FramingPart
    target: Literal["own", "shared"]
    evidence: bool
    exceptions: Annotated[dict[Text, Text], Field(max_length=MOST_CLASSES)]
    parameters: Annotated[dict[Short, Short], Field(max_length=1000)] = {}


class PlanPart(_Asked):
    """The plan; its values are checked when it becomes a `core.sweep.Plan`."""

    models: Annotated[list[Short], Field(min_length=1, max_length=MOST_MODELS)]


class PairPlanPart(_Asked):
    """The plan of a sweep of a pair."""

    cnn: Short
    vit: Short


class WeightsPart(_Part):
    """A model of a pair."""

    id: Short
    weights_sha256: Short


class ModelPart(WeightsPart):
    """A model of the sweep."""

    family: Short


class MethodPart(_Part):
    """Method and parameters of a map."""

    method: Annotated[str, StringConstraints(pattern=rf"^{METHOD}$")]
    parameters: Annotated[
        dict[Short, Scalar | Annotated[list[Scalar], Field(max_length=1000)]],
        Field(max_length=100),
    ]


class MapPart(MethodPart):
    """A map, and the number of its model."""

    model: Annotated[int, Field(ge=0, lt=MOST_MODELS)]


class SourcePart(_Part):
    """The source of the pictures."""

    kind: Literal["folder", "address", "paths", "bytes"]
    root: Text
    column: Short = ""


class PicturesPart(_Part):
    """The list of pictures."""

    count: Annotated[int, Field(ge=0, le=MOST_PICTURES)]
    source: SourcePart


class RunPart(_Part):
    """A run that wrote the sweep."""

    command: Annotated[str, StringConstraints(max_length=100_000)]
    began: Short
    versions: Annotated[dict[Short, Short], Field(max_length=100)]


class _Manifest(_Part):
    version: int
    chunk: Annotated[int, Field(ge=1, le=MOST_PART)]
    pictures: PicturesPart
    runs: Annotated[list[RunPart], Field(min_length=1, max_length=MOST_RUNS)]


class ManifestPart(_Manifest):
    """The whole manifest."""

    plan: PlanPart
    models: Annotated[list[ModelPart], Field(min_length=1, max_length=MOST_MODELS)]
    maps: Annotated[list[MapPart], Field(max_length=MOST_MODELS * MOST_MAPS)]
    classes: Annotated[list[Classes], Field(min_length=1, max_length=MOST_MODELS)]

    @model_validator(mode="after")
    def _of_the_same_models(self) -> Self:
        count = len(self.models)
        if [one.id for one in self.models] != self.plan.models or len(self.classes) != count:
            raise ValueError("plan, models and classes must be of the same models")
        if any(one.model >= count for one in self.maps):
            raise ValueError("a map must be of one of the models")
        return self


class PairManifestPart(_Manifest):
    """The whole manifest of a sweep of a pair."""

    plan: PairPlanPart
    models: dict[Literal["cnn", "vit"], WeightsPart]
    maps: Annotated[dict[Key, MethodPart], Field(max_length=2 * MOST_MAPS)]
    classes: dict[Literal["cnn", "vit"], Classes]


def read_manifest(path: Path) -> Mapping[str, Any]:
    """The manifest in a file, as validated plain data.

    Raises
    ------
    SweepError
        It is missing, too large, of another version, or invalid.
    """
    name = path.parent.name
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError("too large")
        content = json.loads(data)
        version = content["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SweepError(f"{name} contains no sweep; choose the folder of one.") from error
    if version not in (VERSION, pair_layout.VERSION):
        raise SweepError(
            f"The sweep {name} has the layout {str(version)[:40]}, expected {VERSION} or "
            f"{pair_layout.VERSION}; make it again."
        )
    try:
        if version == VERSION:
            return ManifestPart.model_validate(content).model_dump(mode="json")
        return _of_a_pair(PairManifestPart.model_validate(content).model_dump(mode="json"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"]) or "what it says"
        raise SweepError(
            f"The sweep {name} cannot be opened: in its {path.name}, {where} is invalid "
            f"({first['msg']}); restore the file from where the sweep was made."
        ) from error


def _of_a_pair(found: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a pair, in the current form."""
    plan, families = dict(found["plan"]), pair_layout.FAMILIES
    ids = {family: plan.pop(family) for family in families}
    weights = {key: one["weights_sha256"] for key, one in found["models"].items()}
    return {
        **found,
        "plan": plan | {"models": list(ids.values())},
        "models": [
            {"id": ids[family], "weights_sha256": weights.get(family, ""), "family": family}
            for family in families
        ],
        "maps": [
            {**one, "model": families.index(key.partition("_")[0])}
            for key, one in found["maps"].items()
        ],
        "columns": list(found["maps"]),
        "classes": [found["classes"].get(family, []) for family in families],
    }
