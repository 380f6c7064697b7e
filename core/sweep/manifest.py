"""The manifest of a sweep as it may be read: typed and bounded, whoever wrote it.

Keys that are not known here are ignored, at any depth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from core.errors import SweepError
from core.sweep.schema import VERSION

MOST_BYTES = 16 * 2**20
"""Size of the file, at most."""

MOST_PICTURES = 10**9
MOST_CLASSES = 10**6
MOST_MAPS = 100
MOST_RUNS = 10**5
MOST_PART = 10**6
"""Pictures of one part."""

Key = Annotated[str, StringConstraints(pattern=r"^(cnn|vit)_[a-z0-9_]{1,80}$")]
"""What columns call a map."""

MapName = Annotated[str, StringConstraints(pattern=r"^((cnn|vit):)?[a-z0-9_]{1,80}$")]
"""A method, of both models or of one."""

Short = Annotated[str, StringConstraints(max_length=300)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Scalar = bool | int | float | Text | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class FramingPart(_Part):
    """How pictures were fitted."""

    fit: Short
    size: Annotated[int, Field(ge=1, le=2**16)] | None


class PlanPart(_Part):
    """What was asked; the values are checked when it is made a `core.sweep.Plan`."""

    pictures: Text
    cnn: Short
    vit: Short
    maps: Annotated[list[MapName], Field(max_length=MOST_MAPS)]
    framing: FramingPart
    target: Literal["own", "shared"]
    evidence: bool
    exceptions: Annotated[dict[Text, Text], Field(max_length=MOST_CLASSES)]
    parameters: Annotated[dict[Short, Short], Field(max_length=1000)] = {}


class ModelPart(_Part):
    """A model that was asked."""

    id: Short
    weights_sha256: Short


class MapPart(_Part):
    """How a map was made."""

    method: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,80}$")]
    parameters: Annotated[
        dict[Short, Scalar | Annotated[list[Scalar], Field(max_length=1000)]],
        Field(max_length=100),
    ]


class SourcePart(_Part):
    """Where the pictures lie."""

    kind: Literal["folder", "address", "paths", "bytes"]
    root: Text
    column: Short = ""


class PicturesPart(_Part):
    """The list of pictures."""

    count: Annotated[int, Field(ge=0, le=MOST_PICTURES)]
    source: SourcePart


class RunPart(_Part):
    """One of the runs that made it."""

    command: Annotated[str, StringConstraints(max_length=100_000)]
    began: Short
    versions: Annotated[dict[Short, Short], Field(max_length=100)]


Family = Literal["cnn", "vit"]


class ManifestPart(_Part):
    """All of it."""

    version: int
    chunk: Annotated[int, Field(ge=1, le=MOST_PART)]
    plan: PlanPart
    models: dict[Family, ModelPart]
    maps: Annotated[dict[Key, MapPart], Field(max_length=2 * MOST_MAPS)]
    pictures: PicturesPart
    classes: dict[Family, Annotated[list[Text], Field(max_length=MOST_CLASSES)]]
    runs: Annotated[list[RunPart], Field(min_length=1, max_length=MOST_RUNS)]


def read_manifest(path: Path) -> Mapping[str, Any]:
    """The manifest in a file, as plain data that is known to be what it must be.

    Raises
    ------
    SweepError
        There is none, it is too large, of another version, or says something impossible.
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
        raise SweepError(f"{name} holds no sweep; choose a folder that one wrote.") from error
    if version != VERSION:
        raise SweepError(
            f"The sweep {name} has the layout {str(version)[:40]}, expected {VERSION}; make it "
            "anew."
        )
    try:
        return ManifestPart.model_validate(content).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"])
        raise SweepError(
            f"The sweep {name} cannot be opened: in its {path.name}, {where} is not what it must "
            f"be ({first['msg']}); take the file from where the sweep was made."
        ) from error
