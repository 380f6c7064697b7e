"""Options of Evidence."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dashboard import screen
from dashboard.looks import MOST
from dashboard.screen import PATCHES, Text


class Options(screen.Options):
    """Options of Evidence."""

    looks: ClassVar[tuple[str, ...]] = ("maps",)
    tabs: ClassVar[str] = "question"

    question: Literal["removal", "curves", "randomization", "pointing"] = "removal"
    change: Literal["map", "patches", "shuffle", "drop", "blur", "gray"] = "map"
    top_of: Annotated[int, Field(ge=0, le=MOST - 1)] | None = None
    top: Annotated[float, Field(ge=0.01, le=1)] = 0.2
    removed: Annotated[str, Field(pattern=PATCHES)] | None = None
    fill: Literal["blur", "mean", "black", "noise"] = "blur"
    strength: Annotated[float, Field(ge=0, le=64)] | None = None
    maps: Annotated[tuple[Text, ...], Field(max_length=32)] = ()
    measured: bool = False
    curve: Literal["deletion", "insertion"] = "deletion"
    of: str | None = None
    step: Annotated[int, Field(ge=0, le=16)] = 4
    four: Annotated[tuple[str, ...], Field(max_length=4)] = ()

    @property
    def mask(self) -> npt.NDArray[np.bool_] | None:
        """Removed patches, (rows, cols); ``None`` if none were chosen."""
        if self.removed is None:
            return None
        shape, _, digits = self.removed.partition("-")
        rows, cols = map(int, shape.split("x"))
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))[: rows * cols]
        return np.pad(bits, (0, rows * cols - bits.size)).reshape(rows, cols).astype(bool)

    @property
    def pictures(self) -> tuple[str, ...]:
        return self.four

    def without_model(self) -> Self:
        return self.to(top_of=None, of=None)

    def with_other_model(self) -> Self:
        return self.to(of=None)


def text_of_mask(mask: npt.NDArray[np.bool_]) -> str:
    """The value of `Options.removed` for a mask."""
    return f"{mask.shape[0]}x{mask.shape[1]}-{np.packbits(mask).tobytes().hex()}"
