"""The rows of all parts in one file, with two projections of the embeddings beside them.

Principal components always; UMAP (McInnes et al. 2018, arXiv 1802.03426) where umap-learn is
installed. Parts are read one after another, twice, so that memory does not grow with the sweep;
UMAP, which needs all at once, is left out beyond `MOST_FOR_UMAP` pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.sweep.schema import is_light, schema

if TYPE_CHECKING:
    import pyarrow as pa

FAMILIES = ("cnn", "vit")
COMPONENTS = 2
MOST_FOR_UMAP = 50_000
SEED = 0
"""Of UMAP, which is a random process."""

_Double = npt.NDArray[np.float64]


def component_names(family: str, kind: str = "pca") -> list[str]:
    """Columns of a projection of a model's embeddings: ``cnn_pca_1`` …"""
    return [f"{family}_{kind}_{number}" for number in range(1, COMPONENTS + 1)]


def _umap_names(family: str) -> list[str]:
    return component_names(family, "umap")


def row_columns(maps: Sequence[str], evidence: bool) -> dict[str, pa.DataType]:
    """Every column that ``rows.parquet`` has, with its type; those of UMAP may be missing.

    Parameters
    ----------
    maps, evidence
        As for `core.sweep.schema`.
    """
    import pyarrow as pa

    found = {one.name: one.type for one in schema(maps, evidence) if is_light(one.name)}
    for names in (component_names, _umap_names):
        found |= {name: pa.float32() for family in FAMILIES for name in names(family)}
    return found


def write_rows(parts: Sequence[Path], path: Path, row_group: int) -> None:
    """Write the light columns of parts, in their order, with `COMPONENTS` of each embedding."""
    import pyarrow as pa
    from pyarrow import parquet

    axes = {family: principal_axes(parts, family) for family in FAMILIES}
    neighbors = {family: _umap(parts, family) for family in FAMILIES}
    with_umap = all(found is not None for found in neighbors.values())
    done = 0
    held: list[pa.Table] = []
    schema = _schema(parquet.read_schema(parts[0]), len(parts), with_umap)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            names = [name for name in schema.names if not _is_component(name)]
            table = parquet.read_table(part, columns=names)
            for family in FAMILIES:
                values = _projected(part, family, axes[family])
                columns = list(zip(component_names(family), values.T, strict=True))
                if with_umap:
                    some = neighbors[family][done : done + len(table)]  # type: ignore[index]
                    columns += zip(_umap_names(family), some.T, strict=True)
                for name, column in columns:
                    some = pa.array(column, pa.float32(), from_pandas=True)  # nan becomes null
                    table = table.append_column(name, some)
            done += len(table)
            held.append(table.cast(schema))
            if sum(len(one) for one in held) >= row_group:
                writer.write_table(pa.concat_tables(held).combine_chunks(), row_group)
                held.clear()
        if held:
            writer.write_table(pa.concat_tables(held).combine_chunks(), row_group)


def _is_component(name: str) -> bool:
    return any(name in component_names(f) + _umap_names(f) for f in FAMILIES)


def _schema(part: pa.Schema, count: int, with_umap: bool) -> pa.Schema:
    import pyarrow as pa

    fields = [field for field in part if is_light(field.name)]
    for family, name in zip(FAMILIES, ("CNN", "ViT"), strict=True):
        for number, column in enumerate(component_names(family), start=1):
            meaning = f"principal component {number} of what the classifier of the {name} gets"
            fields.append(pa.field(column, pa.float32(), metadata={"meaning": meaning}))
        for column in _umap_names(family) if with_umap else ():
            meaning = f"UMAP, seed {SEED}, of what the classifier of the {name} gets"
            fields.append(pa.field(column, pa.float32(), metadata={"meaning": meaning}))
    return pa.schema(fields, metadata={**(part.metadata or {}), b"parts": str(count).encode()})


def _embeddings(part: Path, family: str) -> tuple[npt.NDArray[np.bool_], _Double]:
    """Which rows of a part have an embedding, and these: (rows,), (some, channels)."""
    import pyarrow.compute as pc
    from pyarrow import parquet

    column = parquet.read_table(part, columns=[f"embedding__{family}"]).column(0)
    valid = np.asarray(pc.is_valid(column))
    if not valid.any():
        return valid, np.zeros((0, 0))
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return valid, values.astype(np.float64).reshape(int(valid.sum()), -1)


def principal_axes(parts: Sequence[Path], family: str) -> tuple[_Double, _Double]:
    """Mean (channels,) and the first principal axes (components, channels).

    Of fewer pictures than channels from the pictures themselves, else from running sums. The sign
    of an axis is that of its largest entry, so that a picture of it never flips; an axis that so
    few pictures do not have is zero.
    """
    count, total = 0, np.zeros(0)
    held: list[_Double] = []
    products: _Double | None = None
    for values in _all_embeddings(parts, family):
        count += len(values)
        total = values.sum(axis=0) + (total if total.size else 0.0)
        if products is None:
            held.append(values)
            if count > values.shape[1]:
                every = np.concatenate(held)
                products = every.T @ every
                held.clear()
        else:
            products += values.T @ values
    if not count:
        return np.zeros(0), np.zeros((COMPONENTS, 0))
    mean, axes = total / count, np.zeros((COMPONENTS, len(total)))
    if products is None:
        _, lengths, found = np.linalg.svd(np.concatenate(held) - mean, full_matrices=False)
        there = min(COMPONENTS, int((lengths > 1e-10 * max(lengths[0], 1e-300)).sum()))
        axes[:there] = found[:there]
    else:
        covariance = products / count - np.outer(mean, mean)
        axes[:] = np.linalg.eigh(covariance)[1][:, ::-1][:, :COMPONENTS].T
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


def _umap(parts: Sequence[Path], family: str) -> _Double | None:
    """UMAP of every row of all parts, ``nan`` without an embedding; ``None`` where it is not made.

    It keeps neighborhoods and no distances; both axes are without meaning.
    """
    from pyarrow import parquet

    rows = sum(parquet.read_metadata(part).num_rows for part in parts)
    if find_spec("umap") is None or rows > MOST_FOR_UMAP:
        return None
    found = [_embeddings(part, family) for part in parts]
    valid = np.concatenate([rows for rows, _ in found])
    values = [some for _, some in found if len(some)]
    if valid.sum() < 4:
        return None
    import umap

    every = np.concatenate(values)
    reducer = umap.UMAP(
        n_components=COMPONENTS, n_neighbors=min(15, len(every) - 1), random_state=SEED, n_jobs=1
    )
    projected = np.full((len(valid), COMPONENTS), np.nan)
    projected[valid] = reducer.fit_transform(every)
    return projected
