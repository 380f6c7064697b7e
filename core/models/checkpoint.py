"""The reader of checkpoints: it reports its choices and runs no code of the file.

`read` finds the weights in a file, whatever else it contains. `fit` gives them the names of a
network.
"""

from __future__ import annotations

import logging
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.errors import WeightsError

logger = logging.getLogger(__name__)

Shape = tuple[int, ...]

SAVE = "save model.state_dict() with torch.save, or as safetensors"
AGAIN = "fetch or copy it again"
"""Remedies, as fragments of sentences."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a file.

    Attributes
    ----------
    name
        Of the file, for messages.
    tensors
        By name, as in the file; none of them requires a gradient.
    remarks
        What was chosen and what was left out, each a sentence.
    notes
        Texts in the file: the metadata of safetensors, or ``"architecture"`` where a
        training script stored it.
    """

    name: str
    tensors: Mapping[str, Tensor]
    remarks: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, entry: str = "") -> Checkpoint:
    """The weights of a file, whatever its format.

    Parameters
    ----------
    path
        A file of safetensors or of ``torch.save``; its extension is ignored.
    entry
        Which of several sets of weights to take, with dots where they are nested; empty for the
        only one, or the one that is not averaged.

    Raises
    ------
    WeightsError
        The file is not a checkpoint; the message states what it is and how to save weights.
    """
    try:
        kind = _kind(path)
        if kind:
            raise WeightsError(f"{path.name} {kind}.")
        if _is_safetensors(path):
            return _read_safetensors(path)
        return _chosen(path.name, _loaded(path), entry)
    except WeightsError:
        raise
    except Exception as error:  # whatever a damaged or hostile file leads to
        logger.debug("the whole story", exc_info=True)
        raise WeightsError(
            f"{path.name} is not a readable checkpoint (damaged, or with more in it than "
            f"tensors); {SAVE}."
        ) from error


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few names in quotation marks, for a sentence."""
    each = list(names)
    shown = ", ".join(repr(name[:60]) for name in each[:most])
    return shown + (f" and {len(each) - most} more" if len(each) > most else "")


# -- what kind of file ----------------------------------------------------------------------------

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is only a Git LFS pointer; fetch the file with git lfs pull"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes it; only PyTorch weights can be read"),
    (b"GGUF", "is a GGUF file with weights of a language model; only image models are supported"),
    (b"\x93NUMPY", f"is a NumPy array, without the names of weights; {SAVE}"),
    (b"<", f"is a web page or XML, perhaps sent by a host instead of the file; {AGAIN}"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
)
"""First bytes of files that are often mistaken for checkpoints, and their kind."""


def _kind(path: Path) -> str:
    """The kind of a file without PyTorch weights; empty if it may contain them."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return f"is empty; {AGAIN}"
    for beginning, words in _BEGINNINGS:
        if start.startswith(beginning):
            return words
    if path.suffix == ".onnx" or (start[0] == 8 and re.search(rb"pytorch|onnx|tf2", start[:64])):
        return (
            "is an ONNX graph, whose layers cannot be inspected; "
            f"{SAVE}, of the PyTorch model that it was exported from"
        )
    return _kind_of_archive(path) if zipfile.is_zipfile(path) else ""


