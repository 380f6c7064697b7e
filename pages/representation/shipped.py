"""Results over the samples with the embedded pair, made beforehand by `make_results`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

import core
from dashboard.registry import ROOT
from pages.representation.fields import Fields

FILE = ROOT / "data" / "representation.npz"
"""Arrays, and the rest as JSON in an array of bytes."""

FACTS = "facts"
KINDS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        core.LayerSimilarity,
        core.AttentionDistance,
        core.TokenNorms,
        core.Neighbors,
        core.LogitLens,
        core.Ablation,
        Fields,
    )
}
"""What can be stored."""


def name_of(key: tuple[Any, ...]) -> str:
    """The name under which a result is stored: the SHA-256 of its key."""
    return hashlib.sha256(repr(key).encode()).hexdigest()


def find(key: tuple[Any, ...]) -> Any:
    """The shipped result of this key; ``None`` without one."""
    facts, arrays = _file()
    if (entry := facts["results"].get(name_of(key))) is None:
        return None
    return _read(entry, arrays)


@cache
def _file() -> tuple[dict[str, Any], dict[str, Any]]:
    if not FILE.is_file():
        return {"results": {}}, {}
    with np.load(FILE) as held:
        arrays = {name: held[name] for name in held.files}
    return json.loads(arrays.pop(FACTS).tobytes()), arrays


def _read(entry: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(entry, list):
        return tuple(_read(one, arrays) for one in entry)
    if not isinstance(entry, dict):
        return entry
    if "array" in entry:
        return arrays[entry["array"]]
    values = {name: _read(one, arrays) for name, one in entry["fields"].items()}
    return KINDS[entry["kind"]](**values)


def written(results: Mapping[tuple[Any, ...], Any], weights: Mapping[str, str]) -> dict[str, Any]:
    """The arrays of the file for results by key."""
    arrays: dict[str, Any] = {}
    entries = {name_of(key): _entry(value, arrays) for key, value in results.items()}
    text = json.dumps({"weights": dict(weights), "results": entries})
    return arrays | {FACTS: np.frombuffer(text.encode(), np.uint8)}


def _entry(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, tuple):
        return [_entry(one, arrays) for one in value]
    if dataclasses.is_dataclass(value):
        parts = {f.name: _entry(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, "fields": parts}
    return value
