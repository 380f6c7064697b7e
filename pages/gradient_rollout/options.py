"""Options of Gradient rollout."""

from __future__ import annotations

from typing import ClassVar

from dashboard import screen
from dashboard.screen import Looks


class Options(screen.Options):
    """Options of Gradient rollout."""

    looks: ClassVar[tuple[str, ...]] = ("row",)

    row: Looks = ()
    animated: str | None = None
