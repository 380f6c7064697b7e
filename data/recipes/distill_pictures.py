"""How the pictures for the classes are drawn: crops of photographs, and cut-outs on crops."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from data.recipes.picture_sources import NATURAL, SIDE, Source

FINEST = 160
"""Least side in pixels of a crop; smaller ones would only be blurred by enlarging."""


def random_crop(image: Image.Image, rng: np.random.Generator, least: float) -> Image.Image:
    """Cut a random part out of a photograph and resize it to the square that both models see.

    Parameters
    ----------
    image
        The photograph.
    rng
        Random generator.
    least
        Smallest share of the shorter side that the crop may have.
    """
    shorter = min(image.size)
    least = min(1.0, max(least, FINEST / shorter))
    ratio = float(np.exp(rng.uniform(-0.29, 0.29)))
    side = shorter * float(np.exp(rng.uniform(np.log(least), 0.0)))
    width, height = min(side * ratio, image.width), min(side / ratio, image.height)
    left = rng.uniform(0, image.width - width)
    top = rng.uniform(0, image.height - height)
    box = (left, top, left + width, top + height)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change brightness, contrast and color by up to a third."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(float(rng.uniform(0.7, 1.35)))
    return image


def place(cutout: Image.Image, ground: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put a cut-out at a random size and place on a background.

    Parameters
    ----------
    cutout
        RGBA, cropped to its opaque part.
    ground
        RGB square.
    rng
        Random generator.
    """
    scale = SIDE * rng.uniform(0.4, 1.3) / max(cutout.size)
    size = (max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale)))
    turned = cutout.resize(size, Image.Resampling.LANCZOS)
    turned = turned.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BICUBIC, expand=True)
    left, top = (
        round(float(rng.uniform(min(0, SIDE - side), max(0, SIDE - side)))) for side in turned.size
    )
    out = ground.copy()
    out.paste(turned, (left, top), turned)
    return out


def draw(
    sources: list[Source],
    families: dict[str, list[list[int]]],
    kind: str,
    rng: np.random.Generator,
    augment: bool,
) -> tuple[Image.Image, int]:
    """Draw one picture of 224 by 224 pixels.

    Parameters
    ----------
    sources
        All sources.
    families
        The families of one split, by kind.
    kind
        "natural" or "cutout".
    rng
        Random generator.
    augment
        Whether crops may be small and colors changed; false for held-out pictures.

    Returns
    -------
    tuple
        The picture, and the index of its main source.
    """

    def pick(wanted: str) -> int:
        family = families[wanted][rng.integers(len(families[wanted]))]
        return int(family[rng.integers(len(family))])

    index = pick(kind)
    if kind == NATURAL:
        image = random_crop(sources[index].image, rng, 0.1 if augment else 0.3)
    else:
        if rng.random() < 0.2:
            ground = Image.new("RGB", (SIDE, SIDE), tuple(map(int, rng.integers(0, 256, 3))))
        else:
            ground = random_crop(sources[pick(NATURAL)].image, rng, 0.2)
        image = place(sources[index].image, ground, rng)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augment and rng.random() < 0.4:
        image = jitter(image, rng)
    return image, index
