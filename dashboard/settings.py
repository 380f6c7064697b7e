"""What the operator sets, from the environment."""

from __future__ import annotations

import os

import core

PASSES = "PARALLAX_PASSES"
PATIENCE = "PARALLAX_PATIENCE"
MEMORY = "PARALLAX_MEMORY"


def apply() -> None:
    """Tell `core` how much may run at once; may be called again.

    Raises
    ------
    ParameterError
        A variable does not hold a number, or one out of its range.
    """
    megabytes = _whole_number(MEMORY)
    core.configure(
        passes=_whole_number(PASSES),
        patience=_whole_number(PATIENCE),
        memory=None if megabytes is None else megabytes * 2**20,
    )


def _whole_number(variable: str) -> int | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal():
        raise core.ParameterError(
            f"The environment variable {variable} is {text!r}, expected a whole number."
        )
    return int(text)
