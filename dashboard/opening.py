"""The first screen of each sample as a still, shown until a browser can draw the maps.

The stills are made beforehand with the embedded pair (``pages/compare/make_stills.py``). Imports
nothing heavy, as a new server shows them while it imports PyTorch.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import streamlit as st
from PIL import Image

from dashboard.registry import ROOT

OPENING = "panda-and-polar-bear"
"""Picture of the bare address. Older addresses without a picture mean the default of
`dashboard.screen.Shared.image`, so every other address names its picture."""

SHEET, FACTS = ROOT / "data" / "opening.jpg", ROOT / "data" / "opening.json"


@dataclass(frozen=True)
class Still:
    """The maps of a first screen as one picture.

    Attributes
    ----------
    titles
        Title and subtitle of each panel.
    source
        All panels from left to right, as a data URI.
    top, bottom
        Pixels above and below the panels in the figure that takes the still's place.
    """

    titles: tuple[tuple[str, str], ...]
    source: str
    top: int
    bottom: int

    def html(self, place: str) -> str:
        """The still as HTML.

        Parameters
        ----------
        place
            A class of the style sheet: ``ahead`` in the flow, ``below`` a figure.
        """
        count = len(self.titles)
        panels = "".join(
            f'<div><p style="height: {self.top}px"><b>{escape(title)}</b>'
            f"{''.join(f'<span>{escape(line)}</span>' for line in subtitle.splitlines())}</p>"
            f'<i style="background-position: {100 * number / (count - 1):g}% 0"></i></div>'
            for number, (title, subtitle) in enumerate(self.titles)
        )
        rule = (
            f".still i {{ background-image: url({self.source}); "
            f"background-size: {count * 100}% 100%; }}"
        )
        what = "; ".join(f"{title}: {', '.join(rest.splitlines())}" for title, rest in self.titles)
        return (
            f'<style>{rule}</style><div class="still {place}" role="img" '
            f'aria-label="{escape(what)}" style="padding-bottom: {self.bottom}px">{panels}</div>'
        )


def source(image: Image.Image) -> str:
    """A picture as a data URI, without what draws charts."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@cache
def _facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return found


def still(page: str, address: Mapping[str, Sequence[str]]) -> Still | None:
    """The still of a screen; ``None`` unless it is the first screen of a sample.

    Parameters
    ----------
    address
        Values by key.
    """
    if page != "compare" or set(address) - {"image"}:
        return None
    [*_, image] = address.get("image") or ([] if address else [OPENING]) or [""]
    return _still(image) if image in _facts()["samples"] else None


@cache
def _still(sample: str) -> Still:
    facts = _facts()
    side, titles = facts["side"], facts["samples"][sample]
    row = list(facts["samples"]).index(sample)
    with Image.open(SHEET) as sheet:
        strip = sheet.crop((0, row * side, len(titles) * side, (row + 1) * side))
    return Still(
        tuple((title, subtitle) for title, subtitle in titles),
        source(strip),
        facts["top"],
        facts["bottom"],
    )


@contextmanager
def ahead(found: Still | None) -> Iterator[None]:
    """Show a still inside a ``with`` block that computes the page; without one, a placeholder."""
    if found is None:
        with st.skeleton(height=420):
            yield
        return
    place = st.empty()
    place.html(found.html("ahead"))
    try:
        yield
    finally:
        place.empty()
