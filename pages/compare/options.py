"""What is chosen of Compare."""

from __future__ import annotations

from dashboard import screen


class Options(screen.Options):
    """What is chosen of Compare."""

    checked: bool = False
