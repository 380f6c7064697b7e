"""Descriptions of a checkpoint: ``config.json`` of timm or transformers beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import WeightsError

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.pth",
    "pytorch_model.pth",
    "model.pt",
)
_ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
_INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_LARGEST = 2**24
"""Most bytes of a description."""

_EVALUATION = ("mean", "std", "crop_pct", "crop_mode", "interpolation", "input_size")
_ARGUMENTS = (
    "img_size",
    "global_pool",
    "class_token",
    "reg_tokens",
    "no_embed_class",
    "init_values",
    "qk_norm",
    "qkv_bias",
    "fc_norm",
    "patch_size",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "act_layer",
    "stem_type",
    "stem_width",
    "final_norm",
    "pos_embed",
)
"""Arguments that change the architecture; none of them refers to a file."""

_MOST: Mapping[str, int] = {"depth": 256, "embed_dim": 2**14}
"""What such a number may be where it is not 1,024: even building a network costs time."""

_MOST_STAGES = 16


@dataclass(frozen=True)
class Description:
    """The description of a checkpoint.

    Attributes
    ----------
    library
        ``"timm"`` or ``"transformers"``; empty without a description.
    architecture
        Name in timm.
    labels
        Class names, in index order.
    evaluation
        Preprocessing of pictures, by timm's keys.
    options
        Arguments that timm's network was built with.
    folder
        Folder of the configuration of transformers.
    where
        Source of the description, for messages.
    """

    library: str = ""
    architecture: str = ""
    labels: tuple[str, ...] = ()
    evaluation: Mapping[str, Any] = field(default_factory=dict, hash=False)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    folder: Path | None = None
    where: str = ""


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files with the weights: the path itself, or those of a folder.

    Raises
    ------
    WeightsError
        The folder has none, or several without stating which to use.
    """
    if not path.is_dir():
        return (path,)
    for name in _INDEX:
        if (path / name).is_file():
            parts = sorted(
                {str(part) for part in _json(path / name).get("weight_map", {}).values()}
            )
            if not parts or any(Path(part).name != part for part in parts):
                raise WeightsError(f"{name} names no files in its folder; fetch the folder again.")
            return tuple(path / part for part in parts)
    for name in _WEIGHTS:
        if (path / name).is_file():
            return (path / name,)
    found = sorted(file for file in path.iterdir() if file.name.endswith(_ENDINGS))
    if len(found) == 1:
        return (found[0],)
    names = ", ".join(file.name for file in found[:6])
    held = f"several checkpoints ({names})" if found else "no weights"
    raise WeightsError(
        f"The folder {path.name} holds {held}; "
        "state the path of one file, such as model.safetensors."
    )


def described(path: Path, notes: Mapping[str, str]) -> Description:
    """The description of a checkpoint, in the file itself or beside it.

    Parameters
    ----------
    path
        The given file or folder.
    notes
        Texts of the file itself; see `core.models.checkpoint.Checkpoint`.

    Raises
    ------
    WeightsError
        A description cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    inside = _inside(notes)
    if inside:
        return _of_timm(inside, "the file")
    config = folder / CONFIG
    if config.is_file() and _belongs(config, path):
        content = _json(config)
        if isinstance(content.get("architecture"), str):
            return _of_timm(content, CONFIG)
        if isinstance(content.get("model_type"), str):
            return Description(
                "transformers", labels=_id2label(content), folder=folder, where=CONFIG
            )
    if "architecture" in notes:
        return Description("timm", notes["architecture"], where="the file")
    return Description()


def _belongs(config: Path, path: Path) -> bool:
    """Whether a configuration belongs to this file: the only checkpoint beside it."""
    if path.is_dir():
        return True
    others = [file for file in config.parent.iterdir() if file.name.endswith(_ENDINGS)]
    return path.name in _WEIGHTS or others == [path]


def _inside(notes: Mapping[str, str]) -> dict[str, Any]:
    """timm's description in the metadata of safetensors: as one text, or per key."""
    for key in ("config", "timm_config"):
        if key in notes:
            try:
                content = json.loads(notes[key])
            except ValueError:
                continue
            if isinstance(content, dict) and isinstance(content.get("architecture"), str):
                return content
    if "architecture" not in notes or not {"pretrained_cfg", "label_names"} & notes.keys():
        return {}
    found: dict[str, Any] = {"architecture": notes["architecture"]}
    for key in ("pretrained_cfg", "label_names", "model_args"):
        if key in notes:
            try:
                found[key] = json.loads(notes[key])
            except ValueError:
                continue
    return found


def _of_timm(content: Mapping[str, Any], where: str) -> Description:
    architecture = str(content["architecture"])
    if not re.fullmatch(r"\w+(\.\w+)?", architecture):
        raise WeightsError(
            f"{where} names the architecture {architecture[:80]!r}, expected a name in timm; "
            "correct it."
        )
    inner = content.get("pretrained_cfg")
    settings: Mapping[str, Any] = inner if isinstance(inner, dict) else content
    names = content.get("label_names") or content.get("labels") or settings.get("label_names")
    arguments = content.get("model_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    _check_sizes(arguments, where)
    return Description(
        "timm",
        architecture,
        _label_names(
            names, content.get("label_descriptions") or settings.get("label_descriptions")
        ),
        {key: settings[key] for key in _EVALUATION if settings.get(key) is not None},
        {key: arguments[key] for key in _ARGUMENTS if arguments.get(key) is not None},
        where=where,
    )


def _check_sizes(arguments: Mapping[str, Any], where: str) -> None:
    """Refuse numbers that no network has, before one is built."""
    for key in _ARGUMENTS:
        value = arguments.get(key)
        each = value if isinstance(value, list) else [value]
        numbers = [one for one in each if isinstance(one, int | float)]
        if len(each) > _MOST_STAGES or any(abs(one) > _MOST.get(key, 1024) for one in numbers):
            raise WeightsError(
                f"{where} states {key} = {str(value)[:60]}, which is more than a network has; "
                "correct it, or state the architecture."
            )


def _label_names(names: Any, descriptions: Any) -> tuple[str, ...]:
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=lambda key: int(key))]
    if not isinstance(names, list):
        return ()
    told = descriptions if isinstance(descriptions, dict) else {}
    return tuple(str(told.get(name, name)) for name in names)


def _id2label(content: Mapping[str, Any]) -> tuple[str, ...]:
    names = content.get("id2label")
    if not isinstance(names, dict):
        return ()
    return tuple(str(names[key]) for key in sorted(names, key=lambda key: int(key)))


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path.name} is not readable JSON; fetch it again.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path.name} holds no JSON object; fetch it again.")
    return content
