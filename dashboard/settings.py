"""The operator's settings: environment variables, or top-level keys of Streamlit's secrets.

Streamlit itself puts such keys into the environment when the server starts. Every field here is a
variable ``PARALLAX_…`` and is listed in ``docs/hosting.md``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

import core

PREFIX = "PARALLAX_"
FILES = 0.25
"""Share of the budget for uploaded files, which cannot be made again."""
CORES = 4
"""Cores that one pass uses well."""
MOST_PASSES = 4
"""Most passes by default, as each may store much."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU limit of a container: microseconds of processor time per period."""


class Settings(BaseSettings):
    """All settings with their limits; ``None`` means automatic choice."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    models: Path | None = Field(None, description="TOML file of your own models")
    checkpoints: Path | None = Field(
        None, description="folder whose checkpoints visitors may open as models of their own"
    )
    own_models: bool = Field(
        False, description="visitors may bring models of their own, as files of safetensors"
    )
    own_size: int = Field(200, ge=1, le=8192, description="MB of a model that a visitor brings")
    pictures: Path | None = Field(
        None,
        description="folder offered for random draws: pictures, a folder a category, or the root "
        "of torchvision's Caltech101",
    )
    locked: bool = Field(
        False,
        description="offer the embedded pair only: no downloads, no models of your own",
    )
    passes: int | None = Field(
        None, ge=1, le=64, description="network passes at the same time; with few cores one is best"
    )
    patience: int = Field(
        120, ge=1, le=3600, description="seconds that a request waits for a free pass"
    )
    ask_from: int = Field(
        5, ge=0, le=86400, description="estimated seconds from which a map waits for a click"
    )
    memory: int = Field(2048, ge=64, description="MB that one pass may store")
    budget: int = Field(
        320,
        ge=64,
        description="MB of memory beside the embedded pair: recordings, maps, pictures, other "
        "models, and uploaded files in a quarter of it",
    )
    threads: int | None = Field(None, ge=1, le=256, description="threads of PyTorch in a pass")
    store: str | None = Field(None, description="where saved screens are kept: a SQLAlchemy URL")
    data: Path | None = Field(None, description="folder for saved screens on this machine")
    sweeps: Path | None = Field(None, description="folder of finished sweeps")


def current() -> Settings:
    """The current settings.

    Raises
    ------
    ParameterError
        A variable is invalid; the message states the expected value.
    """
    try:
        named = (item for item in os.environ.items() if item[0].upper().startswith(PREFIX))
        return _read(tuple(sorted(named)))
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        expected = first["msg"].removeprefix("Input should be ").partition(",")[0]
        raise core.ParameterError(
            f"The setting {name} is {str(first['input'])[:60]!r}, expected {expected}; correct it "
            "and start the application again."
        ) from error


def usable_cores() -> int:
    """Number of cores available to this process, which a container may limit."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        allowed, period = (int(word) for word in QUOTA.read_text("ascii").split())
    except (OSError, ValueError):  # no such file, or "max"
        return cores
    return max(1, min(cores, allowed // period))


@lru_cache(maxsize=1)
def _read(variables: tuple[tuple[str, str], ...]) -> Settings:
    """The settings, cached while these variables do not change, as every run reads them often."""
    return Settings()


def apply() -> None:
    """Configure the limits of `core`; may be called again; raises as `current`."""
    now = current()
    # A single request then uses all cores; more threads than cores slow each other down.
    cores = usable_cores()
    passes = now.passes or min(MOST_PASSES, max(1, cores // CORES))
    core.configure(passes, now.patience, now.memory * 2**20, now.threads or max(1, cores // passes))


def locked() -> bool:
    """Whether only the embedded pair is offered."""
    return current().locked


def checkpoints() -> Path | None:
    """The folder whose checkpoints visitors may open, if the operator offers one that exists."""
    folder = None if locked() else current().checkpoints
    return folder if folder is not None and folder.is_dir() else None


def brings_models() -> bool:
    """Whether visitors may bring models of their own."""
    return current().own_models and not locked()


def most_of_model() -> int:
    """Bytes of a model that a visitor brings; none is larger than what is held of all models."""
    now = current()
    return min(now.own_size, int((1 - FILES) * now.budget)) * 2**20


def pictures() -> Path | None:
    """The folder for random draws of pictures, if the operator has set an existing one."""
    folder = current().pictures
    return folder if folder is not None and folder.is_dir() else None


def data_folder() -> Path:
    """The folder for saved data on this machine; by default the user's data folder."""
    return current().data or platformdirs.user_data_path("parallax", appauthor=False)


def store_url() -> str:
    """The SQLAlchemy URL of the saved screens; by default a file in the data folder."""
    return current().store or f"sqlite:///{data_folder() / 'reviews.sqlite'}"


def sweeps() -> Path | None:
    """The folder of the operator's sweeps, if it is set and exists."""
    folder = current().sweeps
    return folder if folder is not None and folder.is_dir() else None
