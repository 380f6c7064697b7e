"""Make the gallery that Activation maximization opens on.

Run by hand, after the weights::

    python -m pages.activation_maximization.make_examples

Each row is what the page makes of a link: the pictures of the embedded pair for one class, or for
the channels with the most contrast on a sample, side by side in the order of their titles. The
pictures are one sheet, ``data/maximizations.jpg``; titles, seam energies, what the models call
them, links and the digests of the weights are in ``data/maximizations.json``.

All rows take about twenty minutes of one core. Finished ones are kept in the folder ``--work`` and
not made again, so that the recipe can be stopped; ``--rows 0 6`` makes a part of them, for several
processes at once, of which the last writes the files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

import core
from dashboard import render, settings
from pages.activation_maximization.examples import FACTS, SHEET
from pages.activation_maximization.run import Opinion
from pages.activation_maximization.view import Maximization

STEPS, SIDE = 80, 168
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
    usual = {"parameterization": "phase", "steps": STEPS, "side": SIDE, "twin": "yes"}
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


def strip(row: Maximization, side: int) -> Image.Image:
    """The pictures of a link, side by side."""
    whole = Image.new("RGB", (len(row.results) * side, side))
    for x, one in enumerate(row.results):
        picture = one.image.resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(picture, (x * side, 0))
    return whole


def facts(link: str, row: Maximization) -> dict[str, Any]:
    """What the pictures of a link are."""
    return {
        "link": link,
        "titles": [one.result.title for one in row.results],
        "objectives": [one.result.objective for one in row.results],
        "energies": [round(one.energy, 3) for one in row.results],
        "opinions": [
            {opinion.name: rounded(opinion) for opinion in one.result.opinions}
            for one in row.results
        ],
    }


def rounded(opinion: Opinion) -> dict[str, Any]:
    """The first class of a model and its probability, and that of the class that was wanted."""
    wanted = None if opinion.wanted is None else round(opinion.wanted, 3)
    return {
        "label": opinion.label,
        "probability": round(opinion.probability, 3),
        "wanted": wanted,
    }


def make(link: str, work: Path, number: int) -> None:
    """Make a row, and keep it in a folder."""
    done = work / f"{number}.json"
    if done.exists():
        return
    print(link, file=sys.stderr, flush=True)
    row = made(link)
    strip(row, SIDE).save(work / f"{number}.png")
    kept = {"weights": dict(row.weights), "row": facts(link, row)}
    done.write_text(json.dumps(kept), encoding="utf-8")


def write(work: Path, count: int) -> None:
    """Write the sheet and its facts from all rows."""
    rows = [json.loads((work / f"{n}.json").read_text(encoding="utf-8")) for n in range(count)]
    strips = [core.read_image(work / f"{number}.png") for number in range(count)]
    sheet = Image.new("RGB", (max(one.width for one in strips), count * SIDE))
    for y, one in enumerate(strips):
        sheet.paste(one, (0, y * SIDE))
    sheet.save(SHEET, "JPEG", quality=82)
    found = {"weights": rows[0]["weights"], "side": SIDE, "rows": [one["row"] for one in rows]}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    FACTS.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Make and write."""
    wanted = links()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", type=Path, help="a folder for finished rows")
    parser.add_argument("--rows", type=int, nargs=2, default=(0, len(wanted)), metavar="ROW")
    given = parser.parse_args()
    settings.apply()
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for number in range(*given.rows):
            make(wanted[number], work, number)
        if all((work / f"{number}.json").exists() for number in range(len(wanted))):
            write(work, len(wanted))


if __name__ == "__main__":
    main()
