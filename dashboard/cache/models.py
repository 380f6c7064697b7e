"""Models: opened once, refusals remembered, downloads on their way."""

from __future__ import annotations

import threading
import time

import streamlit as st

import core
from core import (
    Model,
    ModelSpec,
    WeightsError,
    find_spec,
)
from dashboard.cache.held import results
from dashboard.memo import Memo


@st.cache_resource(show_spinner=False)
def _embedded() -> Memo:
    """The embedded pair, which is no part of the budget and always held."""
    return Memo(2**62)


@st.cache_resource(ttl=180, show_spinner=False)
def _refusals() -> dict[str, str]:
    """Models that could not be had lately, so that not every rerun waits for the network."""
    return {}


def refusal(model_id: str) -> str:
    """Why a model could not be had lately; empty if nothing is known against it."""
    return _refusals().get(model_id, "")


def refuse(model_id: str, reason: str) -> None:
    """Remember for three minutes that a model cannot be had."""
    _refusals()[model_id] = reason


def opened_model(model_id: str) -> Model:
    """The one shared, frozen copy of a model, without a word; see `model`."""
    return memo_of(find_spec(model_id)).get(("model", model_id), lambda: core.open_model(model_id))


def memo_of(spec: ModelSpec) -> Memo:
    """What holds a model, once it is open."""
    return _embedded() if spec.source == "embedded" else results()


def model(model_id: str) -> Model:
    """One shared, frozen copy of a model; a spinner while it is loaded for the first time.

    The embedded pair is never dropped. A model that could not be had is tried again after three
    minutes.
    """
    if reason := refusal(model_id):
        raise WeightsError(reason)
    try:
        with st.spinner(f"Opening {model_id} …", show_time=True):
            return opened_model(model_id)
    except WeightsError as error:
        refuse(model_id, str(error))
        raise


_GONE = 20.0
"""Seconds after which a session that does not ask any more has lost its interest."""


class Wishes:
    """Who waits for which download, so that one who leaves does not take it from the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._downloads: dict[str, core.Download] = {}
        self._asked: dict[str, dict[str, float]] = {}

    def begin(self, model_id: str) -> None:
        """Begin or join a download."""
        with self._lock:
            self._downloads[model_id] = core.download(model_id)

    def ask(self, model_id: str, session: str) -> core.Download:
        """The download that was begun last; keeps the session's wish alive."""
        with self._lock:
            self._asked.setdefault(model_id, {})[session] = time.monotonic()
            return self._downloads[model_id]

    def leave(self, model_id: str, session: str) -> None:
        """Wait no longer; ends the download if nobody else waits."""
        with self._lock:
            asked = self._asked.pop(model_id, {})
            since = time.monotonic() - _GONE
            others = {who: at for who, at in asked.items() if who != session and at > since}
            if others:
                self._asked[model_id] = others
            else:
                self._downloads[model_id].cancel()


@st.cache_resource(show_spinner=False)
def wishes() -> Wishes:
    """The wishes of all sessions."""
    return Wishes()


@st.cache_data(ttl=60, show_spinner=False)
def ready() -> dict[str, bool]:
    """By model id, whether the weights are on this machine already."""
    return {spec.id: spec.available for spec in core.catalog()}
