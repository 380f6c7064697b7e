"""What the operator sets, from the environment."""

from __future__ import annotations

import os
from pathlib import Path

import core

PASSES = "PARALLAX_PASSES"
PATIENCE = "PARALLAX_PATIENCE"
MEMORY = "PARALLAX_MEMORY"
PICTURES = "PARALLAX_PICTURES"
SWEEPS = "PARALLAX_SWEEPS"


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


def pictures() -> Path | None:
    """The folder that pictures may be drawn from, if the operator offers one that exists."""
    folder = os.environ.get(PICTURES, "").strip()
    return Path(folder) if folder and Path(folder).is_dir() else None


def sweeps() -> Path | None:
    """The folder of the sweeps that the operator offers, if there is one that exists."""
    folder = os.environ.get(SWEEPS, "").strip()
    return Path(folder) if folder and Path(folder).is_dir() else None


def _whole_number(variable: str) -> int | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal():
        raise core.ParameterError(
            f"The environment variable {variable} is {text!r}, expected a whole number."
        )
    return int(text)
