"""Models: opened once, failures remembered, downloads shared."""

from __future__ import annotations

import core
from core import (
    Model,
    ModelSpec,
    WeightsError,
)
from dashboard.availability import Wishes
from dashboard.cache.held import shared
from dashboard.own_models import OwnModel, OwnModels
from dashboard.shared_cache import SharedCache
from dashboard.waiting import spinner


def refusal(model_id: str) -> str:
    """Why a model was unavailable recently; empty if it was not."""
    return shared().refusals.get(model_id, _state(model_id))


def refuse(model_id: str, reason: str) -> None:
    """Remember that a model is unavailable, for three minutes or until its files change."""
    shared().refusals.put(model_id, reason, _state(model_id))


def retry(model_id: str) -> None:
    """Let an unavailable model be tried again at once."""
    shared().refusals.drop(model_id)


def _state(model_id: str) -> object:
    """Changes with the entry and the files of a model of one's own; ``None`` for all others."""
    own = shared().own_model(model_id)
    found = own.spec if own else None
    spec = found or next((spec for spec in core.catalog() if spec.id == model_id), None)
    return (spec, spec.state) if spec is not None and spec.source == "local" else None


def failed(download: core.Download) -> None:
    """Remember for three minutes after it was first seen that a download has failed."""
    shared().refusals.failed(download)


def opened_model(model_id: str) -> Model:
    """The one shared, frozen copy of a model, without a spinner; see `model`."""
    return shared().model(model_id)


def spec(model_id: str) -> ModelSpec:
    """The entry of a model of the catalog, or of one that was opened from a page.

    Raises
    ------
    UnknownModel
        No such id, or one that is not held here.
    """
    return shared().spec(model_id)


def own_models() -> OwnModels:
    """The models that were opened from a page."""
    return shared().own_models


def own_model(model_id: str) -> OwnModel | None:
    """A model that was opened from a page, if it is held."""
    return shared().own_model(model_id)


def holder_of(spec: ModelSpec) -> SharedCache:
    """What holds a model, once it is open."""
    return shared().holder(spec)


def model(model_id: str) -> Model:
    """One shared, frozen copy of a model; a spinner while it is loaded for the first time.

    The embedded pair is never dropped. An unavailable model is tried again after three
    minutes.
    """
    if reason := refusal(model_id):
        raise WeightsError(reason)
    try:
        with spinner(f"Opening {model_id} …"):
            return opened_model(model_id)
    except WeightsError as error:
        refuse(model_id, str(error))
        raise


def wishes() -> Wishes:
    """The download requests of all sessions."""
    return shared().wishes


def ready() -> dict[str, bool]:
    """By model id, whether the weights are on this machine already."""
    return shared().ready.get()


def look_again() -> None:
    """Check again which weights are on this machine, as a download has finished."""
    shared().ready.look_again()
