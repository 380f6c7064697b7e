"""Make the gallery that Activation maximization opens on.

Run by hand, after the weights::

    python -m pages.activation_maximization.make_examples

Each row is what the page makes of a link: the pictures of the embedded pair for one class, or for
the channels with the most contrast on a sample, side by side in the order of their titles. The
pictures are one sheet, ``data/maximizations.jpg``; titles, seam energies, links and the digests of
the weights are in ``data/maximizations.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from dashboard import render, settings
from pages.activation_maximization.examples import FACTS, SHEET
from pages.activation_maximization.view import Maximization

STEPS, SIDE = 64, 168
CLASSES = (
    "giant panda",
    "ice bear",
    "Egyptian cat",
    "espresso",
    "goldfish",
    "zebra",
    "balloon",
    "strawberry",
)
CHANNELS = ("panda-and-polar-bear", "chelsea", "coffee", "rocket")
"""Samples whose channels with the most contrast are maximized."""


def links() -> list[str]:
    """The links of all rows."""
    usual = {"steps": STEPS, "side": SIDE, "twin": "yes"}
    of_class = [{"classes": name} | usual for name in CLASSES]
    of_channel = [{"image": name, "objective": "channel"} | usual for name in CHANNELS]
    return [f"/activation_maximization?{urlencode(query)}" for query in [*of_class, *of_channel]]


def made(link: str) -> Maximization:
    """What the page makes of a link."""
    [wanted] = render.read(link)
    found = render.view(wanted)
    assert isinstance(found, Maximization)
    assert not found.problems, found.problems
    return found


def sheet(rows: list[Maximization], side: int) -> Image.Image:
    """All pictures, a row for each link."""
    across = max(len(row.results) for row in rows)
    whole = Image.new("RGB", (across * side, len(rows) * side))
    for y, row in enumerate(rows):
        for x, one in enumerate(row.results):
            whole.paste(
                one.image.resize((side, side), Image.Resampling.LANCZOS), (x * side, y * side)
            )
    return whole


def facts(rows: dict[str, Maximization], side: int) -> dict[str, Any]:
    """What the sheet shows, by link."""
    return {
        "weights": dict(next(iter(rows.values())).weights),
        "side": side,
        "rows": [
            {
                "link": link,
                "titles": [one.result.title for one in row.results],
                "objectives": [one.result.objective for one in row.results],
                "energies": [round(one.energy, 3) for one in row.results],
            }
            for link, row in rows.items()
        ],
    }


def main() -> None:
    """Make and write."""
    argparse.ArgumentParser(description=__doc__.split("\n", 1)[0]).parse_args()
    settings.apply()
    rows = {}
    for link in links():
        print(link, file=sys.stderr, flush=True)
        rows[link] = made(link)
    sheet([*rows.values()], SIDE).save(SHEET, "JPEG", quality=82)
    text = json.dumps(facts(rows, SIDE), indent=1, ensure_ascii=False)
    FACTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
