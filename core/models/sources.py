"""Where weights come from: this repository, timm, torchvision, the hub, a local checkpoint.

Each source imports its library only when a model of that source is opened.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from core.answers import Reading
from core.errors import ModelError, UnsupportedModel, WeightsError
from core.labels import read_labels
from core.models import storage
from core.models.building import check_values, filled, timm_module
from core.models.downloads import ensure
from core.models.libraries import ensure_imported
from core.models.preprocessing import Preprocessing
from core.models.processors import preprocessing_of
from core.models.spec import ModelSpec
from core.paths import WEIGHTS

logger = logging.getLogger(__name__)

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


class Loaded(NamedTuple):
    """A network with what is needed to use it.

    Attributes
    ----------
    digest
        SHA-256 of the file that the weights came from, or of its two files' digests; empty where
        they came from no known file.
    answer
        How the source says that logits are read; empty where it does not.
    """

    module: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    digest: str = ""
    answer: Reading | Literal[""] = ""


def load(spec: ModelSpec) -> Loaded:
    """Build a network and fill in its weights.

    Raises
    ------
    ModelError
        One sentence that says what is missing and what to do.
    """
    try:
        return LOADERS[spec.source](spec)
    except ModelError:
        raise
    except Exception as error:  # libraries raise anything from OSError to their own HTTP errors
        logger.warning("cannot load %s: %s", spec.id, _first_line(error))
        logger.debug("the whole story", exc_info=True)
        raise WeightsError(_why_not(spec, error)) from error


def _why_not(spec: ModelSpec, error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{spec.title} needs a package that is not installed ({error}); install it first."
    return (
        f"The weights of {spec.title} do not fit the architecture {spec.architecture!r} "
        f"({type(error).__name__}); check the entry's architecture, labels and checkpoint."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[1].strip() if len(lines) > 1 and lines[0].endswith(":") else (lines or [""])[0]
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


@lru_cache(maxsize=1)
def checksums() -> Mapping[str, str]:
    """SHA-256 of every embedded file, by its name."""
    lines = (WEIGHTS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines if line)}


def timm_preprocessing(module: nn.Module, spec: ModelSpec) -> Preprocessing:
    """How a network of timm was evaluated, from its own configuration."""
    ensure_imported("timm")
    from timm.data import resolve_data_config

    config = resolve_data_config(model=module)
    if config["crop_mode"] not in ("center", "squash") or config["interpolation"] not in _RESAMPLE:
        raise UnsupportedModel(
            f"{spec.title} cannot be shown: it is evaluated on pictures that are resized by "
            f"{config['interpolation']!r} and cropped by {config['crop_mode']!r}, which is not "
            "done here; choose another model."
        )
    return Preprocessing(
        size=spec.input_size,
        crop_fraction=float(config["crop_pct"]),
        resample=_RESAMPLE[config["interpolation"]],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        squash=config["crop_mode"] == "squash",
    )


def _embedded(spec: ModelSpec) -> Loaded:
    paths = [WEIGHTS / name for name in (spec.weights, spec.head) if name]
    for path in paths:
        if not path.is_file():
            raise WeightsError(
                f"{path.name} is missing from data/weights; restore it from the repository."
            )
    labels = read_labels(spec.labels)
    with ThreadPoolExecutor(1) as pool:
        summed = pool.submit(
            storage.sha256_of_all, paths
        )  # takes as long as all the rest, and needs no lock
        try:
            module = filled(spec, len(labels), _read_files(paths))
        finally:  # before anything that a damaged file may have led to
            digests = summed.result()
            for path, digest in zip(paths, digests, strict=True):
                if digest != checksums().get(path.name):
                    raise WeightsError(
                        f"{path.name} does not have the checksum listed in "
                        "data/weights/SHA256SUMS; restore it from the repository."
                    )
    digest = storage.digest_of(digests)
    return Loaded(module, labels, timm_preprocessing(module, spec), digest)


def _local(spec: ModelSpec) -> Loaded:
    names = [name for name in (spec.weights, spec.head) if name]
    for name in names:
        if not Path(name).is_file():
            raise WeightsError(f"The checkpoint {name!r} of {spec.title} does not exist.")
    paths = [Path(name) for name in names]
    labels = read_labels(spec.labels) if spec.labels else ()
    with ThreadPoolExecutor(1) as pool:
        summed = pool.submit(storage.sha256_of_all, paths)
        module = filled(spec, len(labels), _read_files(paths))
    digest = storage.digest_of(summed.result())
    return Loaded(module, labels, timm_preprocessing(module, spec), digest)


def _read_files(paths: Sequence[Path]) -> Mapping[str, Tensor]:
    """Names and tensors of all files; where two hold the same one, the later file's counts."""
    state: dict[str, Tensor] = {}
    for path in paths:
        state |= _read_checkpoint(path)
    return state


