"""Facts about a model before it is opened, and the catalog of all models."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from core.answers import Reading
from core.errors import CatalogError, UnknownModel
from core.frozen import Frozen
from core.models.cards import Card, read_card
from core.models.storage import HUB, Source, is_stored
from core.paths import ROOT, WEIGHTS

BUILT_IN = Path(__file__).with_name("catalog.toml")
OWN_MODELS_VARIABLE = "PARALLAX_MODELS"
NOT_STATED = "not stated"
"""Environment variable with the path of your own models' TOML file (default: ``models.toml``)."""

PREPARED = ("input_size", "mean", "std", "crop_fraction", "interpolation", "squash")
"""Keys of the preprocessing."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")

Signature = tuple[int, ...] | None

MATCHED_PAIR = ("torchvision/resnet50", "timm/deit_small_patch16_224.fb_in1k")
"""A CNN and a ViT trained on the same data, offered where a pair is not matched."""


@dataclass(frozen=True)
class ModelSpec(Frozen):
    """One catalog entry: the facts of a model.

    Attributes
    ----------
    id
        Name in `core.open_model` and in addresses.
    title
        Title shown to users.
    family
        ``"cnn"`` or ``"vit"``.
    source
        Source of the weights.
    architecture
        Name in timm or torchvision, or repository on the Hugging Face hub.
    parameters
        In millions; ``None`` if not declared.
    input_size
        Side in pixels of the square at which it is evaluated.
    pretraining
        Training data, as shown to users.
    trained_on
        The same as a key: two models with equal, non-empty keys are a matched pair.
    license
        License of the weights.
    weights
        File name (embedded), enum member (torchvision) or path (local).
    head
        A second file, fitted to the first: a class head, and tensors that replace those of
        the first file. File name (embedded) or path (local); may be empty.
    revision
        Commit of the repository on the hub (also of timm's models); a branch where it is not known.
    labels
        Name of a list in ``data/labels`` or path of a file, one class per line; empty for a model
        without classes, or where the source brings its own names.
    answer
        How logits become probabilities: ``"softmax"`` (of classes) or ``"sigmoid"`` (of each label
        separately: several labels, or one logit); empty means softmax.
    note
        What a reader must know about its maps; may be empty.
    card
        Facts about this model. In the catalog file, the name of a JSON file: beside the
        embedded weights, or beside your own models' file.
    defaults
        Parameters per method that suit this model, where they differ from the method's own.
    entry
        Which of several sets of weights in a checkpoint to take (local); empty for the only one.
    mean, std, crop_fraction, interpolation, squash
        Preprocessing, if stated in the entry of a user's own model; see
        `core.models.preprocessing.Preprocessing`.
    stated
        Which of these keys, including ``input_size``, such an entry states.
    """

    id: str
    title: str
    family: Literal["cnn", "vit"]
    source: Source
    architecture: str
    parameters: float | None = None
    input_size: int = 224
    pretraining: str = NOT_STATED
    trained_on: str = ""
    license: str = NOT_STATED
    weights: str = ""
    head: str = ""
    revision: str = "main"
    labels: str = ""
    answer: Reading | Literal[""] = ""
    note: str = ""
    card: Card = field(default_factory=Card)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    entry: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_fraction: float | None = None
    interpolation: str = ""
    squash: bool | None = None
    stated: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        """Whether the weights are on this machine already (no download needed)."""
        return is_stored(self.source, self.architecture, self.weights, self.revision, self.head)

    @property
    def state(self) -> tuple[Signature, ...]:
        """Signature that changes with the files of a user's own model; empty for all others."""
        if self.source != "local":
            return ()
        named = [Path(name) for name in (self.weights, self.head, self.labels) if name]
        inner = [
            path / name for path in named if path.is_dir() for name in sorted(os.listdir(path))
        ]
        return tuple(_signature(path) for path in (*named, *inner))

    @property
    def training(self) -> str:
        """Training data, as shown to users; unknown for some users' own models."""
        if self.pretraining != NOT_STATED:
            return self.pretraining
        return self.trained_on or "data not named in its entry"

    def matches(self, other: ModelSpec) -> bool:
        """Whether both were trained on the same data, so that architectures can be compared."""
        return bool(self.trained_on) and self.trained_on == other.trained_on


def read_catalog(
    path: Path, own: bool = False, watch: Callable[[Path], object] = lambda path: None
) -> tuple[ModelSpec, ...]:
    """Read ``[[model]]`` tables of a TOML file.

    Parameters
    ----------
    own
        The file declares a user's own models: the source is ``"local"``, relative paths are
        taken from the file's folder.
    watch
        Called with every file that the result depends on, before it is read.

    Raises
    ------
    CatalogError
        Not TOML, an unknown or missing key, a value of the wrong type, or a card that cannot be
        read.
    """
    watch(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(f"{path.name} is not readable TOML: {error}.") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise CatalogError(f"{path.name} must contain [[model]] tables.")
    return tuple(_spec(table, path, own, watch) for table in tables)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table_of_tables(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())


def _is_triple(value: Any) -> bool:
    each = value if isinstance(value, list | tuple) else [value] * 3
    return len(each) == 3 and all(_is_number(one) and math.isfinite(one) for one in each)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "parameters": _is_number,
    "input_size": _is_number,
    "defaults": _is_table_of_tables,
    "mean": _is_triple,
    "std": lambda value: (
        _is_triple(value) and min(value if isinstance(value, list) else [value]) > 0
    ),
    "crop_fraction": lambda value: _is_number(value) and 0 < value <= 1,
    "interpolation": lambda value: value in INTERPOLATIONS,
    "squash": lambda value: isinstance(value, bool),
}
"""Required types of values other than texts."""


def _spec(
    table: dict[str, Any], path: Path, own: bool, watch: Callable[[Path], object]
) -> ModelSpec:
    table = dict(table)
    where = f"{path.name}, model {table.get('id', '?')!r}"
    if own:
        table.setdefault("source", "local")
        table.setdefault("title", table.get("id"))
        for key in ("weights", "head", "labels"):
            named = str(table.get(key, ""))
            if named:
                watch(path.parent / named)
            beside = path.parent / named
            if named and (beside.is_file() or (key == "weights" and beside.is_dir())):
                table[key] = str(beside.resolve())
        if str(table.get("weights", "")).startswith(HUB):
            _of_hub(table, where)
    known = {entry.name for entry in fields(ModelSpec)} - {"stated"}
    if unknown := sorted(set(table) - known):
        raise CatalogError(f"{where}: unknown key {unknown[0]!r}; known are {sorted(known)}.")
    for key in ("id", "title", "family", "source", "architecture"):
        if own and key == "architecture" and key not in table:
            table[key] = ""  # as its file states it
            continue
        if not isinstance(table.get(key), str) or not table[key]:
            raise CatalogError(f"{where}: the key {key!r} is missing or not a text.")
    for key, value in table.items():
        if not _KINDS.get(key, _is_text)(value):
            raise CatalogError(f"{where}: the key {key!r} is {value!r}, a value of the wrong type.")
    if table["family"] not in ("cnn", "vit"):
        raise CatalogError(f"{where}: family is {table['family']!r}, expected 'cnn' or 'vit'.")
    if table.get("answer", "softmax") not in get_args(Reading):
        raise CatalogError(
            f"{where}: answer is {table['answer']!r}, expected 'softmax' (probabilities of the "
            "classes sum to 1) or 'sigmoid' (one probability per label)."
        )
    if table.get("head") and table["source"] not in ("embedded", "local"):
        raise CatalogError(
            f"{where}: 'head' is only for local files, and the source is {table['source']!r}; "
            "remove the key."
        )
    of_hub = str(table.get("weights", "")).startswith(HUB)
    if own and not of_hub and (table["source"] != "local" or not table.get("weights")):
        raise CatalogError(f"{where}: your own models need 'weights', the path of a checkpoint.")
    if own and not of_hub:
        check_architecture(table["architecture"], where)
    size = table.get("input_size", 224)
    if not isinstance(size, int) or not 16 <= size <= 1024:
        raise CatalogError(f"{where}: input_size is {size!r}, expected 16 to 1024 (pixels).")
    if own:
        table["stated"] = tuple(key for key in PREPARED if key in table)
    for key in ("mean", "std"):
        if key in table:
            each = table[key] if isinstance(table[key], list) else [table[key]] * 3
            table[key] = tuple(map(float, each))
    if "card" in table:
        card = (path.parent if own else WEIGHTS) / table["card"]
        watch(card)
        table["card"] = read_card(card)
    return ModelSpec(**table)


def check_architecture(name: str, where: str) -> None:
    """Reject anything but a name of an architecture, such as a path that timm would load.

    Raises
    ------
    CatalogError
        It is neither a name in timm nor one with its library before it.
    """
    if name and not re.fullmatch(r"\w+(\.\w+)?|torchvision/\w+|transformers/[\w-]+", name):
        raise CatalogError(
            f"{where}: the architecture is {name!r}, expected a name in timm, or one of another "
            "library such as 'torchvision/vit_b_16'."
        )


def _of_hub(table: dict[str, Any], where: str) -> None:
    """Change the source of an entry with weights on the hub."""
    repository, _, revision = str(table["weights"]).removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or ".." in repository:
        raise CatalogError(
            f"{where}: weights are {table['weights']!r}, expected 'hf-hub:owner/name'."
        )
    if table.get("architecture"):
        raise CatalogError(
            f"{where}: a repository on the hub states its architecture; remove that key."
        )
    table |= {"source": "hub", "architecture": repository, "revision": revision or "main"}


@lru_cache(maxsize=1)
def _built_in() -> tuple[ModelSpec, ...]:
    return read_catalog(BUILT_IN)


def own_models_file() -> Path:
    """Path of the file that declares a user's own models; it need not exist."""
    return Path(os.environ.get(OWN_MODELS_VARIABLE) or ROOT / "models.toml")


def catalog() -> tuple[ModelSpec, ...]:
    """All models that can be opened: built-in ones first, then the user's own.

    A broken file of own models never hides the built-in ones; `catalog_problem` reports it.
    """
    return _built_in() + _own()[0]


def own_models() -> tuple[ModelSpec, ...]:
    """The user's own models, in the order of their file; empty if it cannot be read."""
    return _own()[0]


def own_entry(table: Mapping[str, Any], path: Path) -> ModelSpec:
    """The entry of a table, read as if it were in a user's file.

    Parameters
    ----------
    table
        Keys and values of a ``[[model]]`` table.
    path
        The file to which paths are relative and that messages name.

    Raises
    ------
    CatalogError
        As `read_catalog`.
    """
    return _spec(dict(table), path, own=True, watch=lambda path: None)


def default_models() -> tuple[str, str]:
    """Ids of the models shown by default, for `open_model`.

    The first convolutional network and the first transformer whose weights are part of the
    repository, so that no download is needed.
    """
    first = {spec.family: spec.id for spec in reversed(_built_in()) if spec.source == "embedded"}
    return first["cnn"], first["vit"]


def catalog_problem() -> str | None:
    """Why the user's own models are missing from the catalog; ``None`` if they are not."""
    return _own()[1]


Own = tuple[tuple[ModelSpec, ...], str | None]


def _signature(path: Path) -> Signature:
    """Signature that changes when a file is written or replaced; ``None`` without a file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True, eq=False)
class _Read:
    """The user's own models as read, and the files on which they depend."""

    path: Path
    files: Mapping[Path, Signature]
    own: Own

    def is_current(self, path: Path) -> bool:
        return path == self.path and all(_signature(f) == was for f, was in self.files.items())


_last_read: _Read | None = None
"""Replaced as a whole, so that threads need no lock; at worst two read the same."""


def _own() -> Own:
    """The user's own models; read again only when one of their files has changed."""
    global _last_read
    path, held = own_models_file(), _last_read
    if held is None or not held.is_current(path):
        files: dict[Path, Signature] = {}
        own = _read_own(path, lambda file: files.setdefault(file, _signature(file)))
        _last_read = held = _Read(path, files, own)
    return held.own


def _read_own(path: Path, watch: Callable[[Path], object]) -> Own:
    watch(path)
    if not path.is_file():
        return (), None
    try:
        own = read_catalog(path, own=True, watch=watch)
        taken = {spec.id for spec in _built_in()}
        for spec in own:
            if spec.id in taken:
                raise CatalogError(f"{path.name}: the id {spec.id!r} is taken; choose another.")
            taken.add(spec.id)
    except CatalogError as error:
        return (), str(error)
    return own, None


def find_spec(model_id: str) -> ModelSpec:
    """The catalog entry of this id.

    Raises
    ------
    UnknownModel
        With the nearest ids as a suggestion.
    """
    from difflib import get_close_matches

    specs = {spec.id: spec for spec in catalog()}
    if model_id in specs:
        return specs[model_id]
    near = get_close_matches(model_id, specs, n=3, cutoff=0.4) or list(specs)[:2]
    raise UnknownModel(
        f"The model {model_id!r} is not in the catalog; did you mean {' or '.join(near)}?"
    )
