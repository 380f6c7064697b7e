"""Make the results that Representation opens on: the embedded pair over all samples.

Run by hand, after the weights::

    python -m pages.representation.make_results

Every question of the page is asked once as its links ask it, and all results are written to
``data/representation.npz``, each under the digest of its key: what was asked, the weights, and the
pixels of the pictures. What the file already has for these is kept, so that the command goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from dashboard import render, settings
from pages.representation import shipped
from pages.representation.view import Representation

QUESTIONS = (
    "layers",
    "distance",
    "norms",
    "neighbors",
    "lens",
    "ablation",
    "ablation&ablated=blocks",
)
LINKS = tuple(f"/representation?represents={one}&layers_measured=yes" for one in QUESTIONS)
"""What is shipped."""


def made(link: str) -> Representation:
    """What the page makes of a link."""
    [wanted] = render.read(link)
    found = render.view(wanted)
    assert isinstance(found, Representation)
    assert not found.problems, found.problems
    return found


def main() -> None:
    """Make and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--again", action="store_true", help="also what is there, with its weights")
    given = parser.parse_args()
    settings.apply()
    if given.again:
        shipped.FILE.unlink(missing_ok=True)
    results: dict[tuple[Any, ...], Any] = {}
    for link in LINKS:
        print(link, file=sys.stderr, flush=True)
        view = made(link)
        results |= view.asked.known
        np.savez_compressed(shipped.FILE, **shipped.written(results, view.weights))


if __name__ == "__main__":
    main()
