"""Receptive fields of all layers, as numbers. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

import core

OF_FIELDS = 4
"""Pictures over which they are averaged: each takes a backward pass for each layer."""


@dataclass(frozen=True, eq=False)
class Fields:
    """How far the effective receptive field of each layer reaches.

    Attributes
    ----------
    layers
        Taps, first to last.
    distances : (layers,) float32
        Mean distance from its center in pixels.
    """

    layers: tuple[str, ...]
    distances: npt.NDArray[np.float32]


def fields(model: core.Model, views: Sequence[Image.Image]) -> Fields:
    """The fields of all layers of a model over the first of some views."""
    found = core.receptive_fields(model, None, views[:OF_FIELDS], core.Framing("given"))
    return Fields(
        tuple(one.layer for one in found),
        np.array([one.distance for one in found], dtype=np.float32),
    )