def _kind_of_archive(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return (
            "is a TorchScript program, which is compiled and cannot be inspected; "
            f"{SAVE}, of the model before it was scripted or traced"
        )
    if any("archive_format" in name or "exported_program" in name for name in names):
        return (
            f"is a torch.export program, which cannot be inspected; {SAVE}, of the model "
            "before it was exported"
        )
    if names and all(name.endswith(".npy") for name in names):
        return f"is an archive of NumPy arrays, as used for JAX models; convert it, then {SAVE}"
    if "data.pkl" not in inner:
        return f"is a ZIP archive without PyTorch weights; unpack it, or {SAVE}"
    return ""


def _is_safetensors(path: Path) -> bool:
    """Whether a file starts like safetensors: eight bytes of length, then JSON in braces."""
    with path.open("rb") as file:
        start = file.read(9)
    size = path.stat().st_size
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        notes = {str(key): str(value) for key, value in (file.metadata() or {}).items()}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Checkpoint(path.name, tensors, _about_ending(path, ".safetensors", "safetensors"), notes)


def _about_ending(path: Path, ending: str, kind: str) -> tuple[str, ...]:
    if path.suffix == ending:
        return ()
    return (f"{path.name} is read as {kind}, as its content shows, in spite of its name.",)


# -- files of torch.save --------------------------------------------------------------------------


class _Unread:
    """Placeholder of every object in a file that is neither a tensor nor plain data.

    Its class is not imported or called; the arguments are ignored.
    """

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __new__(cls, *_: object, **__: object) -> _Unread:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.model = state.get("model")  # a Namespace of timm's own script names its network


_one_at_a_time = threading.Lock()
"""PyTorch's list of safe classes is global to the process."""


def _loaded(path: Path) -> Any:
    """The result of ``torch.load`` with ``weights_only``, unknown classes as `_Unread`."""
    # An open file, as PyTorch interprets the extension of a path.
    with _one_at_a_time, _stand_ins(path), path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _stand_ins(path: Path) -> AbstractContextManager[object]:
    """Allow unknown classes in a file, as inert placeholders."""
    if not zipfile.is_zipfile(path):
        return nullcontext()
    names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    return torch.serialization.safe_globals([(_stand_in(name), name) for name in names])


def _stand_in(name: str) -> type:
    # Items are only set in plain dictionaries.
    if name.lower().endswith("dict"):
        return OrderedDict
    return type("_Unread", (_Unread,), {"kind": name})


# -- which of its weights -------------------------------------------------------------------------

_USUAL = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
)
"""Names under which training scripts keep weights; the first one present is taken."""

_AVERAGED = re.compile(r"ema|swa|averag|teacher|shadow|momentum_encoder", re.IGNORECASE)
_OTHER = re.compile(r"optim|sched|scaler|callback|loop|hyper|criterion|loss", re.IGNORECASE)
_DEEPEST = 3


def averaged(name: str) -> bool:
    """Whether a name denotes a moving average of weights."""
    return _AVERAGED.search(name) is not None


def _chosen(name: str, content: Any, entry: str) -> Checkpoint:
    """The set of weights to take from the content of a file."""
    if isinstance(content, _Unread):
        raise _whole_module(name, content)
    if isinstance(content, Tensor):
        raise WeightsError(f"{name} holds a single tensor, not a state dict; {SAVE}.")
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{name} holds a value of type {type(content).__name__}, not a state dict; {SAVE}."
        )
    found = dict(_sets(content))
    whole = len(_tensors(content))
    nested = {key: len(_tensors(value)) for key, value in found.items()}
    if whole and whole >= max(nested.values(), default=0) and not entry:
        return _as_checkpoint(name, content, content, "", ())
    if not found and not whole:
        unread = next((value for value in content.values() if isinstance(value, _Unread)), None)
        if unread is not None:
            raise _whole_module(name, unread)
        raise WeightsError(
            f"{name} holds no state dict ({listed(map(str, content)) or 'nothing'}); {SAVE}."
        )
    if entry and entry not in found:
        if whole or nested:  # it may be a prefix of names
            holder = content if whole >= max(nested.values(), default=0) else None
            holder = holder or found[max(nested, key=lambda key: nested[key])]
            if any(str(key).startswith(f"{entry}.") for key in holder):
                return _as_checkpoint(name, content, holder, "", ())
        raise WeightsError(
            f"{name} holds no weights under the entry {entry!r}; it has "
            f"{listed(found, 6) or 'one set, without an entry'}."
        )
    taken = entry or _preferred(name, nested)
    others = [key for key in found if key != taken and averaged(key) != averaged(taken)]
    remarks = [f"Took the weights under {taken!r} of {name}."]
    if others:
        kind = "plain" if averaged(taken) else "averaged"
        remarks.append(f'It also holds {kind} weights: entry = "{others[0]}" takes those instead.')
    return _as_checkpoint(name, content, found[taken], taken, remarks)


