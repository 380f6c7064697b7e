"""Networks for users' own checkpoints: of timm, torchvision or transformers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from core.answers import Reading
from core.errors import UnsupportedModel, WeightsError
from core.labels import read_labels
from core.models import shapes, storage
from core.models.building import (
    WithoutMemory,
    check_values,
    copied,
    filled,
    lacks_memory,
    timm_module,
    without_memory,
)
from core.models.checkpoint import (
    Checkpoint,
    Fit,
    fit,
    is_bookkeeping,
    is_computed,
    listed,
    plain_names,
    read,
    shape_text,
)
from core.models.described import PROCESSOR, Description, described, weight_files
from core.models.heads import suit_head
from core.models.libraries import ensure_imported
from core.models.loaded import Loaded
from core.models.preprocessing import RESAMPLE, Origin, Preprocessing, as_stated, from_timm_config
from core.models.processors import preprocessing_of
from core.models.spec import ModelSpec

logger = logging.getLogger(__name__)

IMAGENET, IMAGENET_CLASSES = "imagenet1k", 1000


class _Given(NamedTuple):
    """The information from which a network is built."""

    spec: ModelSpec
    checkpoint: Checkpoint
    said: Description
    names: Sequence[str] | None
    remarks: list[str]


class _Built(NamedTuple):
    module: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    fitted: Fit
    answer: Reading | Literal[""] = ""


def load_local(spec: ModelSpec, names: Sequence[str] | None = None) -> Loaded:
    """The network for the weights of a checkpoint.

    Parameters
    ----------
    spec
        ``weights`` is a file or a folder; missing facts are taken from the file, from files
        beside it, or from the shapes of its tensors.
    names
        Class names, in index order, instead of the spec's.

    Raises
    ------
    WeightsError
        The weights cannot be used; the message states what was found and the next step.
    UnsupportedModel
        Its preprocessing is not supported.
    """
    for name in (spec.weights, spec.head):
        if name and not Path(name).exists():
            raise WeightsError(f"The checkpoint {name!r} of {spec.title} does not exist.")
    paths = [*weight_files(Path(spec.weights)), *([Path(spec.head)] if spec.head else [])]
    for path in paths:
        if not path.is_file():
            raise WeightsError(f"{path.name} of {spec.title} is missing; fetch the folder again.")
    with ThreadPoolExecutor(1) as pool:
        summed = pool.submit(storage.sha256_of_all, paths)
        checkpoint = _read_all(paths, spec.entry)
        said = described(Path(spec.weights), checkpoint.notes)
        loaded = _load(spec, checkpoint, said, names)
    return loaded._replace(digest=storage.digest_of(summed.result()))


def from_folder(
    spec: ModelSpec, folder: Path, digest: str = "", names: Sequence[str] | None = None
) -> Loaded:
    """A classifier from a folder of the hub, of transformers or timm."""
    checkpoint = _read_all(weight_files(folder), spec.entry)
    said = described(folder, checkpoint.notes)
    return _load(replace(spec, architecture=""), checkpoint, said, names)._replace(digest=digest)


def _read_all(paths: Sequence[Path], entry: str) -> Checkpoint:
    """The tensors of all files; of equal names the later file's tensor is taken."""
    each = [read(path, entry) for path in paths]
    tensors = {name: tensor for one in each for name, tensor in one.tensors.items()}
    remarks = tuple(dict.fromkeys(remark for one in each for remark in one.remarks))
    notes = {key: value for one in each for key, value in one.notes.items()}
    return Checkpoint(each[0].name, tensors, remarks, notes)


def _load(
    spec: ModelSpec, checkpoint: Checkpoint, said: Description, names: Sequence[str] | None
) -> Loaded:
    given = _Given(spec, checkpoint, said, names, list(checkpoint.remarks))
    library, name = _what(given)
    if said.library and spec.architecture and not _agree(said, library, name):
        given.remarks.append(
            f"{said.where} names {said.architecture or said.library!r}; the entry's architecture "
            f"{name!r} counts."
        )
        given = given._replace(said=Description())
    built = {"timm": _timm, "torchvision": _torchvision, "transformers": _transformers}[library](
        given, name
    )
    total = len(built.module.state_dict())
    architecture = name if library == "timm" or not name else f"{library}/{name}"
    return Loaded(
        built.module,
        built.labels,
        as_stated(built.preprocessing, spec),
        answer=built.answer,
        remarks=(*given.remarks, *built.fitted.remarks),
        architecture=architecture,
        tensors=(total - len(built.fitted.absent), total),
    )


def _agree(said: Description, library: str, name: str) -> bool:
    """Whether the description beside the weights is of the architecture in the entry."""
    stated, told = name.partition(".")[0], said.architecture.partition(".")[0]
    return said.library == library and stated == told


