"""Options of Review."""

from __future__ import annotations

from typing import ClassVar

from dashboard import screen
from dashboard.screen import Index, SavedId, Sought


class Options(screen.Options):
    """Options of Review."""

    is_saved: ClassVar[bool] = False

    search: Sought | None = None
    of_page: str | None = None
    of_picture: Sought | None = None
    of_model: Sought | None = None
    of_class: Sought | None = None
    archived: bool = False
    first: SavedId | None = None
    second: SavedId | None = None
    saved_leaf: Index = 0
    export_from: Index = 0
    presented: bool = False
