"""A sweep of made-up rows, of any size, with the columns of a real one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from core import sweep
from core.sweep.projection import component_names
from core.sweep.schema import VERSION, is_light

MAPS = ("cnn_cam", "vit_gradient_rollout")
CLASSES = [f"class {number}" for number in range(1000)]
BLOCK = 65_536


def synthetic(folder: Path, count: int, parts: int = 0, chunk: int = 64) -> sweep.Sweep:
    """Write a finished-looking sweep whose rows are drawn at random, the same ones every time.

    Parameters
    ----------
    parts
        How many of its parts are written as well, with maps and thumbnails.
    """
    (folder / "parts").mkdir(parents=True)
    schema = sweep.schema(MAPS, evidence=False)
    light = pa.schema([field for field in schema if is_light(field.name)])
    for family in ("cnn", "vit"):
        for name in component_names(family):
            light = light.append(pa.field(name, pa.float32()))
    metadata = {b"parts": str(parts or -(-count // chunk)).encode()}
    light = light.with_metadata(metadata)
    with parquet.ParquetWriter(folder / "rows.parquet", light, compression="zstd") as writer:
        for table in _blocks(count, light):
            writer.write_table(table)
    _write_manifest(folder, count, chunk)
    if count <= 10_000:
        names = [f"pictures/{number}.jpg" for number in range(count)]
        listed = pa.table({"index": range(count), "path": names, "label": [""] * count})
        parquet.write_table(listed, folder / "pictures.parquet")
    for number in range(parts):
        _write_part(folder, number, chunk, schema)
    return sweep.open_sweep(folder)


def _blocks(count: int, schema: pa.Schema) -> Iterator[pa.Table]:
    generator = np.random.default_rng(0)
    names = np.array(CLASSES)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        index = np.arange(start, start + size)
        truth = generator.integers(0, 20 if count < 10_000 else 1000, size)
        columns: dict[str, object] = {"index": index}
        answers = {}
        failed = generator.random(size) < 0.01
        unlabeled = (generator.random(size) < 0.2) | failed
        for family, skill in (("cnn", 0.7), ("vit", 0.6)):
            right = generator.random(size) < skill
            answers[family] = np.where(right, truth, generator.integers(0, 1000, size))
            columns[f"{family}_answer"] = _null(names[answers[family]], failed)
            columns[f"{family}_probability"] = _null(generator.random(size), failed)
            columns[f"{family}_class"] = _null(truth, unlabeled)
            columns[f"{family}_right"] = _null(answers[family] == truth, unlabeled)
            five = pa.array(np.tile(np.arange(5, dtype=np.int32), size))
            offsets = pa.array(np.arange(0, 5 * size + 1, 5, dtype=np.int32))
            columns[f"{family}_top"] = pa.ListArray.from_arrays(offsets, five)
            shares = pa.array(np.tile(np.full(5, 0.2, np.float32), size))
            columns[f"{family}_top_probabilities"] = pa.ListArray.from_arrays(offsets, shares)
            for name in component_names(family):
                columns[name] = _null(generator.normal(size=size), failed)
        columns["same_answer"] = _null(answers["cnn"] == answers["vit"], failed)
        columns["divergence"] = _null(generator.beta(1, 3, size), failed)
        columns["artifacts"] = _null(generator.poisson(0.3, size), failed)
        columns["path"] = np.char.add(np.char.add("pictures/", index.astype(str)), ".jpg")
        columns["label"] = np.where(unlabeled, "", names[truth])
        columns["error"] = np.where(failed, "It is damaged.", "")
        columns["digest"] = np.char.zfill(index.astype(str), 64)
        for name in ("width", "height", "bytes"):
            columns[name] = generator.integers(200, 2000, size)
        for field in schema:
            if field.name not in columns:
                texts = pa.types.is_string(field.type)
                values = names[truth] if texts else generator.uniform(-0.2, 1, size)
                columns[field.name] = _null(values, failed)
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column)
            for column in (columns[name] for name in schema.names)
        ]
        yield pa.Table.from_arrays(
            [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)],
            schema=schema,
        )


def _null(values: np.ndarray, where: np.ndarray) -> pa.Array:
    return pa.array(values, mask=where)


def _write_manifest(folder: Path, count: int, chunk: int) -> None:
    keys = {"cnn_cam": "cam", "vit_gradient_rollout": "gradient_rollout"}
    manifest = {
        "version": VERSION,
        "chunk": chunk,
        "plan": sweep.Plan("pictures").as_dict(),
        "models": {},
        "maps": {key: {"method": method, "parameters": {}} for key, method in keys.items()},
        "pictures": {
            "count": count,
            "source": {"kind": "folder", "root": "/nowhere", "column": ""},
        },
        "classes": {"cnn": CLASSES, "vit": CLASSES},
        "runs": [{"command": "made up", "began": "2026-01-01T00:00:00Z", "versions": {}}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _write_part(folder: Path, number: int, chunk: int, schema: pa.Schema) -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((96, 96)).convert("RGB").save(buffer, "JPEG")
    row = {"index": number * chunk, "thumbnail": buffer.getvalue()}
    for key, side in zip(MAPS, (7, 16), strict=True):
        row[f"map__{key}"] = np.linspace(0, 1, side * side).astype(np.float16)
        row[f"shape__{key}"] = [side, side]
    table = pa.Table.from_pylist([row] * chunk, schema=schema)
    parquet.write_table(table, folder / "parts" / f"{number:05d}.parquet")
