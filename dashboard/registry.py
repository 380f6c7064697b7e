"""The list of pages, registered by `pages`. Imports nothing heavy."""

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
        Of its link. The icon is not set for the tab, as the client would fetch it from another
        host.
    package
        Package of its modules ``options``, ``view``, ``draw`` and ``page``.
    """

    name: str
    title: str
    icon: str
    package: str

    @property
    def file(self) -> Path:
        """The file that Streamlit runs."""
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
