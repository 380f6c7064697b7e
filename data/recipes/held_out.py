"""Held-out pictures of packages, for the agreement of both models.

The sources are desktop backgrounds, samples and cut-outs (`picture_sources`), without labels:
only the teacher's classes are known. Other files of these packages were used in the earlier fit,
which the shipped one continues; those drawn here were used in neither. ``validation`` is used to
choose the scale of the probabilities, ``test`` to measure.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from data.recipes.distill_pictures import draw
from data.recipes.photograph_features import Networks
from data.recipes.picture_sources import CUTOUT, NATURAL, collect, split

SEED = 33
COUNTS = {("validation", NATURAL): 500, ("test", NATURAL): 900, ("test", CUTOUT): 500}
"""Pictures of each part and kind."""
FILE = "held-out.npz"


def main() -> None:
    """Draw the pictures and write their features and the teacher's scores into the cache."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pictures", type=Path, required=True, help="unpacked packages")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the features")
    parser.add_argument("--wheels", type=Path, help="folder of downloaded wheels")
    arguments = parser.parse_args()
    sources = collect(arguments.pictures)
    families = split(sources)
    networks = Networks(arguments.wheels)
    rng = np.random.default_rng(SEED)
    images, rows = [], []
    for (part, kind), count in COUNTS.items():
        for _ in range(count):
            image, index = draw(sources, families[part], kind, rng, augment=False)
            images.append(image)
            rows.append((sources[index].name, sources[index].family, part, kind))
    names, family, parts, kinds = (np.array(column) for column in zip(*rows, strict=True))
    np.savez(
        arguments.cache / FILE,
        names=names,
        family=family,
        split=parts,
        kind=kinds,
        features=networks.student(images).astype(np.float16),
        logits=networks.teacher(images).astype(np.float16),
    )


if __name__ == "__main__":
    main()
