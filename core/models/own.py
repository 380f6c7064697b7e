"""Users' own models: try a checkpoint without side effects, and write its entry."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from core.answers import probabilities
from core.errors import CatalogError
from core.files import replacing
from core.frozen import Frozen
from core.images import read_image
from core.models import opened
from core.models.model import Model
from core.models.preprocessing import Preprocessing
from core.models.spec import NOT_STATED, ModelSpec, catalog, catalog_problem, own_models_file
from core.models.stated import entry_for
from core.numerics import own_state
from core.pictures import samples

MOST_ANSWERS = 5


@dataclass(frozen=True, eq=False)
class Proposal(Frozen):
    """Facts about a checkpoint, found by opening it and predicting one picture.

    Attributes
    ----------
    spec : ModelSpec
        The complete entry of the model.
    tensors : (int, int)
        Number of the network's tensors that came from the checkpoint, and of all of them.
    labels : tuple of str
        Class names; empty for a model without classes.
    names : tuple of str
        Class names given as a list, to be written beside the entry; otherwise empty.
    preprocessing : Preprocessing
        Preprocessing of pictures, and the source of its values.
    remarks : tuple of str
        Choices made, each a sentence.
    picture : str
        Title of the test picture.
    answers : tuple of (str, float)
        The most probable classes of that picture, with their probabilities in [0, 1].
    """

    spec: ModelSpec
    tensors: tuple[int, int]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    preprocessing: Preprocessing
    remarks: tuple[str, ...]
    picture: str
    answers: tuple[tuple[str, float], ...]

    @property
    def text(self) -> str:
        """Summary in one line."""
        known, total = self.tensors
        counted = f"{known} of {total} tensors, " if total else ""
        classes = f"{len(self.labels):,} label{'s' if len(self.labels) != 1 else ''}"
        mean = " ".join(dict.fromkeys(_short(value) for value in self.preprocessing.mean))
        answers = ", ".join(f"{label} {_short(value)}" for label, value in self.answers)
        told = f"answers to “{self.picture}”: {answers}" if answers else "no classes, so no answers"
        return f"{counted}{classes}, {self.preprocessing.size} px, mean {mean}, {told}"

    def table(self, file: Path) -> str:
        """The entry as a ``[[model]]`` table of TOML.

        Parameters
        ----------
        file
            Destination; paths below its folder are written relative to it.
        """
        lines = ["[[model]]"]
        stated = {field.name: getattr(self.spec, field.name) for field in fields(ModelSpec)}
        if self.names:
            stated["labels"] = str(_labels_file(self.spec.id, file))
        of_hub = self.spec.source == "hub"
        for key in _KEYS:
            value = stated.get(key)
            if value in (None, "", (), NOT_STATED) or (of_hub and key == "architecture"):
                continue
            if key in ("weights", "head", "labels"):
                value = _relative(str(value), file)
            lines.append(f"{key} = {_toml(value)}")
        if self.preprocessing.is_assumed:
            lines.append(
                "# mean and std are only the library's default for this architecture; state them "
                "if training used others"
            )
        return "\n".join(lines) + "\n"


_KEYS = (
    "id",
    "title",
    "family",
    "architecture",
    "weights",
    "head",
    "entry",
    "labels",
    "answer",
    "parameters",
    "input_size",
    "mean",
    "std",
    "crop_fraction",
    "interpolation",
    "squash",
    "pretraining",
    "trained_on",
    "license",
    "note",
)


def propose(place: str | os.PathLike[str], **stated: Any) -> Proposal:
    """Detect a checkpoint's architecture, open it and predict one picture, without side effects.

    Parameters
    ----------
    place
        Path of a file or folder, or ``"hf-hub:owner/name"`` for a repository on the hub, which is
        fetched.
    **stated
        Known keys of an entry: ``architecture``, ``labels`` (a list of names, the path of
        a text file, or the name of a list in ``data/labels``), ``mean``, ``std``, … Missing
        values are taken from the file, from files beside it, or from the shapes of its tensors.

    Raises
    ------
    ModelError
        It cannot be opened; the message states why, and the next step.
    """
    spec, names = entry_for(place, stated)
    return _tried(spec, names, "family" not in stated)


def tried(spec: ModelSpec) -> Proposal:
    """Open a model of the catalog again and predict one picture; raises as `propose`."""
    return _tried(spec, None, False)


def _tried(spec: ModelSpec, names: Sequence[str] | None, any_family: bool) -> Proposal:
    model, loaded = opened(spec, None, names, any_family)
    sample = samples()[0]
    answers = _answers(model, sample.path)
    return Proposal(
        replace(model.spec, stated=tuple(dict.fromkeys((*model.spec.stated, "input_size")))),
        loaded.tensors,
        model.labels,
        tuple(names or ()),
        model.preprocessing,
        loaded.remarks,
        sample.title,
        answers,
    )


@own_state()
def _answers(model: Model, picture: Path) -> tuple[tuple[str, float], ...]:
    if not model.classes:
        return ()
    logits = model.score(model.pixels(read_image(picture)))
    found = torch.topk(probabilities(logits, model.answer)[0], min(MOST_ANSWERS, model.classes))
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return tuple((model.label(index), float(value)) for index, value in pairs)


def add_model(proposal: Proposal, file: Path | None = None) -> Path:
    """Write a proposal into the file of the user's own models, which all pages offer.

    Parameters
    ----------
    file
        By default that of the application; see `core.models.spec.own_models_file`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CatalogError
        The id is taken, or the file cannot be read or written.
    """
    file = file or own_models_file()
    if problem := catalog_problem():
        raise CatalogError(f"Nothing was added: {problem}")
    if any(spec.id == proposal.spec.id for spec in catalog()):
        raise CatalogError(f"The id {proposal.spec.id!r} is taken; choose another id.")
    try:
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        text = f"{before.rstrip()}\n\n{proposal.table(file)}".lstrip()
        tomllib.loads(text)
        file.parent.mkdir(parents=True, exist_ok=True)
        if proposal.names:
            with replacing(_labels_file(proposal.spec.id, file)) as part:
                part.write_text("\n".join(proposal.names) + "\n", encoding="utf-8")
        with replacing(file) as part:
            part.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CatalogError(
            f"Nothing was added, as {file.name} cannot be written ({reason}); write the table into "
            "it yourself."
        ) from error
    return file


def free_id(wanted: str) -> str:
    """The id, with a number appended if it is taken."""
    taken = {spec.id for spec in catalog()}
    ids = (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3)))
    return next(one for one in ids if one not in taken)


def _labels_file(model_id: str, file: Path) -> Path:
    name = re.sub(r"[^\w.-]", "-", model_id)
    return file.parent / f"{name}.labels.txt"


def _relative(path: str, file: Path) -> str:
    """A path below the folder of a file, relative to it; any other text unchanged."""
    if not Path(path).is_absolute():
        return path
    try:
        return Path(path).resolve().relative_to(file.resolve().parent).as_posix()
    except ValueError:
        return path


def _toml(value: Any) -> str:
    """A value in TOML; texts are written as in JSON."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _short(value: float) -> str:
    """A number with three decimals, as in tables of the application."""
    return f"{value:.3f}".rstrip("0").removeprefix("0") if value else "0"
