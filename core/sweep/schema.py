"""The columns of a sweep: one row a picture, each field with its meaning as metadata.

A map is called by model and method, such as ``cnn_cam``; ``A`` and ``B`` stand for two of them.
What is light goes into ``rows.parquet`` as well, once a sweep has come to an end; maps, embeddings
and thumbnails (`HEAVY`) stay in the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Raised when a column changes its meaning; sweeps of several versions are not mixed."""

TOP = 5
"""Answers of each model that are kept."""

HEAVY = ("map__", "scale__", "shape__", "embedding__", "thumbnail")
"""What the names of columns begin with that are not in ``rows.parquet``."""

_MODELS = {"cnn": "CNN", "vit": "ViT"}


def pairs(maps: Sequence[str]) -> list[tuple[str, str]]:
    """Every two maps that are compared."""
    return list(combinations(maps, 2))


def schema(maps: Sequence[str], evidence: bool) -> pa.Schema:
    """The columns of a part.

    Parameters
    ----------
    maps
        Keys of the maps, such as ``vit_rollout``.
    evidence
        Whether deletion and insertion were measured.
    """
    import pyarrow as pa

    half = pa.list_(pa.float16())
    fields: list[tuple[str, Any, str]] = [
        ("index", pa.int64(), "place in the list of pictures, counted from 0"),
        ("path", pa.string(), "where it lies in the source of the sweep"),
        ("label", pa.string(), "as the source has it; empty without one"),
        ("error", pa.string(), "why it could not be looked at; empty if it could"),
        ("digest", pa.string(), "SHA-256 of its pixels, as core.digest gives it"),
        ("width", pa.int32(), "pixels, as it was read"),
        ("height", pa.int32(), "pixels, as it was read"),
        ("bytes", pa.int64(), "size of its file"),
    ]
    for key, name in _MODELS.items():
        fields += [
            (f"{key}_answer", pa.string(), f"first answer of the {name}"),
            (f"{key}_probability", pa.float32(), "of the first answer, in [0, 1]"),
            (f"{key}_top", pa.list_(pa.int32()), f"classes of its {TOP} first answers, by index"),
            (f"{key}_top_probabilities", pa.list_(pa.float32()), "of these, in [0, 1]"),
            (f"{key}_class", pa.int32(), "class that the label means to it; null if unlabeled"),
            (f"{key}_right", pa.bool_(), "first answer is that class; null if unlabeled"),
        ]
    fields += [
        ("same_answer", pa.bool_(), "both first answers have one name"),
        (
            "divergence",
            pa.float32(),
            "Jensen–Shannon divergence of the answers over the classes that both know, in bits, "
            "in [0, 1]",
        ),
        ("artifacts", pa.int32(), "patches of the ViT that receive attention far beyond the rest"),
    ]
    for a, b in pairs(maps):
        fields += [
            (f"correlation__{a}__{b}", pa.float32(), "Spearman's, at the finer grid, in [-1, 1]"),
            (f"overlap__{a}__{b}", pa.float32(), "IoU of the top 20 %, at the finer grid"),
        ]
    for key in maps:
        fields += [
            (f"target__{key}", pa.string(), "class that the map explains; empty without one"),
            (f"prefix_mass__{key}", pa.float32(), "share on prefix tokens; null for a CNN"),
        ]
        if evidence:
            fields += [
                (f"deletion__{key}", pa.float32(), "area under the deletion curve"),
                (f"insertion__{key}", pa.float32(), "area under the insertion curve"),
            ]
    for key in maps:
        fields += [
            (f"map__{key}", half, "relevance, row by row, over its largest absolute value"),
            (f"scale__{key}", pa.float32(), "the largest absolute value: map × scale is raw"),
            (f"shape__{key}", pa.list_(pa.int32()), "rows and columns of the map"),
        ]
    for key, name in _MODELS.items():
        fields.append((f"embedding__{key}", half, f"what the classifier of the {name} gets"))
    fields.append(("thumbnail", pa.binary(), "what both models saw, as a small JPEG"))
    return pa.schema(
        [pa.field(name, kind, metadata={"meaning": meaning}) for name, kind, meaning in fields],
        metadata={"schema": str(VERSION)},
    )


def is_light(name: str) -> bool:
    """Whether a column is in ``rows.parquet``."""
    return not name.startswith(HEAVY)
