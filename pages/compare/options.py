"""Options of Compare."""

from __future__ import annotations

from dashboard import screen


class Options(screen.Options):
    """Options of Compare."""

    checked: bool = False
