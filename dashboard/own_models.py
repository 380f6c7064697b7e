"""Models that are opened from a page: files that visitors bring, or of the operator's folder.

Each is tried before it is held. Knows no Streamlit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import core
from core import Model, ModelError, ModelSpec, ParallaxError, ParameterError, Proposal, WeightsError
from dashboard.uploads import OWN

HELD = 4
"""Files of the largest size that are held on the disk for all sessions together."""

MOST_MODELS = 256
"""Models that are held to be opened; each is a few words, and of a visitor's a file."""

MOST_LISTED = 500
"""Checkpoints of the operator's folder that are offered."""

ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")
SAFETENSORS = ".safetensors"
LONGEST_LABEL = 200
"""Characters of a class name, which is a part of addresses."""

MOST_LABELS = 50_000

_ID = re.compile(rf"{OWN}[0-9a-f]{{20}}")
_log = logging.getLogger(__name__)


def is_own(model_id: str) -> bool:
    """Whether this has the form of the ids of models that were opened from a page."""
    return _ID.fullmatch(model_id) is not None


def not_held(model_id: str) -> str:
    """Why such a model cannot be shown, and what to do."""
    return (
        f"The model {model_id!r} of somebody's own is held by the server where it was opened, as "
        "long as there is room, and not here"
    )


# -- what is stated of a checkpoint ---------------------------------------------------------------


