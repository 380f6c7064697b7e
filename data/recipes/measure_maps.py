"""Measure class-specific maps on pictures with two objects at known places.

Run by hand after ``held_out``, with the same pictures. Two held-out cut-outs are set side by
side on a held-out photograph; the map of each one's class should lie on it and not on the other::

    python -m data.recipes.measure_maps --pictures pictures

An object's class is the convolutional network's answer for it alone on the same background; objects
with unsure answers, and answers also given for the bare background, are left out. This favors
the convolutional network. Methods with many passes are measured on the first pictures only, with
fewer passes, and the table says so. The pictures are not shipped; the results are written to the
card.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import core
from data.recipes.distill_pictures import random_crop
from data.recipes.head_card import read_details, write_card
from data.recipes.head_measures import SURE
from data.recipes.head_samples import on_samples
from data.recipes.measure_evidence import MANY_PASSES
from data.recipes.picture_sources import CUTOUT, NATURAL, SIDE, Source, collect, split
from data.recipes.weight_files import write_checksums

SEED = 7
WANTED, FEWER = 240, 24
REPLICATES = 2000
PASSES = 20
GIVEN = core.Framing("given")
HALF = SIDE // 2
METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("cnn", "cam", {}),
    ("vit", "gradient_rollout", {}),
    ("vit", "grad_cam", {}),
    ("vit", "gradient_rollout", {"definition": "vit-explain"}),
    ("vit", "transformer_attribution", {}),
    ("vit", "legrad", {}),
    ("vit", "rollout", {"fusion": "min"}),
    *(
        (family, name, MANY_PASSES.get(name, {}))
        for family in ("cnn", "vit")
        for name in ("lrp", *MANY_PASSES, "input_x_gradient")
    ),
)


@dataclass(frozen=True)
class Composite:
    """Two objects on one background.

    Attributes
    ----------
    image
        224 by 224 pixels.
    ground
        The same without the objects.
    alone
        The same with the left object only, and with the right one only.
    masks
        (224, 224) booleans, mask of each object.
    """

    image: Image.Image
    ground: Image.Image
    alone: tuple[Image.Image, Image.Image]
    masks: tuple[np.ndarray, np.ndarray]


def compose(
    cutouts: tuple[Image.Image, Image.Image], ground: Image.Image, rng: np.random.Generator
) -> Composite:
    """Put one cut-out on the left half and one on the right.

    Parameters
    ----------
    cutouts
        RGBA, cropped to its opaque part.
    ground
        RGB, 224 by 224 pixels.
    rng
        Random generator.
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
    return Composite(both, ground, (alone[0], alone[1]), (masks[0], masks[1]))


