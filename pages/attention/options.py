"""Options of Attention."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dashboard import screen
from dashboard.screen import Index, Name, Seed, Share


class Options(screen.Options):
    """Options of Attention."""

    tabs: ClassVar[str] = "tab"

    tab: Literal["grid", "layer", "joint", "channels", "similarity", "several"] = "grid"
    layer: Index | None = None
    head: Index | None = None
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

    @property
    def pictures(self) -> tuple[str, ...]:
        return self.several
