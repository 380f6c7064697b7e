"""Options of Activation maximization."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dashboard import screen


class Options(screen.Options):
    """Options of Activation maximization."""

    earlier: ClassVar[Mapping[str, str]] = MappingProxyType({"parameterization": "fourier"})

    objective: Literal["class", "channel"] = "class"
    parameterization: Literal["phase", "fourier"] = "phase"
    transparency: Literal["white", "bare"] = "white"
    steps: Annotated[int, Field(ge=16, le=512)] | None = None
    side: Annotated[int, Field(ge=16, le=1024)] | None = None
    variation: Annotated[float, Field(ge=0, le=1)] | None = None
    gray: Annotated[float, Field(ge=0, le=1)] | None = None
    seam: Annotated[float, Field(ge=0, le=1)] | None = None
    moves: bool = True
    twin: bool = False
