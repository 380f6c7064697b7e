"""Where weights come from: this repository, timm, torchvision, the hub, a local checkpoint.

Each source imports its library only when a model of that source is opened.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.errors import ModelError, WeightsError
from core.labels import read_labels
from core.models import storage
from core.models.base import Preprocessing
from core.models.downloads import ensure
from core.models.spec import ModelSpec
from core.paths import WEIGHTS

logger = logging.getLogger(__name__)

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Loaded(NamedTuple):
    """A network with what is needed to use it.

    Attributes
    ----------
    digest
        SHA-256 of the file that the weights came from; empty if that is not one known file.
    """

    module: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    digest: str = ""


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


def _check_values(spec: ModelSpec, state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not numbers: maps of them would be none, or would not look so."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(
                f"The weights of {spec.title} hold values that are not numbers (NaN or infinite, "
                f"in {name!r}); restore the file or export it again."
            )


def _check_fit(spec: ModelSpec, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not this network's, in our words: the library lists them all."""
    wanted = module.state_dict()
    differences = [
        *(f"{name!r} is missing" for name in wanted.keys() - state.keys()),
        *(f"{name!r} is not part of it" for name in state.keys() - wanted.keys()),
        *(
            f"{name!r} is {_shape(state[name])} where {_shape(wanted[name])} is expected"
            for name in wanted.keys() & state.keys()
            if state[name].shape != wanted[name].shape
        ),
    ]
    if differences:
        more = f", and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise WeightsError(
            f"The weights of {spec.title} do not fit the architecture {spec.architecture!r} "
            f"({min(differences)[:160]}{more}); check the entry's architecture, labels and "
            "checkpoint."
        )


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "one number"


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
    from timm.data import resolve_data_config

    config = resolve_data_config(model=module)
    return Preprocessing(
        size=spec.input_size,
        crop_fraction=float(config["crop_pct"]),
        resample=_RESAMPLE.get(config["interpolation"], Image.Resampling.BICUBIC),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        squash=config["crop_mode"] == "squash",
    )


def timm_module(spec: ModelSpec, **options: Any) -> nn.Module:
    """A network of timm; ``options`` go to its ``create_model``."""
    import timm

    module: nn.Module
    if spec.family == "vit":
        try:
            # Any size that is a multiple of the patch; the position embedding is interpolated.
            module = timm.create_model(spec.architecture, dynamic_img_size=True, **options)
            return module
        except TypeError:
            pass  # takes its own size only, or is no plain transformer: its family will tell
    module = timm.create_model(spec.architecture, **options)
    return module


_FILLING = frozenset(
    {
        "add_",
        "clamp_",
        "constant_",
        "copy_",
        "div_",
        "erfinv_",
        "fill_",
        "kaiming_normal_",
        "kaiming_uniform_",
        "mul_",
        "normal_",
        "ones_",
        "trunc_normal_",
        "uniform_",
        "xavier_normal_",
        "xavier_uniform_",
        "zero_",
        "zeros_",
    }
)
"""Names of functions that fill a tensor in place."""


class _WithoutMemory(TorchFunctionMode):
    """New, empty tensors get no memory, and what would fill them does nothing."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        elif getattr(func, "__name__", "") in _FILLING:
            target = args[0] if args else options.get("tensor")
            if isinstance(target, Tensor) and target.is_meta:
                return target
        return func(*args, **options)


def _filled(spec: ModelSpec, classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A network of timm with these weights, as float32.

    Built without memory first: timm draws random numbers for every weight, which takes longer than
    reading the file.
    """
    # Copied, as a file that is mapped into memory may be overwritten while the network is in use.
    sums: list[Tensor] = []
    state = {name: _copied(tensor, sums) for name, tensor in tensors.items()}
    # A sum of a piece that was just copied costs next to nothing; large values may add up to more.
    if sums and not torch.stack(sums).isfinite().all():
        _check_values(spec, state)
    module = _without_memory(spec, classes)
    if module is not None:
        _check_fit(spec, module, state)
        module.load_state_dict(state, assign=True)
        if not _lacks_memory(module):
            return module
    # Some buffers are computed and not stored, so they have to be built.
    module = timm_module(spec, num_classes=classes)
    _check_fit(spec, module, state)
    module.load_state_dict(state)
    return module


PIECE = 30 * 1024
"""Numbers that PyTorch copies without a second thread."""


