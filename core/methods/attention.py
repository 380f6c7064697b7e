"""Attention of one layer, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.methods.attention_propagation import on_patches
from core.methods.parameters import heads_of, index, layers_of
from core.methods.registry import Relevance, method
from core.models import VisionTransformer
from core.numerics import own_state
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording, attention_needs
from core.targets import Target


@dataclass(frozen=True)
class AttentionParameters:
    """Which layer and head."""

    layer: int | None = index(None, layers_of, "Layer", "Counted from 0; the last if not chosen.")
    head: int | None = index(None, heads_of, "Head", "Counted from 0; the mean if not chosen.")


def _layer(model: VisionTransformer, parameters: AttentionParameters) -> int:
    return model.depth - 1 if parameters.layer is None else parameters.layer


def _needs(model: VisionTransformer, parameters: AttentionParameters) -> Needs:
    return attention_needs(model, [_layer(model, parameters)])


@method(
    "attention",
    title="Attention of a layer",
    order=40,
    serves=("vit",),
    class_specific=False,
    meaning="Where the class token attends in one layer (or whatever else the classifier reads, if "
    "it reads more).",
    caveat="This is one layer of many: the content of a token in a late layer no longer belongs to "
    "its place in the picture alone. The map does not depend on the class.",
    source="Vaswani et al. 2017, arXiv 1706.03762; Caron et al. 2021, arXiv 2104.14294",
    parameters=AttentionParameters,
    needs=_needs,
)
def attention(
    recording: TransformerRecording, targets: Sequence[Target], parameters: AttentionParameters
) -> Relevance:
    """``A_l[class, patches]`` of one head or the mean over heads."""
    with own_state():
        heads = recording.readout_attention(_layer(recording.model, parameters))
    row = heads.mean(dim=1) if parameters.head is None else heads[:, parameters.head]
    return on_patches(
        recording, row, if_zero="All of this attention falls on tokens that are not patches."
    )