def _sets(content: Mapping[Any, Any], path: str = "", depth: int = 1) -> Iterable[tuple[str, Any]]:
    """Every mapping within a mapping that holds tensors by name, with its path."""
    for key, value in content.items():
        if not isinstance(value, Mapping) or not isinstance(key, str) or _OTHER.search(key):
            continue
        inner = f"{path}{key}"
        if _tensors(value):
            yield inner, value
        if depth < _DEEPEST:
            yield from _sets(value, f"{inner}.", depth + 1)


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        key: value.detach()
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


def _preferred(name: str, counts: Mapping[str, int]) -> str:
    """The set of the network's weights, if no entry states it."""
    most = max(counts.values())
    large = [key for key, count in counts.items() if 2 * count >= most]
    plain = [key for key in large if not averaged(key)]
    for among in (plain, large):
        usual = [one for name_ in _USUAL for one in among if one.split(".")[-1] == name_]
        if len(among) == 1:
            return among[0]
        if usual:
            return usual[0]
        if among:
            raise WeightsError(
                f"{name} holds several sets of weights, {listed(among, 6)}; state which of them "
                f'with entry = "{among[0]}".'
            )
    raise AssertionError("there is at least one")


def _as_checkpoint(
    name: str,
    content: Mapping[Any, Any],
    chosen: Mapping[Any, Any],
    taken: str,
    said: Sequence[str],
) -> Checkpoint:
    tensors = _tensors(chosen)
    others = [str(key) for key in chosen if key not in tensors]
    remarks = list(said)
    if others:
        remarks.append(f"Left out, as they are not tensors: {listed(others)}.")
    unusual = next((key for key, value in tensors.items() if value.is_quantized), None)
    if unusual is not None:
        raise WeightsError(
            f"{name} holds quantized weights ({unusual!r}), which have no gradients; save those "
            "from before quantization."
        )
    dense = {key: value.to_dense() if value.is_sparse else value for key, value in tensors.items()}
    return Checkpoint(name, dense, tuple(remarks), _notes(content))


def _notes(content: Mapping[Any, Any]) -> dict[str, str]:
    """The name of the network, if a training script stored it."""
    arguments = content.get("args")
    for named in (
        content.get("arch"),
        content.get("architecture"),
        getattr(arguments, "model", None),
        arguments.get("model") if isinstance(arguments, Mapping) else None,
    ):
        if isinstance(named, str) and re.fullmatch(r"\w+(\.\w+)?", named):
            return {"architecture": named}
    return {}


def _whole_module(name: str, content: _Unread) -> WeightsError:
    kind = str(getattr(content, "kind", "an unknown class"))[:80]
    return WeightsError(
        f"{name} holds a whole Python object ({kind!r}) instead of weights; reading it would run "
        "its code. Load it where that class can be imported, and "
        "save model.state_dict() with torch.save."
    )


# -- names of a network ---------------------------------------------------------------------------

_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts that compiling and sharding add anywhere in names."""

_BOOKKEEPING = re.compile(
    r"(^|\.)(criterion|criteria|loss(es|_fn|_fun\w*)?|\w+_loss|metrics?|\w*_(acc|accuracy|metrics?)"
    r"|total_ops|total_params|n_averaged|num_updates|logit_adjust\w*|class_weights)(\.|$)"
)
"""Names of counters and loss weights of training, on which no answer depends."""

_COMPUTED = re.compile(
    r"(^|\.)(num_batches_tracked|relative_position_index|relative_coords_table|attn_mask"
    r"|position_ids|k_indices|mask_token)$"
)
"""Names of tensors that a network does not read, or computes when it is built."""


class Fit(NamedTuple):
    """The match of the weights of a file with a network.

    Attributes
    ----------
    state
        Tensors under the network's names, without unknown ones.
    differences
        Mismatches, each as a fragment of a sentence; empty if the weights fit.
    missing
        Names missing in the file, except those that the network computes itself.
    absent
        Names that the network computes itself.
    outside
        Names of the file that were left out.
    prefix
        Prefix of all names of the file.
    remarks
        Statements about what was left out, each a sentence.
    """

    state: dict[str, Tensor]
    differences: tuple[str, ...]
    missing: tuple[str, ...]
    absent: tuple[str, ...]
    outside: tuple[str, ...]
    prefix: str
    remarks: tuple[str, ...]


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, without the parts that compiling and sharding add."""
    return {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): tensor
        for name, tensor in tensors.items()
    }


