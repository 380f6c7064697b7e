"""A sweep of made-up rows, of any size, with the columns of a real one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from core import sweep
from core.models.spec import find_spec
from core.sweep.schema import VERSION

PAIR = ("efficientnet-lite0", "dinov2-small")
METHODS = {"cnn": "cam", "vit": "gradient_rollout"}
CLASSES = [f"class {number}" for number in range(1000)]
BLOCK = 65_536


def synthetic(
    folder: Path,
    count: int,
    parts: int = 0,
    chunk: int = 64,
    models: Sequence[str] = PAIR,
    labels: bool = True,
) -> sweep.Sweep:
    """Write a finished-looking sweep whose rows are drawn at random, the same ones every time.

    Each model has one map: class activation of a CNN, gradient rollout of a ViT.

    Parameters
    ----------
    parts
        How many of its parts are written as well, with maps and thumbnails.
    labels
        Whether pictures have labels; four in five then.
    """
    (folder / "parts").mkdir(parents=True)
    (folder / "rows").mkdir()
    writers = {}
    for name, schema in sweep.light_schemas().items():
        told = {**schema.metadata, b"parts": str(parts or -(-count // chunk)).encode()}
        writers[name] = parquet.ParquetWriter(
            folder / "rows" / f"{name}.parquet", schema.with_metadata(told), compression="zstd"
        )
    for tables in _blocks(count, models, labels):
        for name, pieces in tables.items():
            for piece in pieces:
                writers[name].write_table(
                    piece.replace_schema_metadata(writers[name].schema.metadata)
                )
    for writer in writers.values():
        writer.close()
    _write_manifest(folder, count, chunk, models)
    if count <= 10_000:
        names = [f"pictures/{number}.jpg" for number in range(count)]
        listed = pa.table({"index": range(count), "path": names, "label": [""] * count})
        parquet.write_table(listed, folder / "pictures.parquet")
    for number in range(parts):
        _write_part(folder, number, chunk, len(models))
    return sweep.open_sweep(folder)


def _table(name: str, columns: Mapping[str, Any]) -> pa.Table:
    """A light table of these columns; the others are null."""
    schema, size = sweep.light_schemas()[name], len(columns["index"])
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(size, field.type))
        else:
            found = values if isinstance(values, pa.Array) else pa.array(values)
            arrays.append(found.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _blocks(count: int, models: Sequence[str], labels: bool) -> Iterator[dict[str, list[pa.Table]]]:
    generator = np.random.default_rng(0)
    names = np.array(CLASSES)
    families = [find_spec(model_id).family for model_id in models]
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        index = np.arange(start, start + size)
        truth = generator.integers(0, 20 if count < 10_000 else 1000, size)
        failed = generator.random(size) < 0.01
        unlabeled = (generator.random(size) < (0.2 if labels else 2)) | failed
        seen, known = index[~failed], unlabeled[~failed]
        left = len(seen)
        pictures = {
            "index": index,
            "path": np.char.add(np.char.add("pictures/", index.astype(str)), ".jpg"),
            "label": np.where(unlabeled, "", names[truth]),
            "error": np.where(failed, "It is damaged.", ""),
            "digest": np.char.zfill(index.astype(str), 64),
        } | {name: generator.integers(200, 2000, size) for name in ("width", "height", "bytes")}
        found = {"pictures": [_table("pictures", pictures)], "answers": [], "maps": []}
        for number, family in enumerate(families):
            right = generator.random(left) < 0.7 - 0.1 * number
            truths = truth[~failed]
            answer = np.where(right, truths, generator.integers(0, 1000, left))
            five = pa.array(np.tile(np.arange(5, dtype=np.int32), left))
            offsets = pa.array(np.arange(0, 5 * left + 1, 5, dtype=np.int32))
            shares = pa.array(np.tile(np.full(5, 0.2, np.float32), left))
            own = {
                "index": seen,
                "model": np.full(left, number),
                "answer": names[answer],
                "probability": generator.random(left),
                "top": pa.ListArray.from_arrays(offsets, five),
                "top_probabilities": pa.ListArray.from_arrays(offsets, shares),
                "label_class": _null(truths, known),
                "right": _null(answer == truths, known),
                "label_log_probability": _null(np.log(generator.random(left)), known),
                "label_rank": _null(np.where(answer == truths, 0, 7), known),
                "artifacts": generator.poisson(0.3, left) if family == "vit" else None,
            } | {name: generator.normal(size=left) for name in ("pca_1", "pca_2")}
            found["answers"].append(_table("answers", own))
            mass = generator.random(left) if family == "vit" else None
            made = {"index": seen, "map": np.full(left, number), "target": names[answer]}
            found["maps"].append(_table("maps", made | {"prefix_mass": mass}))
        for name in ("divergences", "agreements"):
            found[name] = []
            for a, b in combinations(range(len(models)), 2):
                two = {"index": seen, "first": np.full(left, a), "second": np.full(left, b)}
                two["divergence"] = generator.beta(1, 3, left)
                two |= {n: generator.uniform(-0.2, 1, left) for n in ("correlation", "overlap")}
                found[name].append(_table(name, two))
        yield found


def _null(values: np.ndarray, where: np.ndarray) -> pa.Array:
    return pa.array(values, mask=where)


def _write_manifest(folder: Path, count: int, chunk: int, models: Sequence[str]) -> None:
    families = [find_spec(model_id).family for model_id in models]
    manifest = {
        "version": VERSION,
        "chunk": chunk,
        "plan": sweep.Plan("pictures", tuple(models)).as_dict(),
        "models": [
            {"id": model_id, "weights_sha256": "", "family": family}
            for model_id, family in zip(models, families, strict=True)
        ],
        "maps": [
            {"model": number, "method": METHODS[family], "parameters": {}}
            for number, family in enumerate(families)
        ],
        "pictures": {
            "count": count,
            "source": {"kind": "folder", "root": "/nowhere", "column": ""},
        },
        "classes": [CLASSES for _ in models],
        "runs": [{"command": "made up", "began": "2026-01-01T00:00:00Z", "versions": {}}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _write_part(folder: Path, number: int, chunk: int, models: int) -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((96, 96)).convert("RGB").save(buffer, "JPEG")
    indices = range(number * chunk, (number + 1) * chunk)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in sweep.schemas()}
    rows["pictures"] = [{"index": index, "thumbnail": buffer.getvalue()} for index in indices]
    for place in range(models):
        side = (7, 16)[place % 2]
        made = {"map": place, "scale": 1.0, "shape": [side, side]}
        made["relevance"] = np.linspace(0, 1, side * side).astype(np.float16)
        rows["maps"] += [{"index": index, **made} for index in indices]
    for name, schema in sweep.schemas().items():
        place = folder / "parts" / name / f"{number:05d}.parquet"
        place.parent.mkdir(exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows[name], schema=schema), place)
