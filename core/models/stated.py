"""Facts stated about a checkpoint, as an entry of ``models.toml``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from core.errors import CatalogError
from core.models.spec import ModelSpec, catalog, own_entry
from core.models.storage import HUB

ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar", ".onnx")
"""Suffixes by which a text is taken for a checkpoint rather than a model's id."""

STATABLE = tuple(
    field.name for field in fields(ModelSpec) if field.name not in ("source", "revision", "stated")
)
"""Keys that can be stated for a checkpoint, beside its path."""


def is_place(model: str | os.PathLike[str]) -> bool:
    """Whether this names a checkpoint, folder or repository rather than a catalog entry."""
    if not isinstance(model, str):
        return True
    if any(spec.id == model for spec in catalog()):
        return False
    return model.startswith(HUB) or model.lower().endswith(ENDINGS) or Path(model).is_dir()


def entry_for(
    place: str | os.PathLike[str], stated: Mapping[str, Any]
) -> tuple[ModelSpec, Sequence[str] | None]:
    """The entry of a checkpoint, and its class names where these were given as a list.

    Parameters
    ----------
    place
        Path of a file or folder, or ``"hf-hub:owner/name"``.
    stated
        Keys of an entry; ``None`` for what is not stated. ``labels`` may be a list of names.

    Raises
    ------
    CatalogError
        A key or value is not allowed in an entry.
    """
    given = {key: value for key, value in stated.items() if value is not None}
    if unknown := sorted(set(given) - set(STATABLE)):
        raise CatalogError(
            f"{unknown[0]!r} cannot be stated of a checkpoint; known are {', '.join(STATABLE)}."
        )
    names: Sequence[str] | None = None
    if not isinstance(given.get("labels", ""), str | os.PathLike):
        names = tuple(str(name).strip() for name in given.pop("labels"))
        if not all(names):
            raise CatalogError("A class name is empty; give one name for each class.")
    for key in ("labels", "head"):
        if key in given:
            path = Path(given[key])
            given[key] = str(path.resolve()) if path.is_file() else str(given[key])
    for key in ("mean", "std"):
        if isinstance(given.get(key), tuple):
            given[key] = list(given[key])
    text = os.fspath(place)
    weights = text if text.startswith(HUB) else str(Path(text).resolve())
    given.setdefault("id", id_of(text))
    given.setdefault("family", "vit")
    given.setdefault("title", given["id"])
    name = Path(text.removeprefix(HUB)).name
    return own_entry({**given, "weights": weights}, Path(name).absolute()), names


def id_of(place: str) -> str:
    """Default id of a checkpoint: the name of its file or folder."""
    path = Path(place.removeprefix(HUB))
    name = path.name
    while name.lower().endswith(ENDINGS):
        name = name[: name.rindex(".")]
    if name in ("model", "pytorch_model", "best", "last", "checkpoint", "model_best"):
        name = path.absolute().parent.name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