def _read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """Names and tensors of a file; no code that it holds is run."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors: Mapping[str, Tensor] = load_file(path)
            return tensors
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file leads to
        logger.debug("the whole story", exc_info=True)
        raise WeightsError(
            f"{path.name} is no checkpoint that can be read (damaged, or with more in it than "
            "tensors); save it as safetensors or with torch.save(model.state_dict(), …)."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise WeightsError(
            f"{path.name} holds no state dict; save one with torch.save(model.state_dict(), …)."
        )
    state: Mapping[str, Tensor] = content
    return state


def _fetched(spec: ModelSpec, name: str = storage.WEIGHTS_FILE) -> Path:
    """A file of a repository on the hub."""
    ensure(spec)
    return storage.repository(spec.source, spec.architecture, spec.revision).paths()[name]


def _damaged(spec: ModelSpec, path: Path) -> WeightsError:
    storage.distrust(path)
    return WeightsError(
        f"The stored copy of {spec.title} is damaged ({path.name} has another checksum than "
        "promised); choose the model again to fetch it anew."
    )


def _timm(spec: ModelSpec) -> Loaded:
    path = _fetched(spec)
    digest = storage.sha256_of(path)
    if not storage.Repository.promises(path, digest):
        raise _damaged(spec, path)
    # By way of timm's own table, as it renames what some of its files hold.
    state = dict(_read_checkpoint(path))
    check_values(spec, state)
    given = {"state_dict": state}
    module = timm_module(spec, pretrained=True, pretrained_cfg_overlay=given)
    del module.pretrained_cfg["state_dict"]  # type: ignore[operator, union-attr]
    labels = read_labels(spec.labels) if spec.labels else ()
    return Loaded(module, labels, timm_preprocessing(module, spec), digest)


def _torchvision(spec: ModelSpec) -> Loaded:
    ensure(spec)
    file = storage.torchvision_file(spec.architecture, spec.weights)
    digest = storage.sha256_of(file.path)
    if not file.promises(digest):
        raise _damaged(spec, file.path)
    return from_torchvision(spec, _read_checkpoint(file.path), digest)


def from_torchvision(spec: ModelSpec, state: Mapping[str, Tensor], digest: str = "") -> Loaded:
    """A network of torchvision with some weights, evaluated as its entry's weights say."""
    ensure_imported("torchvision")
    import torchvision

    weights = torchvision.models.get_model_weights(spec.architecture)[spec.weights]
    module = torchvision.models.get_model(spec.architecture)
    check_values(spec, state)
    module.load_state_dict(state)
    evaluation = weights.transforms()
    size = int(evaluation.crop_size[0])
    preprocessing = Preprocessing(
        size=size,
        crop_fraction=size / int(evaluation.resize_size[0]),
        resample=_RESAMPLE[evaluation.interpolation.value],
        mean=tuple(evaluation.mean),
        std=tuple(evaluation.std),
    )
    return Loaded(module, read_labels(spec.labels), preprocessing, digest)


def _hub(spec: ModelSpec) -> Loaded:
    path = _fetched(spec)
    digest = storage.sha256_of(path)
    if not storage.Repository.promises(path, digest):
        raise _damaged(spec, path)
    return from_hub(spec, path.parent, digest)


def from_hub(spec: ModelSpec, folder: Path, digest: str = "") -> Loaded:
    """A classifier of transformers from a folder as the hub holds it."""
    ensure_imported("transformers")
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    safely = {"local_files_only": True, "trust_remote_code": False}
    module = AutoModelForImageClassification.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32, **safely
    )
    check_values(spec, module.state_dict())
    processor = AutoImageProcessor.from_pretrained(folder, **safely)
    # Our own spelling of the names, so that a class can be found again in the other model.
    labels = read_labels(spec.labels) if spec.labels else _hub_labels(module)
    several = getattr(module.config, "problem_type", None) == "multi_label_classification"
    answer: Reading | Literal[""] = "sigmoid" if several else ""
    return Loaded(module, labels, preprocessing_of(processor, spec.title), digest, answer)


def _hub_labels(module: nn.Module) -> tuple[str, ...]:
    names: Mapping[int, str] = module.config.id2label  # type: ignore[union-attr, assignment]
    return tuple(str(names[index]) for index in sorted(names))


LOADERS: Mapping[str, Callable[[ModelSpec], Loaded]] = {
    "embedded": _embedded,
    "local": _local,
    "timm": _timm,
    "torchvision": _torchvision,
    "hub": _hub,
}