def stated(
    labels: str = "", answer: str = "", mean: str = "", std: str = "", architecture: str = ""
) -> dict[str, Any]:
    """Keys of an entry, of what a form holds; an empty text states nothing.

    Parameters
    ----------
    labels
        Class names, one a line.
    mean, std
        One number, or one for each channel.

    Raises
    ------
    ParameterError
        A text that cannot be used.
    """
    names = [line.strip() for line in labels.splitlines() if line.strip()]
    if len(names) > MOST_LABELS:
        raise ParameterError(
            f"There are {len(names):,} labels, at most {MOST_LABELS:,} can be used; give one for "
            "each class of the model."
        )
    if long := next((name for name in names if len(name) > LONGEST_LABEL), ""):
        raise ParameterError(
            f"The label {long[:40]!r} … has {len(long)} characters, at most {LONGEST_LABEL} can "
            "be used; write one class a line."
        )
    found: dict[str, Any] = {
        "labels": names or None,
        "answer": answer or None,
        "mean": _numbers("mean", mean, -1.0),
        "std": _numbers("deviation", std, 1e-6),
        "architecture": architecture.strip() or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _numbers(what: str, text: str, least: float) -> float | list[float] | None:
    words = text.replace(",", " ").replace(";", " ").split()
    if not words:
        return None
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise ParameterError(
            f"The {what} is {text[:40]!r}, expected one number or three, such as 0.5 or "
            "0.485 0.456 0.406."
        )
    if not all(least <= value <= 2.0 for value in values):
        raise ParameterError(
            f"The {what} is {text[:40]!r}, expected for values of pixels from 0 to 1; divide what "
            "is for 0 to 255 by 255."
        )
    return values[0] if len(values) == 1 else values


# -- the operator's folder ------------------------------------------------------------------------


def offered(folder: Path) -> dict[str, Path]:
    """Checkpoints of a folder by their names: files in it, and folders of ``save_pretrained``.

    Parameters
    ----------
    folder
        One that does not exist has none.
    """
    found: dict[str, Path] = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        for entry in entries:
            named = entry.name.lower().endswith(ENDINGS) and entry.is_file()
            whole = entry.is_dir() and (Path(entry.path) / "config.json").is_file()
            if (named or whole) and not entry.name.startswith("."):
                found[entry.name] = Path(entry.path)
            if len(found) == MOST_LISTED:
                break
    except OSError:
        _log.warning("the folder of checkpoints cannot be read", exc_info=True)
    return found


# -- held ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A model that was tried, and how it is opened again.

    Attributes
    ----------
    id
        What the address calls it: of its files and of all that is stated, so that it never means
        another model.
    place
        Its file or folder.
    stated
        Keys of an entry.
    state
        Of its files, when it was tried.
    """

    id: str
    place: Path
    stated: Mapping[str, Any]
    proposal: Proposal
    state: object

    @property
    def spec(self) -> ModelSpec:
        """Its entry."""
        return self.proposal.spec

    @property
    def code(self) -> str:
        """The expression of Python that opens it, where its file lies in the working folder."""
        given = {**self.stated, "id": self.id, "title": self.spec.title}
        options = "".join(f", {key}={value!r}" for key, value in given.items())
        return f"core.open_model(Path({self.place.name!r}){options})"

    def open(self) -> Model:
        """Open it anew.

        Raises
        ------
        WeightsError
            Its file is gone or is not the one that was tried.
        """
        if self.spec.state != self.state:
            raise WeightsError(
                f"{self.place.name} is not the file any more that was tried; try it again under "
                "“Your own model”."
            )
        return core.open_model(self.place, **self.stated, id=self.id, title=self.spec.title)


class OwnModels:
    """Models that were opened from a page, and the files that visitors brought.

    Parameters
    ----------
    most
        Bytes of a file that may be brought. `HELD` times as many are held for all sessions
        together, in the folder of temporary files; the longest unused goes first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._models: OrderedDict[str, OwnModel] = OrderedDict()
        self._folder: Path | None = None

    def take(self, name: str, data: bytes) -> Path:
        """Keep a file that was brought.

        Raises
        ------
        ModelError
            It is too large, or is not what may be brought.
        """
        called = re.sub(r"[^\w.-]+", "-", Path(name).name).strip("-.")[:80] or "model"
        if len(data) > self.most:
            raise ModelError(
                f"{called} has {core.size_text(len(data))}, at most {core.size_text(self.most)} "
                "can be brought here; ask the operator to put it into the folder of checkpoints."
            )
        if not _is_safetensors(data):
            raise ModelError(
                f"{called} is no file of safetensors, and no other can be brought; save the "
                "weights with safetensors.torch.save_file(model.state_dict(), "
                '"model.safetensors").'
            )
        called = called if called.lower().endswith(SAFETENSORS) else called + SAFETENSORS
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="own-models-"))
            path = self._folder / hashlib.sha256(data).hexdigest()[:20] / called
            if path not in self._files:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
            self._files[path] = len(data)
            self._files.move_to_end(path)
            while sum(self._files.values()) > HELD * self.most:
                self._let_go(next(iter(self._files)))
        return path

    def _let_go(self, path: Path) -> None:
        del self._files[path]
        path.unlink(missing_ok=True)
        for model_id in [one.id for one in self._models.values() if one.place == path]:
            del self._models[model_id]

    def try_out(self, place: Path, given: Mapping[str, Any]) -> OwnModel:
        """Find out what a checkpoint is, show it one picture, and hold it to be opened.

        Parameters
        ----------
        given
            Keys of an entry; see `stated`.

        Raises
        ------
        ParallaxError
            Why it cannot be opened, and the next step.
        """
        if not place.exists():
            raise ModelError(f"{place.name} is not held here any more; bring or choose it again.")
        try:
            model_id = _id_of(place, given)
            title = place.name.removesuffix(SAFETENSORS)
            with core.admitted():  # building a network takes as much memory as a pass
                proposal = core.propose(place, **given, id=model_id, title=title)
        except ParallaxError:
            raise
        except Exception as error:  # whatever a hostile file leads to
            _log.warning("a model of somebody's own could not be tried", exc_info=True)
            raise ModelError(
                f"{place.name} could not be tried, and what happened is in the log; check that it "
                "holds the weights of one image model."
            ) from error
        found = OwnModel(model_id, place, dict(given), proposal, proposal.spec.state)
        with self._lock:
            self._models[model_id] = found
            self._models.move_to_end(model_id)
            while len(self._models) > MOST_MODELS:
                self._models.popitem(last=False)
        return found

    def get(self, model_id: str) -> OwnModel | None:
        """A model, if it is still held; its file then is one that was used last."""
        with self._lock:
            found = self._models.get(model_id)
            if found is not None:
                self._models.move_to_end(model_id)
                if found.place in self._files:
                    self._files.move_to_end(found.place)
            return found

    def holds(self, path: Path) -> bool:
        """Whether a file that was brought is still held."""
        with self._lock:
            return path in self._files

    def close(self) -> None:
        """Remove all files that were brought."""
        with self._lock:
            self._models.clear()
            self._files.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None


def _is_safetensors(data: bytes) -> bool:
    """Whether bytes begin as safetensors do: eight of length, then a table in braces."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _id_of(place: Path, given: Mapping[str, Any]) -> str:
    """What the address calls a model of these files with what is stated of it."""
    files = sorted(one for one in place.iterdir() if one.is_file()) if place.is_dir() else [place]
    summed = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            summed.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return OWN + summed.hexdigest()[:20]
