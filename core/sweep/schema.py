"""The tables of a sweep, in long form, each column with its meaning as metadata.

==============  =========================================
``pictures``    one row per picture
``answers``     one row per picture and model
``maps``        one row per map: a picture, a model, a method
``divergences`` one row per picture and two models
``agreements``  one row per picture and two maps
==============  =========================================

Models and maps are numbered as in the manifest, from 0. Measures that need all classes
or whole maps (`divergences`, `agreements`) are computed during the sweep; measures that follow
from rows, such as equal answers of two models, are queries. Light columns are in
``rows`` as well; maps, embeddings and thumbnails (`HEAVY`) stay in the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 2
"""Version, incremented when a column changes its meaning; versions are never mixed."""

TOP = 5
"""Number of stored answers of each model."""

HEAVY = ("thumbnail", "embedding", "relevance", "scale", "shape")
"""Columns only in the parts."""

COMPONENTS = ("pca_1", "pca_2", "umap_1", "umap_2")
"""Columns of ``answers`` only in ``rows``; those of UMAP are null if it is not computed."""

NUMBERED = {
    "pictures": (),
    "answers": ("model",),
    "maps": ("map",),
    "divergences": ("first", "second"),
    "agreements": ("first", "second"),
}
"""The tables, and the columns that distinguish rows of one picture."""


@lru_cache(maxsize=1)
def schemas() -> Mapping[str, pa.Schema]:
    """The columns of every table in the parts."""
    import pyarrow as pa

    half, whole, real = pa.list_(pa.float16()), pa.int32(), pa.float32()
    index = ("index", pa.int64(), "place of the picture in the list, counted from 0")
    tables: dict[str, list[tuple[str, Any, str]]] = {
        "pictures": [
            index,
            ("path", pa.string(), "where it lies in the source of the sweep"),
            ("label", pa.string(), "as the source has it; empty without one"),
            ("error", pa.string(), "why it could not be looked at; empty if it could"),
            ("digest", pa.string(), "SHA-256 of its pixels, as core.digest gives it"),
            ("width", whole, "pixels, as it was read"),
            ("height", whole, "pixels, as it was read"),
            ("bytes", pa.int64(), "size of its file"),
            ("thumbnail", pa.binary(), "what all models saw, as a small JPEG"),
        ],
        "answers": [
            index,
            ("model", pa.int16(), "its number in the manifest"),
            ("answer", pa.string(), "first answer; null of a model without classes"),
            ("probability", real, "of the first answer, in [0, 1]"),
            ("top", pa.list_(whole), f"classes of the {TOP} first answers, by index"),
            ("top_probabilities", pa.list_(real), "of these, in [0, 1]"),
            ("label_class", whole, "class that the label means to it; null if unlabeled"),
            (
                "right",
                pa.bool_(),
                "first answer is that class, or a model of labels gives that label more than one "
                "half; null if unlabeled",
            ),
            ("label_log_probability", real, "natural logarithm of that class's probability"),
            ("label_rank", whole, "classes more probable than that one: 0 for the first answer"),
            ("artifacts", whole, "patches with attention far beyond the rest; null for a CNN"),
            (
                "embedding",
                half,
                "what the classifier gets; the logits of a network whose inside is not known",
            ),
        ],
        "maps": [
            index,
            ("map", pa.int16(), "its number in the manifest, which has model and method"),
            ("target", pa.string(), "class that the map explains; empty without one"),
            ("prefix_mass", real, "share on prefix tokens; null without any"),
            ("deletion", real, "area under the deletion curve; null if not measured"),
            ("insertion", real, "area under the insertion curve; null if not measured"),
            ("relevance", half, "row by row, over its largest absolute value"),
            ("scale", real, "the largest absolute value: relevance × scale is raw"),
            ("shape", pa.list_(whole), "rows and columns of the map"),
        ],
        "divergences": [
            index,
            ("first", pa.int16(), "number of a model"),
            ("second", pa.int16(), "number of a later model"),
            (
                "divergence",
                real,
                "Jensen–Shannon divergence of the answers over the classes that both know, in "
                "bits, in [0, 1]; of models of labels the mean over labels that both know; null "
                "where one has classes and the other labels",
            ),
        ],
        "agreements": [
            index,
            ("first", pa.int16(), "number of a map"),
            ("second", pa.int16(), "number of a later map"),
            ("correlation", real, "Spearman's, at the finer grid, in [-1, 1]"),
            ("overlap", real, "intersection over union of the top 20 %, at the finer grid"),
        ],
    }
    return {name: _schema(fields) for name, fields in tables.items()}


@lru_cache(maxsize=1)
def light_schemas() -> Mapping[str, pa.Schema]:
    """The columns of every table in ``rows``: without `HEAVY`, with `COMPONENTS`."""
    import pyarrow as pa

    found = {}
    for name, schema in schemas().items():
        fields = [field for field in schema if field.name not in HEAVY]
        if name == "answers":
            fields += [
                pa.field(column, pa.float32(), metadata={"meaning": _component(column)})
                for column in COMPONENTS
            ]
        found[name] = pa.schema(fields, metadata=schema.metadata)
    return found


def _component(column: str) -> str:
    kind, _, number = column.partition("_")
    what = "principal component" if kind == "pca" else "UMAP coordinate"
    return f"{what} {number} of the model's embeddings"


def _schema(fields: list[tuple[str, Any, str]]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [pa.field(name, kind, metadata={"meaning": meaning}) for name, kind, meaning in fields],
        metadata={"schema": str(VERSION)},
    )