def coverage(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The share of each cell of a map that an object covers."""
    rows, cols = grid
    cells = mask.reshape(rows, SIDE // rows, cols, SIDE // cols)
    return cells.mean(axis=(1, 3))


def share(positive: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> float:
    """The share of a map's positive relevance on both objects that is on the right one."""
    on_right = float((positive * coverage(right, positive.shape)).sum())
    on_wrong = float((positive * coverage(wrong, positive.shape)).sum())
    return on_right / (on_right + on_wrong) if on_right + on_wrong else 0.5


def pairs_of(
    cnn: core.Model, sources: list[Source], rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """An endless sequence of random pairs of held-out cut-outs of two families.

    Cut-outs of which the network is not sure even on plain gray are left out at once.

    Parameters
    ----------
    cnn
        The network that classifies them.
    sources
        Result of `picture_sources.collect`.
    rng
        Random generator.
    """
    gray = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    cutouts = [index for family in split(sources)["test"][CUTOUT] for index in family]
    views = [compose((sources[i].image, sources[i].image), gray, rng).alone[0] for i in cutouts]
    answers = core.predict(cnn, views, framing=GIVEN)
    sure = [i for i, a in zip(cutouts, answers, strict=True) if a.probabilities[0] > SURE]
    pairs = [
        pair
        for pair in itertools.combinations(sure, 2)
        if sources[pair[0]].family != sources[pair[1]].family
    ]
    for _ in range(PASSES):
        yield from (pairs[place] for place in rng.permutation(len(pairs)))


def classes_of(cnn: core.Model, composite: Composite) -> list[int] | None:
    """The classes of the left and the right object, if the network is sure of both.

    Parameters
    ----------
    cnn
        The network that classifies them.
    composite
        The picture.
    """
    views = [*composite.alone, composite.ground]
    left, right, ground = core.predict(cnn, views, framing=GIVEN)
    if len({left.top, right.top, ground.top}) < 3:
        return None
    return [left.top, right.top] if min(p.probabilities[0] for p in (left, right)) > SURE else None


def measure(cnn: core.Model, vit: core.Model, sources: list[Source]) -> dict[str, Any]:
    """Measure every method on the first pairs with two sure classes.

    Parameters
    ----------
    cnn, vit
        The embedded pair.
    sources
        Result of `picture_sources.collect`.

    Returns
    -------
    dict
        Number of pictures and of objects, and what `summary` says of each method, over all
        its pictures and over those where the class of each object alone is among the transformer's
        first five.
    """
    rng = np.random.default_rng(SEED)
    grounds = [index for family in split(sources)["test"][NATURAL] for index in family]
    shares_found: list[list[tuple[float, float]]] = []
    families: list[tuple[str, str]] = []
    known: list[bool] = []
    for pair in pairs_of(cnn, sources, rng):
        if len(known) == WANTED:
            break
        ground = random_crop(sources[rng.choice(grounds)].image, rng, 0.3)
        composite = compose((sources[pair[0]].image, sources[pair[1]].image), ground, rng)
        classes = classes_of(cnn, composite)
        if classes is None or min(mask.mean() for mask in composite.masks) < 0.02:
            continue
        answers = core.predict(vit, list(composite.alone), framing=GIVEN)
        known.append(all(c in a.indices for c, a in zip(classes, answers, strict=True)))
        families.append((sources[pair[0]].family, sources[pair[1]].family))
        shares_found.append(shares(cnn, vit, composite, classes, len(known) <= FEWER))
        if len(known) % 40 == 0:
            print(f"{len(known)} of {WANTED}", flush=True)
    values, chosen = np.array(shares_found), np.array(known)
    measured = np.isfinite(values).all(axis=2)
    return {
        "pictures": len(known),
        "pictures_known": int(chosen.sum()),
        "objects": len(set(itertools.chain(*families))),
        "methods": [
            {
                "model": family,
                "method": name,
                "parameters": parameters,
                "all": summary_of(measured[:, place], values[:, place], families),
                "known": summary_of(measured[:, place] & chosen, values[:, place], families),
            }
            for place, (family, name, parameters) in enumerate(METHODS)
        ],
    }


def shares(
    cnn: core.Model, vit: core.Model, composite: Composite, classes: list[int], many: bool
) -> list[tuple[float, float]]:
    """For each method, the share on the right object for the left and the right class.

    Without ``many``, those of a method of many passes are ``nan``.
    """
    recordings = {"cnn": core.record(cnn, composite.image, GIVEN)}
    recordings["vit"] = core.record(vit, composite.image, GIVEN)
    left, right = composite.masks
    found = []
    for family, name, parameters in METHODS:
        if name in MANY_PASSES and not many:
            found.append((np.nan, np.nan))
            continue
        recording = recordings[family]
        maps = [
            core.explain(recording.model, recording, name, target, **parameters).positive()
            for target in classes
        ]
        found.append((share(maps[0], left, right), share(maps[1], right, left)))
    return found


def summary_of(
    chosen: np.ndarray, pairs: np.ndarray, families: list[tuple[str, str]]
) -> dict[str, float]:
    """`summary` of some of the pictures, and their number."""
    found = summary(pairs[chosen], list(itertools.compress(families, chosen)))
    return found | {"pictures": int(chosen.sum())}


def summary(pairs: np.ndarray, families: list[tuple[str, str]]) -> dict[str, float]:
    """The mean share, its standard error, and the rate of both classes above one half.

    The same objects appear in many pictures, so the error is a bootstrap over families of objects
    and not over pictures: each replicate draws families with replacement, and a picture counts as
    often as both of its families were drawn, multiplied.

    Parameters
    ----------
    pairs
        (pictures, 2) shares for the left and the right class; at least one picture.
    families
        Families of the two objects of each picture.
    """
    means = pairs.mean(axis=1)
    names = sorted(set(itertools.chain(*families)))
    places = np.array([[names.index(one), names.index(other)] for one, other in families])
    rng = np.random.default_rng(SEED)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), REPLICATES)
    weight = counts[:, places[:, 0]] * counts[:, places[:, 1]]
    drawn = weight.sum(axis=1) > 0
    replicates = (weight @ means)[drawn] / weight.sum(axis=1)[drawn]
    return {
        "share": round(float(means.mean()), 3),
        "error": round(float(replicates.std()), 3),
        "both_right": round(float((pairs.min(axis=1) > 0.5).mean()), 3),
    }


def main() -> None:
    """Measure and write the figures into the card."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pictures", type=Path, required=True, help="unpacked packages")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cnn, vit = core.open_model("efficientnet-lite0"), core.open_model("dinov2-small")
    details = read_details()
    weights = {model.spec.id: model.weights_digest for model in (cnn, vit)}
    details["composites"] = measure(cnn, vit, collect(arguments.pictures)) | {"weights": weights}
    details["samples"] = on_samples(vit.module)
    write_card(details)
    write_checksums()
    print(json.dumps(details["composites"], indent=1))


if __name__ == "__main__":
    main()
