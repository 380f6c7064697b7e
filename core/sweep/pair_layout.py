"""Sweeps of versions 0.4 and 0.5, read as long tables.

They have one wide row per picture, of one CNN and one ViT, with columns for each map and each pair
of maps. Their files are not changed: every long table is a stack of projections of the wide one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from core.sweep.schema import COMPONENTS, light_schemas, schemas

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1

FAMILIES = ("cnn", "vit")
"""The models in order, which are prefixes of column names."""

Projection = Mapping[str, str | int]
"""Source of the columns of a long table: a column name, or one number for all rows.

Columns without a source, and missing columns of UMAP, are null.
"""


def projections(maps: Sequence[str], evidence: bool) -> dict[str, list[Projection]]:
    """Projections from which each long table is stacked.

    Parameters
    ----------
    maps
        Names of the maps in columns, such as ``vit_rollout``, in their order.
    evidence
        Whether deletion and insertion were measured.
    """
    answers: list[Projection] = []
    for number, key in enumerate(FAMILIES):
        names = ("answer", "probability", "top", "top_probabilities", "right", *COMPONENTS)
        found: dict[str, str | int] = {name: f"{key}_{name}" for name in names}
        found |= {"index": "index", "model": number, "label_class": f"{key}_class"}
        found["embedding"] = f"embedding__{key}"
        answers.append(found | ({"artifacts": "artifacts"} if key == "vit" else {}))
    own = ["target", "prefix_mass", "relevance", "scale", "shape"]
    own += ["deletion", "insertion"] if evidence else []
    called = {"relevance": "map"}
    every: list[Projection] = []
    for number, key in enumerate(maps):
        one = {name: f"{called.get(name, name)}__{key}" for name in own}
        every.append({"index": "index", "map": number, **one})
    pairs: list[Projection] = []
    for a, b in combinations(range(len(maps)), 2):
        one = {name: f"{name}__{maps[a]}__{maps[b]}" for name in ("correlation", "overlap")}
        pairs.append({"index": "index", "first": a, "second": b, **one})
    models: Projection = {"index": "index", "first": 0, "second": 1, "divergence": "divergence"}
    return {
        "pictures": [{name: name for name in schemas()["pictures"].names}],
        "answers": answers,
        "maps": every,
        "divergences": [models],
        "agreements": pairs,
    }


def needed(projections: Sequence[Projection], columns: Collection[str]) -> list[str]:
    """Columns of the wide table needed for some columns of a long one."""
    found = [one[name] for one in projections for name in columns if name in one]
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))


def stacked(
    wide: pa.Table, table: str, projections: Sequence[Projection], columns: Sequence[str]
) -> pa.Table:
    """Some columns of a long table, from the `needed` columns of the wide one.

    Raises
    ------
    pyarrow.ArrowInvalid, KeyError
        The wide table has a wrong column.
    """
    import pyarrow as pa

    known = {field.name: field.type for field in light_schemas()[table]}
    known |= {field.name: field.type for field in schemas()[table]}
    schema = pa.schema([(name, known[name]) for name in columns])

    def column(one: Projection, name: str) -> Any:
        held = one.get(name)
        if isinstance(held, str):
            return wide[held]
        if held is None:
            return pa.nulls(len(wide), known[name])
        return pa.array([held] * len(wide), known[name])

    return pa.concat_tables(
        [
            pa.table([column(one, name) for name in columns], names=list(columns)).cast(schema)
            for one in projections
        ]
        or [schema.empty_table()]
    )