# -- which network --------------------------------------------------------------------------------


def _what(given: _Given) -> tuple[str, str]:
    """Library and name of the architecture: stated, described beside the weights, or by shapes."""
    spec, said = given.spec, given.said
    if spec.architecture:
        library, _, name = spec.architecture.rpartition("/")
        return _known(given, library or "timm", name)
    if said.library == "timm":
        return _known(given, "timm", said.architecture)
    if said.library:
        return said.library, ""
    found = shapes.matches(given.checkpoint.tensors)
    if not found:
        raise WeightsError(
            f"{given.checkpoint.name} does not state its architecture, and none of "
            f"{len(shapes.names())} architectures has its {len(given.checkpoint.tensors)} tensors "
            f"({listed(given.checkpoint.tensors)}); state the architecture."
        )
    best, *others = (match.known for match in found)
    more = f", as do {listed((one.architecture for one in others), 4)}" if others else ""
    given.remarks.append(f"{best.architecture!r} has exactly its names and shapes{more}.")
    return best.library, best.name


def _known(given: _Given, library: str, name: str) -> tuple[str, str]:
    """The architecture, if the library has it; otherwise an error with similar names."""
    ensure_imported("timm")
    import timm

    others = [one for one in shapes.names() if "/" in one]
    if library == "timm":
        if timm.is_model(name):
            return library, name
        if f"torchvision/{name}" in others:
            given.remarks.append(
                f"{name!r} is read as torchvision's, as timm has no model of that name."
            )
            return "torchvision", name
        offered = [*timm.list_models(), *others]
    else:
        if f"{library}/{name}" in others:
            return library, name
        offered = [one for one in others if one.startswith(f"{library}/")]
    near = get_close_matches(given.spec.architecture or name, offered, n=3, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()."
    raise WeightsError(
        f"{given.spec.title} has the architecture {name[:80]!r}, which is unknown to {library}; "
        f"{suggestion}"
    )


def _refuse(given: _Given, architecture: str, fitted: Fit, total: int) -> NoReturn:
    """Raise an error with the mismatch and a remedy."""
    first = min(fitted.differences, key=lambda text: ("missing" in text, text))
    more = f", and {len(fitted.differences) - 1} more" if len(fitted.differences) > 1 else ""
    fitting = [one.known.architecture for one in shapes.matches(given.checkpoint.tensors)]
    if architecture not in fitting and fitting:
        hint = f"their names and shapes are those of {listed(fitting)}: state that as architecture"
    elif fitted.missing and all("running_" in name for name in fitted.missing):
        hint = "named_parameters() leaves running statistics out: save model.state_dict()"
    elif any("lora_" in name for name in given.checkpoint.tensors):
        hint = "they hold adapters (LoRA) beside the weights: merge them and save again"
    else:
        hint = "check the entry's architecture, labels and checkpoint"
    wrong = {text.split("'")[1] for text in fitted.differences if "expected" in text}
    raise WeightsError(
        f"The weights of {given.spec.title} do not fit the architecture {architecture!r} "
        f"({len(fitted.state) - len(wrong)} of {total} tensors do; {first[:150]}{more}); {hint}."
    )


# -- classes --------------------------------------------------------------------------------------


def _counted(given: _Given, paths: Sequence[str]) -> tuple[int, str]:
    """Number of classes of the checkpoint's classifier, and the name of its weights."""
    for path in paths:
        found = [
            (name, tensor)
            for name, tensor in plain_names(given.checkpoint.tensors).items()
            if f".{name}".endswith(f".{path}.weight")
        ]
        if found:
            name, tensor = min(found, key=lambda one: len(one[0]))
            return len(tensor), name
    return 0, ""


def _labels(given: _Given, count: int, where: str) -> tuple[str, ...]:
    """Class names: stated, described beside the weights, or numbers."""
    spec, said = given.spec, given.said
    if given.names is not None:
        named, source = tuple(given.names), "labels"
    elif spec.labels:
        named, source = read_labels(spec.labels), f"labels, {Path(spec.labels).name},"
    else:
        named, source = said.labels, said.where
    if named and count and len(named) != count:
        raise WeightsError(
            f"The weights of {spec.title} have {count} classes ({where!r}), but {source} "
            f"{'has' if len(named) == 1 else 'have'} {len(named)}; give one name for each class."
        )
    if named or not count:
        return named
    if count == IMAGENET_CLASSES:
        given.remarks.append(
            "Its 1,000 classes are assumed to be those of ImageNet in the usual order; state "
            "labels if they are not."
        )
        return read_labels(IMAGENET)
    given.remarks.append(
        f"Its {count} classes have no names; state labels, such as a text file with one on a line."
    )
    return tuple(f"class {index}" for index in range(count))


# -- timm -----------------------------------------------------------------------------------------


def _timm(given: _Given, name: str) -> _Built:
    ensure_imported("timm")
    import timm
    from timm.data import resolve_data_config

    spec, said = replace(given.spec, architecture=name), given.said
    paths = timm.models.get_pretrained_cfg_value(name, "classifier") or ()
    count, where = _counted(given, (paths,) if isinstance(paths, str) else paths)
    labels = _labels(given, count, where)
    options = dict(said.options)
    bare, fitted, total = _tried(spec, len(labels), given, options)
    side = _trained_side(bare, fitted)
    if side:
        options["img_size"] = side
        bare, fitted, total = _tried(spec, len(labels), given, options)
    if fitted.differences:
        _refuse(given, name, fitted, total)
    module = filled(spec, len(labels), fitted.state, fitted.absent, bare, **options)
    config = resolve_data_config(model=module) | {
        key: value for key, value in said.evaluation.items() if key != "input_size"
    }
    stated = said.evaluation.get("input_size")
    if isinstance(stated, list) and stated:
        side = int(stated[-1])
    origin: Origin = "file" if {"mean", "std"} <= said.evaluation.keys() else "default"
    size = side or int(config["input_size"][-1])
    preprocessing = from_timm_config(config, spec.title, size, origin)
    return _Built(module, labels, preprocessing, fitted)


def _tried(
    spec: ModelSpec, classes: int, given: _Given, options: Mapping[str, Any]
) -> tuple[nn.Module, Fit, int]:
    """The network without weights, the match of the checkpoint, and its number of tensors."""
    module = without_memory(spec, classes, {}, **options)
    if module is None:
        module = timm_module(spec, num_classes=classes, **options)
    tensors = given.checkpoint.tensors
    fitted = fit(tensors, _shapes(module), spec.entry)
    if fitted.differences:
        suit_head(module, fitted.state)
        fitted = fit(tensors, _shapes(module), spec.entry)
    return module, fitted, len(module.state_dict())


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _trained_side(module: nn.Module, fitted: Fit) -> int:
    """The training size of a timm transformer, if different; 0 if unknown."""
    patches = getattr(module, "patch_embed", None)
    grid, patch = getattr(patches, "grid_size", None), getattr(patches, "patch_size", None)
    mine = getattr(module, "pos_embed", None)
    theirs = fitted.state.get("pos_embed")
    if grid is None or patch is None or theirs is None or not isinstance(mine, Tensor):
        return 0
    if theirs.ndim != 3 or theirs.shape == mine.shape or patch[0] != patch[1]:
        return 0
    places = theirs.shape[1] - (mine.shape[1] - grid[0] * grid[1])
    across = round(max(0, places) ** 0.5)
    return across * int(patch[0]) if across and across**2 == places else 0


# -- torchvision ----------------------------------------------------------------------------------


def _torchvision(given: _Given, name: str) -> _Built:
    ensure_imported("torchvision")
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    evaluation = weights.transforms()
    side = int(evaluation.crop_size[0])

    def build(**options: Any) -> tuple[nn.Module, Fit]:
        with WithoutMemory():
            module: nn.Module = torchvision.models.get_model(name, **options)
        return module, fit(given.checkpoint.tensors, _shapes(module), given.spec.entry)

    bare, fitted = build()
    linear = [path for path, part in bare.named_modules() if isinstance(part, nn.Linear)]
    count, where = _counted(given, (linear or ["classifier.1"])[-1:])
    labels = _labels(given, count, where)
    options: dict[str, Any] = {"num_classes": len(labels) or count or IMAGENET_CLASSES}
    positions, patch = "encoder.pos_embedding", getattr(bare, "patch_size", 0)
    if positions in fitted.state and patch:
        across = round((fitted.state[positions].shape[1] - 1) ** 0.5)
        side = across * int(patch)
        options["image_size"] = side
    module, fitted = build(**options)
    if fitted.differences:
        _refuse(given, f"torchvision/{name}", fitted, len(module.state_dict()))
    state = copied(fitted.state)
    check_values(given.spec, state)
    module.load_state_dict(state, strict=False, assign=True)
    if lacks_memory(module):  # tensors that it computes itself must be built
        module = torchvision.models.get_model(name, **options)
        module.load_state_dict(state, strict=False)
    stated = given.spec.input_size
    if "image_size" in options and "input_size" in given.spec.stated and stated != side:
        raise WeightsError(
            f"{given.spec.title} was trained at {side} pixels and torchvision's ViT accepts no "
            f"others, but input_size is {stated}; remove the key."
        )
    preprocessing = Preprocessing(
        size=side,
        crop_fraction=int(evaluation.crop_size[0]) / int(evaluation.resize_size[0]),
        resample=RESAMPLE[evaluation.interpolation.value],
        mean=tuple(evaluation.mean),
        std=tuple(evaluation.std),
        origin="default",
    )
    return _Built(module, labels, preprocessing, fitted)


# -- transformers ---------------------------------------------------------------------------------


def _transformers(given: _Given, name: str) -> _Built:
    ensure_imported("transformers")
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    spec, folder = given.spec, given.said.folder
    count, where = _counted(given, ("classifier", "cls_classifier", "classifier.1"))
    labels = _labels(given, count, where)
    if folder is not None:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    else:
        known = shapes.known(f"transformers/{name}")
        assert known is not None  # checked before
        config = transformers.AutoConfig.for_model(**known.config)
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise UnsupportedModel(
            f"{spec.title} cannot be shown: transformers has no image classifier of the type "
            f"{config.model_type!r}; choose a checkpoint of one."
        )
    config.num_labels = len(labels) or count
    offered = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    offered = offered if isinstance(offered, tuple) else (offered,)
    wanted = (getattr(config, "architectures", None) or [""])[0]
    if "cls_classifier.weight" in given.checkpoint.tensors:  # DeiT with two
        wanted = next((one.__name__ for one in offered if "Teacher" in one.__name__), wanted)
    kind = next((one for one in offered if one.__name__ == wanted), offered[0])
    prefix, tensors, left_out = _unprefixed(given, str(kind.base_model_prefix))
    state = copied(tensors)
    check_values(spec, state)
    with _quietly():
        module, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    fitted = _as_fit(info, module, prefix, left_out)
    if fitted.differences:
        _refuse(given, f"transformers/{name or config.model_type}", fitted, len(_shapes(module)))
    several = getattr(config, "problem_type", None) == "multi_label_classification"
    processed = _processed(given, config)
    return _Built(module, labels, processed, fitted, "sigmoid" if several else "")


_one_at_a_time = threading.Lock()


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from printing lists of weights: mismatches are reported here."""
    from transformers.utils import logging as told

    with _one_at_a_time:
        before = told.get_verbosity()
        told.set_verbosity_error()
        try:
            yield
        finally:
            told.set_verbosity(before)


def _unprefixed(given: _Given, base: str) -> tuple[str, dict[str, Tensor], list[str]]:
    """Tensors without anything before the network's own prefix, and foreign names."""
    named = plain_names(given.checkpoint.tensors)
    places = [name.find(f"{base}.") for name in named if f".{name}".find(f".{base}.") >= 0]
    first = next((name for name in named if f".{name}".find(f".{base}.") >= 0), "")
    prefix = first[: min(places)] if places else ""
    inside = {key[len(prefix) :]: one for key, one in named.items() if key.startswith(prefix)}
    return prefix, inside, [key for key in named if not key.startswith(prefix)]


def _as_fit(info: Mapping[str, Any], module: nn.Module, prefix: str, outside: list[str]) -> Fit:
    """The loading report of transformers as a `Fit`."""
    missing = sorted(name for name in info["missing_keys"] if not is_computed(name))
    unexpected = sorted(str(name) for name in info["unexpected_keys"])
    aside = [name for name in unexpected if is_bookkeeping(name)]
    differences = [
        *(
            f"{str(name)[:90]!r} is {shape_text(found)} where {shape_text(wanted)} is expected"
            for name, found, wanted in sorted(info["mismatched_keys"], key=str)
        ),
        *(f"{name[:90]!r} is missing" for name in missing),
        *(f"{name[:90]!r} is unexpected" for name in unexpected if name not in aside),
    ]
    remarks = [f"The prefix {prefix!r} of its names was ignored."] if prefix else []
    if outside or aside:
        names = listed([*outside, *aside])
        remarks.append(f"Left out, as the network has no place for them: {names}.")
    absent = tuple(sorted(name for name in info["missing_keys"] if is_computed(name)))
    state = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if name not in info["missing_keys"]
    }
    return Fit(state, tuple(differences), tuple(missing), absent, (), prefix, tuple(remarks))


def _processed(given: _Given, config: Any) -> Preprocessing:
    """Preprocessing: of its own processor, or as stated in its entry."""
    spec, folder = given.spec, given.said.folder
    if folder is not None and (folder / PROCESSOR).is_file():
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        found = preprocessing_of(processor, spec.title)
        return replace(found, origin="weights" if spec.source == "hub" else "file")
    if spec.mean is None or spec.std is None:
        raise WeightsError(
            f"{spec.title} has no {PROCESSOR} that states how its pictures are prepared; state "
            "mean and std (often .5), or put that file beside the weights."
        )
    size = getattr(config, "image_size", None)
    return Preprocessing(size=size if isinstance(size, int) else spec.input_size, origin="default")
