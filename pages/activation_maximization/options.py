"""Options of Activation maximization."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dashboard import screen


class Options(screen.Options):
    """Options of Activation maximization."""

    objective: Literal["class", "channel"] = "class"
    steps: Annotated[int, Field(ge=16, le=512)] = 48
    side: Annotated[int, Field(ge=16, le=1024)] | None = None
    variation: Annotated[float, Field(ge=0, le=1)] | None = None
    gray: Annotated[float, Field(ge=0, le=1)] | None = None
    seam: Annotated[float, Field(ge=0, le=1)] | None = None
    moves: bool = True
    twin: bool = False
