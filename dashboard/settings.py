"""What the operator sets: environment variables, or top-level keys of Streamlit's secrets.

Streamlit itself puts such keys into the environment when the server starts. Every field here is a
variable ``PARALLAX_…`` and stands in the table of ``docs/hosting.md``.
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
"""That one pass makes good use of."""
MOST_PASSES = 4
"""At once by default: each may leave much behind."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use: microseconds of processor in so many microseconds."""


class Settings(BaseSettings):
    """All that can be set, with its limits; ``None`` leaves it to the program."""

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
    """What is set now.

    Raises
    ------
    ParameterError
        A variable holds what it cannot; one sentence that says what is expected.
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
    """Cores that this process may use, which in a container are fewer than the machine has."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        allowed, period = (int(word) for word in QUOTA.read_text("ascii").split())
    except (OSError, ValueError):  # no such file, or "max"
        return cores
    return max(1, min(cores, allowed // period))


@lru_cache(maxsize=1)
def _read(variables: tuple[tuple[str, str], ...]) -> Settings:
    """Settings as long as these variables stay as they are; every run asks several times."""
    return Settings()


def apply() -> None:
    """Tell `core` how much may run at once; may be called again; raises as `current`."""
    now = current()
    # One reader alone has all cores then, and more threads than cores only hinder each other.
    cores = usable_cores()
    passes = now.passes or min(MOST_PASSES, max(1, cores // CORES))
    core.configure(passes, now.patience, now.memory * 2**20, now.threads or max(1, cores // passes))


def locked() -> bool:
    """Whether the embedded pair alone is offered."""
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
    """The folder that pictures may be drawn from, if the operator offers one that exists."""
    folder = current().pictures
    return folder if folder is not None and folder.is_dir() else None


def data_folder() -> Path:
    """Where this machine keeps what is saved; by default the user's own data folder."""
    return current().data or platformdirs.user_data_path("parallax", appauthor=False)


def store_url() -> str:
    """SQLAlchemy's address of the saved screens; by default a file in the data folder."""
    return current().store or f"sqlite:///{data_folder() / 'reviews.sqlite'}"


def sweeps() -> Path | None:
    """The folder of the sweeps that the operator offers, if there is one that exists."""
    folder = current().sweeps
    return folder if folder is not None and folder.is_dir() else None
