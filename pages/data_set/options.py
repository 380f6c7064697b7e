"""Options of Data set."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dashboard import screen
from dashboard.screen import Place


class Options(screen.Options):
    """Options of Data set."""

    aside: ClassVar[str] = (
        "A sweep has its own pictures and models. Those below are for the other pages, and its "
        "models for new sweeps."
    )

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
