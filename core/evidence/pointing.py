"""Grid pointing: four pictures in one (Böhle et al. 2021, arXiv 2104.00032)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from core import heatmaps
from core.errors import ImageError, ParameterError
from core.explain import check_zero, explain, needs, predict
from core.images import Framing
from core.models import Model
from core.recording.batches import record
from core.targets import TargetLike

GIVEN = Framing("given")


def pointing_grid(
    model: Model, images: Sequence[Image.Image], framing: Framing | None = None
) -> Image.Image:
    """A 2 × 2 grid of four pictures, row by row, of the size of one view.

    Parameters
    ----------
    images
        Four, whose views are equally large.
    framing
        How each of them is fitted, before it is halved; by default as the model was evaluated. A
        size twice as large keeps all pixels.

    Raises
    ------
    ParameterError
        Not four pictures.
    ImageError
        Their views have several sizes.
    """
    if len(images) != 4:
        raise ParameterError(f"{len(images)} pictures were given, expected four for a 2 × 2 grid.")
    views = [model.view(image, framing) for image in images]
    if len({view.size for view in views}) > 1:
        raise ImageError("The four fitted pictures have several sizes; choose the fit crop.")
    width, height = views[0].size
    canvas = Image.new("RGB", (width, height))
    for place, view in enumerate(views):
        row, col = divmod(place, 2)
        left, top = col * (width // 2), row * (height // 2)
        size = (width - left if col else width // 2, height - top if row else height // 2)
        canvas.paste(view.resize(size, model.preprocessing.resample), (left, top))
    return canvas


def grid_pointing(
    model: Model,
    images: Sequence[Image.Image],
    targets: Sequence[TargetLike | None] | None,
    method: str,
    *,
    framing: Framing | None = None,
    **params: Any,
) -> npt.NDArray[np.float64]:
    """Share of each class's map that lies in the cell of its own picture.

    Parameters
    ----------
    images
        Four pictures, which become the quarters of one; see `pointing_grid`.
    targets
        The target of each, as in `core.explain`: its class, or its class rather than another,
        whose positive relevance belongs to the first; ``None`` for the most probable class of
        that picture alone.
    method
        A name of `core.methods`. One that is not class-specific gives shares of one map four
        times, which sum to 1.
    framing
        How pictures are fitted; by default as the model was evaluated.
    **params
        Parameters of the method.

    Returns
    -------
    (4,) float64 in [0, 1]
        Of positive relevance; 0.25 is chance, ``nan`` where nothing is positive.

    Raises
    ------
    NoZero
        The maps have no meaningful zero, so their positive part is undefined.
    UnknownMethod, UnsupportedMethod, ParameterError, ImageError, ZeroGradient, BusyError, Stopped
    """
    check_zero(model, method, **params)
    view = pointing_grid(model, images, framing)
    classes: list[TargetLike | None] = [*model.check_targets(targets, 4)]
    if None in classes:
        found = predict(model, images, 1, framing)
        classes = [one.top if c is None else c for c, one in zip(classes, found, strict=True)]
    recording = record(model, view, GIVEN, needs(model, method, **params))
    maps = [explain(model, recording, method, target, **params).positive() for target in classes]
    return np.array([heatmaps.quarter_shares(one)[place] for place, one in enumerate(maps)])
