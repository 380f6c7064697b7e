"""The light columns of all parts in one file per table, with projections of the embeddings.

Principal components always; UMAP (McInnes et al. 2018, arXiv 1802.03426) where umap-learn is
installed. Parts are read one after another, so that memory does not grow with the sweep; UMAP,
which needs all pictures at once, is left out beyond `MOST_FOR_UMAP` pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core import files
from core.sweep.schema import COMPONENTS, NUMBERED, light_schemas

if TYPE_CHECKING:
    import pyarrow as pa

AXES = 2
"""Principal components, and coordinates of UMAP."""

MOST_FOR_UMAP = 50_000
SEED = 0
"""Seed of UMAP, which is random."""

ROW_GROUP = 65_536
"""Pictures of a block; rows of one model or map in a block are one row group."""

_Double = npt.NDArray[np.float64]

Read = Callable[[int, str, Sequence[str]], "pa.Table"]
"""Some columns of a table of a part, given its number."""


def write_rows(
    read: Read, parts: Sequence[int], models: int, maps: int, folder: Path, row_group: int
) -> None:
    """Write the light columns of parts, in order, one file per table.

    Rows of a block of pictures and of one model, map or pair are a row group, which queries
    for one of them find by its statistics. The file of pictures is written last.

    Parameters
    ----------
    models, maps
        Number of each.
    row_group
        Pictures per row group.
    """
    from pyarrow import parquet

    numbers: dict[str, Sequence[tuple[int, ...]]] = {
        "answers": [(number,) for number in range(models)],
        "maps": [(number,) for number in range(maps)],
        "divergences": list(combinations(range(models), 2)),
        "agreements": list(combinations(range(maps), 2)),
        "pictures": [()],
    }
    folder.mkdir(exist_ok=True)
    added = [_Components(read, parts, number) for number in range(models)]
    for name, each in numbers.items():
        schema = light_schemas()[name].with_metadata(
            {**light_schemas()[name].metadata, b"parts": str(len(parts)).encode()}
        )
        with (
            files.replacing(folder / f"{name}.parquet") as path,
            parquet.ParquetWriter(path, schema, compression="zstd") as writer,
        ):
            for tables in _blocks(read, parts, name, row_group, added):
                for numbered in each:
                    group = _of(tables, name, numbered)
                    if len(group):
                        writer.write_table(group.cast(schema), row_group_size=len(group))


def _blocks(
    read: Read, parts: Sequence[int], name: str, size: int, added: Sequence[_Components]
) -> Iterator[pa.Table]:
    """The rows of a table in blocks of pictures, with components beside answers."""
    import pyarrow as pa

    columns = [column for column in light_schemas()[name].names if column not in COMPONENTS]
    held, pictures = [], 0
    for part in parts:
        table = read(part, name, columns)
        pictures += len(read(part, "pictures", ["index"]))
        if name == "answers":
            values = np.full((len(COMPONENTS), len(table)), np.nan)
            for one in added:
                values[:, _is_of(table, one.model)] = one.of(part)
            for column, each in zip(COMPONENTS, values, strict=True):
                # Nan becomes null.
                table = table.append_column(column, pa.array(each, pa.float32(), from_pandas=True))
        held.append(table)
        if pictures >= size:
            yield pa.concat_tables(held)
            held, pictures = [], 0
    if held:
        yield pa.concat_tables(held)


def _of(table: pa.Table, name: str, numbered: Sequence[int]) -> pa.Table:
    """The rows of one model or map, or of two."""
    import pyarrow.compute as pc

    for column, number in zip(NUMBERED[name], numbered, strict=True):
        table = table.filter(pc.equal(table[column], number))
    return table.combine_chunks()


def _is_of(answers: pa.Table, model: int) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = answers["model"].to_numpy() == model
    return found


class _Components:
    """Projections of the embeddings of one model."""

    def __init__(self, read: Read, parts: Sequence[int], model: int) -> None:
        self.model, self._read = model, read
        self._axes = principal_axes(
            values for part in parts if len(values := self._embeddings(part)[1])
        )
        self._neighbors = self._umap(parts)

    def of(self, part: int) -> _Double:
        """Components for every row of a part that is of this model, ``nan`` without an embedding.

        Returns
        -------
        (len(COMPONENTS), rows) float
        """
        valid, values = self._embeddings(part)
        mean, directions = self._axes
        found = np.full((len(COMPONENTS), len(valid)), np.nan)
        if len(values):
            found[:AXES, valid] = directions @ (values - mean).T
            if part in self._neighbors:
                found[AXES:, valid] = self._neighbors[part].T
        return found

    def _embeddings(self, part: int) -> tuple[npt.NDArray[np.bool_], _Double]:
        """Mask of rows with an embedding of this model, and these: (rows,), (some, channels)."""
        import pyarrow.compute as pc

        table = self._read(part, "answers", ["model", "embedding"])
        column = _of(table, "answers", [self.model])["embedding"]
        valid = np.asarray(pc.is_valid(column), dtype=np.bool_)
        if not valid.any():
            return valid, np.zeros((0, 0))
        values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return valid, values.astype(np.float64).reshape(int(valid.sum()), -1)

    def _umap(self, parts: Sequence[int]) -> dict[int, _Double]:
        """UMAP of the embeddings, by part; empty if it is not computed.

        It preserves neighborhoods but not distances; the axes have no meaning.
        """
        if find_spec("umap") is None:
            return {}
        rows = sum(len(self._read(part, "pictures", ["index"])) for part in parts)
        if rows > MOST_FOR_UMAP:
            return {}
        held = {part: self._embeddings(part)[1] for part in parts}
        held = {part: values for part, values in held.items() if len(values)}
        if sum(map(len, held.values())) < 4:
            return {}
        import umap

        every = np.concatenate(list(held.values()))
        reducer = umap.UMAP(
            n_components=AXES, n_neighbors=min(15, len(every) - 1), random_state=SEED, n_jobs=1
        )
        ends = np.cumsum([len(values) for values in held.values()])[:-1]
        pieces = np.split(reducer.fit_transform(every), ends)
        return dict(zip(held, pieces, strict=True))


def principal_axes(embeddings: Iterable[_Double]) -> tuple[_Double, _Double]:
    """Mean (channels,) and the first principal axes (components, channels).

    With fewer pictures than channels from the pictures themselves, else from running sums. The sign
    of an axis is that of its largest entry, so that a plot never flips; an axis that so
    few pictures do not have is zero.

    Parameters
    ----------
    embeddings
        Of some pictures at a time, (pictures, channels).
    """
    count, total = 0, np.zeros(0)
    held: list[_Double] = []
    products: _Double | None = None
    for values in embeddings:
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
        return np.zeros(0), np.zeros((AXES, 0))
    mean, axes = total / count, np.zeros((AXES, len(total)))
    if products is None:
        _, lengths, found = np.linalg.svd(np.concatenate(held) - mean, full_matrices=False)
        there = min(AXES, int((lengths > 1e-10 * max(lengths[0], 1e-300)).sum()))
        axes[:there] = found[:there]
    else:
        covariance = products / count - np.outer(mean, mean)
        axes[:] = np.linalg.eigh(covariance)[1][:, ::-1][:, :AXES].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return mean, axes * np.sign(largest)
