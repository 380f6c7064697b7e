"""Sources of weights: this repository, timm, torchvision, the hub, a local checkpoint.

Each source imports its library only when a model of that source is opened.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from core.errors import ModelError, WeightsError
from core.labels import read_labels
from core.models import storage
from core.models.building import check_values, filled, timm_module
from core.models.checkpoint import read
from core.models.downloads import ensure
from core.models.libraries import ensure_imported
from core.models.loaded import Loaded
from core.models.local import from_folder, load_local
from core.models.preprocessing import RESAMPLE, Preprocessing, timm_preprocessing
from core.models.spec import ModelSpec
from core.paths import WEIGHTS

logger = logging.getLogger(__name__)


def load(spec: ModelSpec, names: Sequence[str] | None = None) -> Loaded:
    """Build a network and fill in its weights.

    Parameters
    ----------
    names
        Class names, in index order, of a user's checkpoint whose spec has no list of them.

    Raises
    ------
    ModelError
        The model is not available; the message states what is missing and what to do.
    """
    try:
        if names is not None:
            return _hub(spec, names) if spec.source == "hub" else load_local(spec, names)
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
        )  # takes as long as all the rest and needs no lock
        try:
            module = filled(spec, len(labels), _read_files(paths))
        finally:  # before any error that a damaged file may have caused
            digests = summed.result()
            for path, digest in zip(paths, digests, strict=True):
                if digest != checksums().get(path.name):
                    raise WeightsError(
                        f"{path.name} does not have the checksum listed in "
                        "data/weights/SHA256SUMS; restore it from the repository."
                    )
    digest = storage.digest_of(digests)
    return Loaded(module, labels, timm_preprocessing(module, spec), digest)


def _read_files(paths: Sequence[Path]) -> Mapping[str, Tensor]:
    """Tensors of all files by name; of equal names the later file's tensor is taken."""
    state: dict[str, Tensor] = {}
    for path in paths:
        state |= read(path).tensors
    return state


def _fetched(spec: ModelSpec, name: str = storage.WEIGHTS_FILE) -> Path:
    """A file of a repository on the hub."""
    ensure(spec)
    return storage.repository(spec.source, spec.architecture, spec.revision).paths()[name]


def _damaged(spec: ModelSpec, path: Path) -> WeightsError:
    storage.distrust(path)
    return WeightsError(
        f"The stored copy of {spec.title} is damaged ({path.name} has another checksum than "
        "stated); choose the model again to fetch it once more."
    )


def _timm(spec: ModelSpec) -> Loaded:
    path = _fetched(spec)
    digest = storage.sha256_of(path)
    if not storage.Repository.promises(path, digest):
        raise _damaged(spec, path)
    # By timm's own table, as it renames tensors of some files.
    state = dict(read(path).tensors)
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
    return from_torchvision(spec, read(file.path).tensors, digest)


def from_torchvision(spec: ModelSpec, state: Mapping[str, Tensor], digest: str = "") -> Loaded:
    """A network of torchvision with given weights, preprocessed as its entry's weights."""
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
        resample=RESAMPLE[evaluation.interpolation.value],
        mean=tuple(evaluation.mean),
        std=tuple(evaluation.std),
    )
    return Loaded(module, read_labels(spec.labels), preprocessing, digest)


def _hub(spec: ModelSpec, names: Sequence[str] | None = None) -> Loaded:
    path = _fetched(spec)
    digest = storage.sha256_of(path)
    if not storage.Repository.promises(path, digest):
        raise _damaged(spec, path)
    return from_hub(spec, path.parent, digest, names)


def from_hub(
    spec: ModelSpec, folder: Path, digest: str = "", names: Sequence[str] | None = None
) -> Loaded:
    """A classifier of transformers or timm from a folder of the hub."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return from_folder(spec, folder, digest, names)


LOADERS: Mapping[str, Callable[[ModelSpec], Loaded]] = {
    "embedded": _embedded,
    "local": load_local,
    "timm": _timm,
    "torchvision": _torchvision,
    "hub": _hub,
}
