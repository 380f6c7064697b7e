"""Models chosen by a user whose download is not finished.

A page never waits for them: it keeps showing the previous models, and the sidebar shows the
progress. A model is shown as soon as it has arrived.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import streamlit as st

import core
from core import ModelSpec, UnknownModel
from dashboard import cache, columns, session, settings
from dashboard.looks import MOST, Look
from dashboard.screen import Screen
from dashboard.text import plain


@dataclass
class Pending:
    """What a session waits for.

    Attributes
    ----------
    shown
        Ids of the models shown last.
    wanted
        By id of a requested model, the one that it replaces; ``""`` if it is added.
    missed
        Models that could not be fetched and were not tried again, likewise.
    """

    shown: tuple[str, ...] = ()
    wanted: dict[str, str] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)


def settle() -> None:
    """Replace models not yet downloaded by available ones; called first in every run."""
    if settings.locked():
        return  # the pickers reject models that are not embedded
    specs = {spec.id: spec for spec in core.catalog()}
    found = session.screen()
    for model_id, replaced in _wanted().items():
        if replaced and replaced not in found.shared.m and model_id not in found.shared.m:
            forget(model_id)  # another was chosen in the meantime
    for place, model_id in enumerate(session.screen().shared.m):
        spec = specs.get(model_id)
        if spec is None or spec.source in ("embedded", "local") or spec.available:
            continue
        other = before(found, place, spec)
        found = put_back(found, spec, other)
        reason = cache.refusal(model_id)
        if reason:
            session.problem(_instead(reason, other))
            miss(model_id, other)
        else:
            cache.wishes().begin(model_id)
            _here().wanted[model_id] = other
            _here().missed.pop(model_id, None)
    if found != session.screen():
        session.become(found)


def showing(ids: tuple[str, ...]) -> None:
    """Remember which models a run shows; called once they are open."""
    _here().shown = ids


def before(now: Screen, place: int, spec: ModelSpec) -> str:
    """The model previously shown in this place, else a default one of the same family.

    Returns
    -------
    str
        Its id; empty if the model was to be added to others.
    """
    shown = _here().shown
    if len(shown) == len(now.shared.m) and shown[place] not in (*now.shared.m, spec.id):
        return shown[place]
    specs = {model_id: cache.spec(model_id) for model_id in core.default_models()}
    usual = [i for i, one in specs.items() if one.family == spec.family and i not in now.shared.m]
    if usual and not (shown and len(now.shared.m) > len(shown)):
        return usual[0]
    return "" if len(now.shared.m) > 1 else next(iter(specs))


def put_back(now: Screen, spec: ModelSpec, other: str) -> Screen:
    """The screen without a model that cannot be shown, with another in its place if there is
    one."""
    if not other:
        return columns.without(now, spec.id)
    return columns.instead(now, spec.id, other, cache.spec(other).family == spec.family)


def forget(model_id: str) -> None:
    """Cancel the request for a model."""
    wanted = _wanted()
    if model_id in wanted:
        cache.wishes().leave(model_id, session.current().id)
        _drop(model_id)


def miss(model_id: str, replaced: str) -> None:
    """Offer to try a model again that could not be opened."""
    _here().missed[model_id] = replaced


def show() -> None:
    """Show the progress of downloads, each with a button to cancel, and what can be retried."""
    if _wanted():
        _progress()
    shown = session.screen().shared.m
    for model_id, replaced in list(_here().missed.items()):
        try:
            title = cache.spec(model_id).title
        except UnknownModel:  # a model of one's own that is no longer held
            title = ""
        if not title or model_id in shown:
            del _here().missed[model_id]
            continue
        st.button(
            f"Retry {plain(title)}",
            key=f"retry-{model_id}",
            icon=":material/refresh:",
            help="It could not be fetched or opened. Models not marked “download” need no network.",
            width="stretch",
            on_click=session.guarded(partial(_retry, model_id, replaced)),
        )


def _retry(model_id: str, replaced: str) -> None:
    cache.retry(model_id)
    _here().missed.pop(model_id, None)
    _put_in(model_id, replaced)


@st.fragment(run_every=1)
def _progress() -> None:
    for number, (wanted, replaced) in enumerate(_wanted().items()):
        download = cache.wishes().ask(wanted, session.current().id)
        if download.state == "done":
            cache.look_again()
            _drop(wanted)
            _put_in(wanted, replaced)
            session.again()
        elif download.state in ("failed", "canceled"):
            _drop(wanted)
            if download.error:
                cache.failed(download)
                session.say(_instead(download.error, replaced))
                miss(wanted, replaced)
            session.again()
        title = plain(cache.spec(wanted).title)
        done, total = core.size_text(download.done), download.total
        text = f"{title}: {done} of {core.size_text(total)}" if total else f"{title}: requesting it"
        st.progress(min(1.0, download.done / total) if total else 0.0, text=text)
        st.button(
            "Cancel",
            key=f"cancel-{number}",
            help="The page keeps the models that it shows now.",
            on_click=forget,
            args=(wanted,),
        )


def _put_in(wanted: str, replaced: str) -> None:
    """Show a model that has arrived."""
    now, spec = session.screen(), cache.spec(wanted)
    if replaced in now.shared.m:
        alike = cache.spec(replaced).family == spec.family
        session.become(columns.instead(now, replaced, wanted, alike))
    elif wanted not in now.shared.m and len(now.shared.m) < MOST:
        session.become(columns.added(now, Look(wanted)))


def _here() -> Pending:
    return session.kept(Pending)


def _wanted() -> dict[str, str]:
    return dict(_here().wanted)


def _drop(model_id: str) -> None:
    _here().wanted.pop(model_id, None)


def _instead(reason: str, other: str) -> str:
    said = f" Shown instead: {cache.spec(other).title}." if other else ""
    return f"{reason}{said} “Retry” below the models tries it again."
