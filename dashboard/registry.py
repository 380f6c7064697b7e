"""The pages that there are, as `pages` registers them. Asks for nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes
    ----------
    name
        In the address.
    title, icon
        Of its link. The icon is not the page's own: the client asks another host for that of a tab.
    package
        Where its parts are: ``options``, ``view``, ``draw`` and ``page``.
    """

    name: str
    title: str
    icon: str
    package: str

    @property
    def file(self) -> Path:
        """What Streamlit runs for it."""
        return ROOT.joinpath(*self.package.split("."), "page.py")

    def part(self, name: str) -> Any:
        """One of its modules."""
        return import_module(f"{self.package}.{name}")


_pages: dict[str, Page] = {}


def register(*found: Page) -> None:
    """Make pages known, in the order of their links."""
    _pages.update({page.name: page for page in found})


def pages() -> Mapping[str, Page]:
    """All pages by name, in the order of their links."""
    return MappingProxyType(_pages)
