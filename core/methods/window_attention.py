"""Attention within shifted windows, as a picture (Liu et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import ParameterError
from core.methods.parameters import choice, index
from core.methods.registry import Relevance, method
from core.models import Model
from core.models.taps import HEADS_MAP
from core.recording.recording import Recording
from core.recording.run import Needs
from core.targets import Target


def _layers(model: Model) -> tuple[str, ...]:
    """Taps of windows, the last first."""
    return tuple(reversed([tap.name for tap in model.taps.values() if tap.axes == HEADS_MAP]))


def _heads(model: Model) -> int:
    """Most heads of a layer."""
    return max(tap.heads for tap in model.taps.values() if tap.axes == HEADS_MAP)


@dataclass(frozen=True)
class WindowParameters:
    """Which layer and head."""

    layer: str = choice(
        lambda model: _layers(model)[0],
        _layers,
        "Layer",
        "“window.i.attention” is the attention of block i; in every second block the windows are "
        "shifted by half. In earlier blocks a window covers less of the picture.",
    )
    head: int | None = index(None, _heads, "Head", "Counted from 0; the mean if not chosen.")


@method(
    "window_attention",
    title="Attention within windows",
    order=45,
    serves=("windows",),
    class_specific=False,
    meaning="What each place gets of the attention that the places of its window give: every "
    "window at its place in the picture, where all of its values sum to 1.",
    caveat="Places of two windows do not attend to each other in one layer, so compare "
    "brightness within a window only; window edges are visible. Layers are not multiplied: "
    "between stages places are merged by a projection. It does not depend on the class.",
    source="Liu et al. 2021, arXiv 2103.14030",
    parameters=WindowParameters,
    needs=lambda model, parameters: Needs([parameters.layer]),
)
def window_attention(
    recording: Recording, targets: Sequence[Target], parameters: WindowParameters
) -> Relevance:
    """``mean_q softmax(q·kᵀ · scale + bias + mask)`` over the queries of a window, shift undone.

    Where a picture is not a whole number of windows, the padding at its end gets a share as well,
    which is not shown.
    """
    heads = recording.on_grid(parameters.layer)
    if parameters.head is None:
        return Relevance(heads.mean(dim=1))
    if parameters.head >= heads.shape[1]:
        raise ParameterError(
            f"The head is {parameters.head}, and {parameters.layer} has {heads.shape[1]}; choose 0 "
            f"to {heads.shape[1] - 1}."
        )
    return Relevance(heads[:, parameters.head])
