"""The photographs that come with the application."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "data" / "samples"


@dataclass(frozen=True)
class Sample:
    """A photograph with its origin.

    Attributes
    ----------
    id
        File name without its ending.
    classes
        Names of the classes it shows, the most telling first; may be empty.
    """

    id: str
    title: str
    path: Path
    source: str
    author: str
    license: str
    classes: tuple[str, ...]
    halves: bool

    @property
    def credit(self) -> str:
        """One line that names author, source and license."""
        return f"{self.title}. {self.author}; {self.license}; {self.source}."


@lru_cache(maxsize=1)
def samples() -> tuple[Sample, ...]:
    """All samples, in the order in which they are offered."""
    tables = tomllib.loads((FOLDER / "samples.toml").read_text(encoding="utf-8"))["sample"]
    return tuple(
        Sample(
            id=Path(table["file"]).stem,
            title=table["title"],
            path=FOLDER / table["file"],
            source=table["source"],
            author=table["author"],
            license=table["license"],
            classes=tuple(entry["name"] for entry in table["objects"]),
            halves=any(entry["half"] != "whole" for entry in table["objects"]),
        )
        for table in tables
    )
