"""Make the stills of the first screen of each sample.

Run by hand, after the weights and the samples::

    python -m pages.compare.make_stills

The panels are one sheet, ``data/opening.jpg``, a row for each sample; their titles and the digests
of the weights are in ``data/opening.json``.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from PIL import Image

from core import samples
from dashboard import render, settings
from dashboard.opening import FACTS, SHEET
from pages.compare.view import Compare

SIDE = 280


def made(sample: str) -> Compare:
    """What the page makes of a sample's first screen."""
    [wanted] = render.read(f"/compare?image={sample}")
    found = render.view(wanted)
    assert isinstance(found, Compare)
    assert not found.problems, found.problems
    return found


def strip(view: Compare) -> Image.Image:
    """The panels from left to right."""
    layers = view.row.layers()
    whole = Image.new("RGB", (len(layers) * SIDE, SIDE))
    for number, layer in enumerate(layers):
        panel = layer.picture.convert("RGBA")
        if layer.map is not None:
            panel.alpha_composite(layer.map)
        small = panel.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        whole.paste(small, (number * SIDE, 0))
    return whole


def facts(views: dict[str, Compare]) -> dict[str, Any]:
    """What the sheet shows, by sample."""
    first = next(iter(views.values()))
    margin = first.row.figure.layout.margin
    return {
        "weights": dict(first.weights),
        "side": SIDE,
        "top": margin.t,
        "bottom": margin.b,
        "samples": {
            sample: [[panel.title, panel.subtitle] for panel in view.row.panels]
            for sample, view in views.items()
        },
    }


def main() -> None:
    """Make and write."""
    argparse.ArgumentParser(description=__doc__.split("\n", 1)[0]).parse_args()
    settings.apply()
    views = {sample.id: made(sample.id) for sample in samples()}
    strips = [strip(view) for view in views.values()]
    sheet = Image.new("RGB", (strips[0].width, SIDE * len(strips)))
    for row, one in enumerate(strips):
        sheet.paste(one, (0, row * SIDE))
    sheet.save(SHEET, "JPEG", quality=85, optimize=True)
    text = json.dumps(facts(views), indent=1, ensure_ascii=False)
    FACTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
