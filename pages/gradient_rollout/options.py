"""Options of Gradient rollout."""

from __future__ import annotations

from typing import ClassVar, Self

from dashboard import screen
from dashboard.screen import Looks


class Options(screen.Options):
    """Options of Gradient rollout."""

    looks: ClassVar[tuple[str, ...]] = ("row",)

    row: Looks = ()
    animated: str | None = None

    def with_other_picture(self) -> Self:
        return self.to(animated=None)