def _copied(tensor: Tensor, sums: list[Tensor]) -> Tensor:
    """The same values in memory of their own, as float32 if they are no integers.

    In pieces so small that PyTorch takes no second thread: it would wait for the one that computes
    the checksum. The sums of the pieces are added to ``sums``.
    """
    copied = torch.empty(
        tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype
    )
    sources = torch.split(tensor.reshape(-1), PIECE)
    for source, target in zip(sources, torch.split(copied.view(-1), PIECE), strict=True):
        target.copy_(source)
        if copied.is_floating_point():
            sums.append(target.sum())
    return copied


def _without_memory(spec: ModelSpec, classes: int) -> nn.Module | None:
    """The network with weights on the meta device; ``None`` if its constructor needs values."""
    try:
        with _WithoutMemory():
            return timm_module(spec, num_classes=classes)
    except (RuntimeError, NotImplementedError):
        logger.debug("%s cannot be built without memory", spec.architecture, exc_info=True)
        return None


def _lacks_memory(module: nn.Module) -> bool:
    """Whether a parameter, a buffer or a tensor kept as a plain attribute has no values."""
    kept = (value for part in module.modules() for value in vars(part).values())
    tensors = (*module.parameters(), *module.buffers(), *kept)
    return any(isinstance(tensor, Tensor) and tensor.is_meta for tensor in tensors)


def _embedded(spec: ModelSpec) -> Loaded:
    path = WEIGHTS / spec.weights
    if not path.is_file():
        raise WeightsError(
            f"{path.name} is missing from data/weights; restore it from the repository."
        )
    labels = read_labels(spec.labels)
    with ThreadPoolExecutor(1) as pool:
        summed = pool.submit(
            storage.sha256_of, path
        )  # takes as long as all the rest, and needs no lock
        try:
            module = _filled(spec, len(labels), _read_checkpoint(path))
        finally:  # before anything that a damaged file may have led to
            digest = summed.result()
            if digest != checksums().get(spec.weights):
                raise WeightsError(
                    f"{path.name} does not have the checksum listed in data/weights/SHA256SUMS; "
                    "restore it from the repository."
                )
    return Loaded(module, labels, timm_preprocessing(module, spec), digest)


def _local(spec: ModelSpec) -> Loaded:
    path = Path(spec.weights)
    if not path.is_file():
        raise WeightsError(f"The checkpoint {spec.weights!r} of {spec.title} does not exist.")
    labels = read_labels(spec.labels) if spec.labels else ()
    with ThreadPoolExecutor(1) as pool:
        summed = pool.submit(storage.sha256_of, path)
        module = _filled(spec, len(labels), _read_checkpoint(path))
    return Loaded(module, labels, timm_preprocessing(module, spec), summed.result())


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
    _check_values(spec, state)
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
    import torchvision

    weights = torchvision.models.get_model_weights(spec.architecture)[spec.weights]
    module = torchvision.models.get_model(spec.architecture)
    _check_values(spec, state)
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
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    safely = {"local_files_only": True, "trust_remote_code": False}
    module = AutoModelForImageClassification.from_pretrained(folder, use_safetensors=True, **safely)
    _check_values(spec, module.state_dict())
    processor = AutoImageProcessor.from_pretrained(folder, **safely)
    # Our own spelling of the names, so that a class can be found again in the other model.
    labels = read_labels(spec.labels) if spec.labels else _hub_labels(module)
    return Loaded(module, labels, _hub_preprocessing(processor), digest)


def _hub_labels(module: nn.Module) -> tuple[str, ...]:
    names: Mapping[int, str] = module.config.id2label  # type: ignore[union-attr, assignment]
    return tuple(str(names[index]) for index in sorted(names))


def _hub_preprocessing(processor: Any) -> Preprocessing:
    def side(size: Any) -> int:
        return int(size["height"] if "height" in size else size["shortest_edge"])

    crops = bool(getattr(processor, "do_center_crop", False))
    size = side(processor.crop_size if crops else processor.size)
    return Preprocessing(
        size=size,
        crop_fraction=size / side(processor.size) if crops else 1.0,
        resample=Image.Resampling(int(processor.resample)),
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        squash=not crops and "height" in processor.size,
    )


LOADERS: Mapping[str, Callable[[ModelSpec], Loaded]] = {
    "embedded": _embedded,
    "local": _local,
    "timm": _timm,
    "torchvision": _torchvision,
    "hub": _hub,
}
