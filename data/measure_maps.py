"""Measure class-specific maps on pictures with two objects whose places are known.

Run by hand after `distill_head.py`, with the same pictures. Two held-out cut-outs are set side by
side on a held-out photograph; the map of each one's class should lie on it and not on the other::

    python data/measure_maps.py --pictures pictures

An object's class is what the convolutional network answers to it alone on the same ground; objects
of which it is not sure are left out. The pictures are not shipped, the figures go into the card.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distill_head import CARD_FILE, WEIGHTS, card_text
from distill_pictures import random_crop
from picture_sources import CUTOUT, NATURAL, SIDE, Source, collect, split

import core
from core.models import Model

SEED = 7
WANTED = 240
LEAST = 0.3
GIVEN = core.Framing("given")
HALF = SIDE // 2
METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("cnn", "cam", {}),
    ("vit", "gradient_rollout", {}),
    ("vit", "gradient_rollout", {"definition": "vit-explain"}),
    ("vit", "transformer_attribution", {}),
    ("vit", "legrad", {}),
    ("vit", "rollout", {"fusion": "min"}),
)


@dataclass(frozen=True)
class Composite:
    """Two objects on one ground.

    Attributes
    ----------
    image : PIL.Image.Image
        224 by 224 pixels.
    alone : tuple of PIL.Image.Image
        The same with the left object only, and with the right one only.
    masks : tuple of numpy.ndarray
        (224, 224) booleans, where each object is.
    """

    image: Image.Image
    alone: tuple[Image.Image, Image.Image]
    masks: tuple[np.ndarray, np.ndarray]


def compose(
    cutouts: tuple[Image.Image, Image.Image], ground: Image.Image, rng: np.random.Generator
) -> Composite:
    """Set one cut-out on the left half and one on the right.

    Parameters
    ----------
    cutouts : tuple of PIL.Image.Image
        RGBA, cropped to what is not transparent.
    ground : PIL.Image.Image
        RGB, 224 by 224 pixels.
    rng : numpy.random.Generator
        Source of chance.
    """
    both, alone, masks = ground.copy(), [], []
    for number, cutout in enumerate(cutouts):
        scale = HALF * rng.uniform(0.85, 0.98) / max(cutout.size)
        size = tuple(max(1, round(side * scale)) for side in cutout.size)
        small = cutout.resize(size, Image.Resampling.LANCZOS)
        left = number * HALF + (HALF - small.width) // 2
        top = round(rng.uniform(0.1, 0.9) * (SIDE - small.height))
        one = ground.copy()
        for picture in (one, both):
            picture.paste(small, (left, top), small)
        alone.append(one)
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(small.getchannel("A"), (left, top))
        masks.append(np.asarray(mask) > 127)
    return Composite(both, (alone[0], alone[1]), (masks[0], masks[1]))


def coverage(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each cell of a map that an object covers."""
    rows, cols = grid
    cells = mask.reshape(rows, SIDE // rows, cols, SIDE // cols)
    return cells.mean(axis=(1, 3))


def share(relevance: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> float:
    """Return how much of a map's positive relevance on both objects is on the right one."""
    positive = np.maximum(relevance, 0)
    on_right = float((positive * coverage(right, relevance.shape)).sum())
    on_wrong = float((positive * coverage(wrong, relevance.shape)).sum())
    return on_right / (on_right + on_wrong) if on_right + on_wrong else 0.5


def composites(
    sources: list[Source], rng: np.random.Generator
) -> list[tuple[Callable[[], Composite], tuple[int, int]]]:
    """Return recipes for pictures of every pair of held-out cut-outs, in random order."""
    families = split(sources)["test"]
    cutouts = [index for family in families[CUTOUT] for index in family]
    grounds = [index for family in families[NATURAL] for index in family]
    pairs = [
        pair
        for pair in itertools.combinations(cutouts, 2)
        if sources[pair[0]].family != sources[pair[1]].family
    ]
    rng.shuffle(pairs)
    found = []
    for first, second in pairs:

        def make(first: int = first, second: int = second) -> Composite:
            ground = random_crop(sources[rng.choice(grounds)].image, rng, 0.3)
            return compose((sources[first].image, sources[second].image), ground, rng)

        found.append((make, (first, second)))
    return found


def measure(cnn: Model, vit: Model, sources: list[Source]) -> dict[str, Any]:
    """Measure every method on the first pairs whose two classes the teacher is sure of.

    Parameters
    ----------
    cnn, vit : core.models.Model
        The embedded pair.
    sources : list of Source
        What :func:`picture_sources.collect` returned.

    Returns
    -------
    dict
        Number of pictures, and for each method the mean share on the right object, its standard
        error, and the share of pictures in which the maps of both classes lie on their objects;
        over all pictures, and over those where the transformer knows both objects alone.
    """
    rng = np.random.default_rng(SEED)
    rows: list[dict[str, Any]] = []
    for make, _ in composites(sources, rng):
        if len(rows) == WANTED:
            break
        composite = make()
        answers = core.predict(cnn, list(composite.alone), framing=GIVEN)
        classes = [answer.top for answer in answers]
        if classes[0] == classes[1] or min(a.probabilities[0] for a in answers) < LEAST:
            continue
        if min(mask.sum() for mask in composite.masks) < 0.02 * SIDE**2:
            continue
        students = core.predict(vit, list(composite.alone), framing=GIVEN)
        known = all(
            wanted in student.indices for wanted, student in zip(classes, students, strict=True)
        )
        rows.append({"known": known, "shares": shares(cnn, vit, composite, classes)})
        if len(rows) % 40 == 0:
            print(f"{len(rows)} of {WANTED}", flush=True)
    return {
        "pictures": len(rows),
        "pictures_known": sum(row["known"] for row in rows),
        "methods": [
            {
                "model": family,
                "method": name,
                "parameters": parameters,
                "all": summary([row["shares"][place] for row in rows]),
                "known": summary([row["shares"][place] for row in rows if row["known"]]),
            }
            for place, (family, name, parameters) in enumerate(METHODS)
        ],
    }


def shares(
    cnn: Model, vit: Model, composite: Composite, classes: list[int]
) -> list[tuple[float, float]]:
    """Return, for each method, the share on the right object for the left and the right class."""
    recordings = {"cnn": core.record(cnn, composite.image, GIVEN)}
    recordings["vit"] = core.record(vit, composite.image, GIVEN)
    left, right = composite.masks
    found = []
    for family, name, parameters in METHODS:
        recording = recordings[family]
        maps = [
            core.explain(recording.model, recording, name, target, **parameters).relevance
            for target in classes
        ]
        found.append((share(maps[0], left, right), share(maps[1], right, left)))
    return found


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Return mean share, its standard error over pictures, and how often both are above half."""
    means = np.mean(pairs, axis=1)
    return {
        "share": round(float(means.mean()), 3),
        "error": round(float(means.std(ddof=1) / len(means) ** 0.5), 3),
        "both_right": round(float((np.min(pairs, axis=1) > 0.5).mean()), 3),
    }


def main() -> None:
    """Measure and write the figures into the card."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pictures", type=Path, required=True, help="unpacked packages")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cnn, vit = core.open_model("efficientnet-lite0"), core.open_model("dinov2-small")
    path = WEIGHTS / CARD_FILE
    card = json.loads(path.read_text(encoding="utf-8"))
    card["composites"] = measure(cnn, vit, collect(arguments.pictures))
    path.write_text(card_text(card), encoding="utf-8")
    print(json.dumps(card["composites"], indent=1))


if __name__ == "__main__":
    main()
