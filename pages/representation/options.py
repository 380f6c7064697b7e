"""Options of Representation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from dashboard import screen
from dashboard.screen import Index, Name


class Options(screen.Options):
    """Options of Representation."""

    tabs: ClassVar[str] = "represents"

    represents: Literal["layers", "distance", "norms", "neighbors", "lens", "ablation"] = "layers"
    represented: Annotated[tuple[Name, ...], Field(max_length=2)] = ()
    picture_set: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    layers_measured: bool = False
    receptive_layer: Annotated[float, Field(ge=0, le=1)] = 0.5
    near_picture: Name | None = None
    ablated: Literal["heads", "blocks"] = "heads"
    ablated_by: Literal["zero", "mean"] = "zero"
    ablated_part: Index | None = None

    @property
    def pictures(self) -> tuple[str, ...]:
        return self.picture_set

    def without_model(self) -> Self:
        return self.to(represented=(), ablated_part=None)

    def with_other_model(self) -> Self:
        return self.to(represented=(), ablated_part=None)
