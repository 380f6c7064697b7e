"""Attention of one layer, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from core.methods.parameters import index
from core.methods.registry import Relevance, method
from core.models import Model, VisionTransformer
from core.recordings import Recording


def depth(model: Model) -> int:
    """Number of layers."""
    return cast(VisionTransformer, model).depth


def _heads(model: Model) -> int:
    return cast(VisionTransformer, model).heads


@dataclass(frozen=True)
class AttentionParameters:
    """Which layer and head."""

    layer: int | None = index(None, depth, "Layer", "Counted from 0; the last one if not chosen.")
    head: int | None = index(None, _heads, "Head", "Counted from 0; the mean if not chosen.")


@method(
    "attention",
    title="Attention of a layer",
    family="vit",
    class_specific=False,
    meaning="Where the class token looks in one layer (the mean over patches where a model has "
    "no class token).",
    caveat="It is one step of many: what a token holds in a late layer is no longer what lay at "
    "its place in the picture. It does not depend on the class.",
    source="Vaswani et al. 2017, arXiv 1706.03762; Caron et al. 2021, arXiv 2104.14294",
    parameters=AttentionParameters,
)
def attention(
    recording: Recording, targets: Sequence[int], parameters: AttentionParameters
) -> Relevance:
    """``A_l[class, patches]`` of one head or the mean over heads."""
    layer = depth(recording.model) - 1 if parameters.layer is None else parameters.layer
    with torch.no_grad():
        heads = recording.readout_attention(layer)
    row = heads.mean(dim=1) if parameters.head is None else heads[:, parameters.head]
    return Relevance(recording.to_grid(row), hidden=row[:, : recording.transformer.prefix].sum(-1))