def is_computed(name: str) -> bool:
    """Whether a network computes the tensor of this name, or never reads it."""
    return _COMPUTED.search(name) is not None


def is_bookkeeping(name: str) -> bool:
    """Whether a name is that of a counter or loss weight of training."""
    return _BOOKKEEPING.search(name) is not None


def fit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Shape], entry: str = "") -> Fit:
    """Give tensors the names of a network, and list mismatches.

    A prefix is stripped if names fit without it: the one with which most names and shapes do.
    Tensors outside it are left out; unknown tensors within it are a
    mismatch, as they belong to another network.

    Parameters
    ----------
    tensors
        By the names of the file.
    wanted
        Shape of each of the network's tensors.
    entry
        Prefix to take, where several fit.
    """
    named = plain_names(tensors)
    prefix, rivals = _prefix(named, wanted, entry)
    inside = {
        name[len(prefix) :]: tensor for name, tensor in named.items() if name.startswith(prefix)
    }
    outside = [name for name in named if not name.startswith(prefix)]
    extra = [name for name in inside if name not in wanted]
    left_out = [name for name in extra if is_bookkeeping(name) or is_computed(name)]
    state = {name: tensor for name, tensor in inside.items() if name in wanted}
    lacking = [name for name in wanted if name not in state]
    missing = [name for name in lacking if not is_computed(name)]
    differences = [
        *(
            f"{name[:90]!r} is {shape_text(state[name].shape)} where {shape_text(wanted[name])} is "
            "expected"
            for name in state
            if tuple(state[name].shape) != tuple(wanted[name])
        ),
        *(f"{name[:90]!r} is missing" for name in missing),
        *(f"{name[:90]!r} is unexpected" for name in extra if name not in left_out),
    ]
    remarks = []
    if any(name not in tensors for name in named):
        remarks.append("Parts of names that compiling or sharding added were ignored.")
    if prefix:
        remarks.append(f"The prefix {prefix!r} of its names was ignored.")
    if rivals:
        remarks.append(
            f'Names under {rivals[0]!r} fit as well: entry = "{rivals[0].rstrip(".")}" takes '
            "those instead."
        )
    aside = [*(name for name in outside if not name.startswith(tuple(rivals))), *left_out]
    aside = [name for name in aside if not is_computed(name)]
    if aside:
        remarks.append(f"Left out, as the network has no place for them: {listed(aside)}.")
    return Fit(
        state,
        tuple(differences),
        tuple(missing),
        tuple(name for name in lacking if is_computed(name)),
        tuple(outside),
        prefix,
        tuple(remarks),
    )


def _prefix(
    named: Mapping[str, Tensor], wanted: Mapping[str, Shape], entry: str
) -> tuple[str, list[str]]:
    """The prefix whose removal matches most names, and others that match as many."""
    votes: dict[str, list[int]] = {}
    for name, tensor in named.items():
        parts = name.split(".")
        for place in range(len(parts)):
            rest = ".".join(parts[place:])
            if rest in wanted:
                vote = votes.setdefault(name[: len(name) - len(rest)], [0, 0])
                vote[0] += tuple(tensor.shape) == tuple(wanted[rest])
                vote[1] += 1
    if not votes:
        return "", []
    most = max(vote[0] for vote in votes.values())
    able = [prefix for prefix, vote in votes.items() if 10 * vote[0] >= 9 * most] if most else []
    asked = [prefix for prefix in votes if entry and f"{prefix}.".startswith(f"{entry}.")]
    order = sorted(
        asked or able or votes, key=lambda one: (averaged(one), [-n for n in votes[one]], len(one))
    )
    return order[0], [prefix for prefix in able if prefix not in (order[0], "")]


def shape_text(shape: Sequence[int]) -> str:
    """A shape as text."""
    return " × ".join(map(str, shape)) or "one number"
