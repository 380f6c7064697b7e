"""The rows of all parts in one file, with principal components of the embeddings beside them.

Parts are read one after another, twice, so that memory does not grow with the sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.sweep.schema import is_light

if TYPE_CHECKING:
    import pyarrow as pa

FAMILIES = ("cnn", "vit")
COMPONENTS = 2

_Double = npt.NDArray[np.float64]


def component_names(family: str) -> list[str]:
    """Columns of a model's principal components: ``cnn_pca_1`` …"""
    return [f"{family}_pca_{number}" for number in range(1, COMPONENTS + 1)]


def write_rows(parts: Sequence[Path], path: Path, row_group: int) -> None:
    """Write the light columns of parts, in their order, with `COMPONENTS` of each embedding."""
    import pyarrow as pa
    from pyarrow import parquet

    axes = {family: _axes(parts, family) for family in FAMILIES}
    held: list[pa.Table] = []
    schema = _schema(parquet.read_schema(parts[0]), len(parts))
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            names = [name for name in schema.names if not _is_component(name)]
            table = parquet.read_table(part, columns=names)
            for family in FAMILIES:
                values = _projected(part, family, axes[family])
                for name, column in zip(component_names(family), values.T, strict=True):
                    some = pa.array(column, pa.float32(), from_pandas=True)  # nan becomes null
                    table = table.append_column(name, some)
            held.append(table.cast(schema))
            if sum(len(one) for one in held) >= row_group:
                writer.write_table(pa.concat_tables(held).combine_chunks(), row_group)
                held.clear()
        if held:
            writer.write_table(pa.concat_tables(held).combine_chunks(), row_group)


def _is_component(name: str) -> bool:
    return any(name in component_names(family) for family in FAMILIES)


def _schema(part: pa.Schema, count: int) -> pa.Schema:
    import pyarrow as pa

    fields = [field for field in part if is_light(field.name)]
    for family, name in zip(FAMILIES, ("CNN", "ViT"), strict=True):
        for number, column in enumerate(component_names(family), start=1):
            meaning = f"principal component {number} of what the classifier of the {name} gets"
            fields.append(pa.field(column, pa.float32(), metadata={"meaning": meaning}))
    return pa.schema(fields, metadata={**(part.metadata or {}), b"parts": str(count).encode()})


def _embeddings(part: Path, family: str) -> tuple[npt.NDArray[np.bool_], _Double]:
    """Which rows of a part have an embedding, and these: (rows,), (some, channels)."""
    import pyarrow.compute as pc
    from pyarrow import parquet

    column = parquet.read_table(part, columns=[f"embedding__{family}"]).column(0)
    valid = np.asarray(pc.is_valid(column))
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return valid, values.astype(np.float64).reshape(int(valid.sum()), -1)


def _axes(parts: Sequence[Path], family: str) -> tuple[_Double, _Double]:
    """Mean (channels,) and the first principal axes (components, channels), from running sums.

    The sign of an axis is that of its largest entry, so that a picture of it never flips.
    """
    count, total, products = 0, np.zeros(0), np.zeros((0, 0))
    for values in _all_embeddings(parts, family):
        if not count:
            total, products = np.zeros(values.shape[1]), np.zeros((values.shape[1],) * 2)
        count += len(values)
        total += values.sum(axis=0)
        products += values.T @ values
    if not count:
        return np.zeros(0), np.zeros((COMPONENTS, 0))
    mean = total / count
    _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    axes = vectors[:, ::-1][:, :COMPONENTS].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return mean, axes * np.sign(largest)


def _all_embeddings(parts: Sequence[Path], family: str) -> Iterator[_Double]:
    for part in parts:
        _, values = _embeddings(part, family)
        if len(values):
            yield values


def _projected(part: Path, family: str, axes: tuple[_Double, _Double]) -> _Double:
    """Components of every row of a part, ``nan`` without an embedding: (rows, components)."""
    valid, values = _embeddings(part, family)
    mean, directions = axes
    found = np.full((len(valid), COMPONENTS), np.nan)
    if len(values):
        found[valid] = (values - mean) @ directions.T
    return found
