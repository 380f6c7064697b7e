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
from dashboard.memo import Memo
from dashboard.waiting import spinner


def refusal(model_id: str) -> str:
    """Why a model was unavailable recently; empty if it was not."""
    return shared().refusals.get(model_id, _state(model_id))


def refuse(model_id: str, reason: str) -> None:
    """Remember that a model is unavailable, for three minutes or until its files change."""
    shared().refusals.put(model_id, reason, _state(model_id))


def _state(model_id: str) -> object:
    """State of the entry and files of a user's own model; ``None`` for all others."""
    spec = next((spec for spec in core.catalog() if spec.id == model_id), None)
    return (spec, spec.state) if spec is not None and spec.source == "local" else None


def failed(download: core.Download) -> None:
    """Remember for three minutes after it was first seen that a download has failed."""
    shared().refusals.failed(download)


def opened_model(model_id: str) -> Model:
    """The one shared, frozen copy of a model, without a spinner; see `model`."""
    return shared().model(model_id)


def memo_of(spec: ModelSpec) -> Memo:
    """The memo that holds a model."""
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
