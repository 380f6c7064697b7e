"""The models shown: the list in the sidebar, and their opening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

import core
from core import Model, ModelError, ModelSpec, best_device
from dashboard import bringing, cache, columns, panels, pending_downloads, session, settings
from dashboard.looks import MOST, Look
from dashboard.own_models import is_own, not_held
from dashboard.text import plain


def offers() -> dict[str, ModelSpec]:
    """The models that can be chosen by id, one's own first."""
    locked, own = settings.locked(), core.own_models()
    others = [spec for spec in core.catalog() if spec not in own]
    specs = {spec.id: spec for spec in (*own, *others) if spec.source == "embedded" or not locked}
    return bringing.offers() | specs


def title(spec: ModelSpec) -> str:
    """Title of a model in lists, with what is needed before it can be shown."""
    missing = " · missing" if spec.source == "local" else " · download"
    return spec.title + ("" if is_own(spec.id) or cache.ready().get(spec.id) else missing)


def picker() -> list[ModelSpec]:
    """The list of up to four models, each of which can be changed or removed."""
    offered = offers()
    _only(offered)
    chosen = session.screen().shared.m
    st.caption("Models", help=MODELS_HELP)
    for place, model_id in enumerate(chosen):
        free = [one for one in offered if one == model_id or one not in chosen]
        with st.container(horizontal=True, gap="xsmall", key=f"model-{place}"):
            st.selectbox(
                f"Model {place + 1}",
                free,
                format_func=lambda one: title(offered[one]),
                filter_mode="contains",
                label_visibility="collapsed",
                **session.tied(f"m-{place}", model_id, partial(_replace, offered, model_id)),
            )
            if len(chosen) > 1:
                title_of = plain(offered[model_id].title)
                st.button(
                    f"Remove {title_of}",
                    icon=":material/close:",
                    key=f"icon-remove-model-{place}",
                    type="tertiary",
                    width="content",
                    help=f"Remove {title_of}",
                    on_click=session.guarded(partial(_remove, model_id)),
                )
    if len(chosen) < MOST:
        st.selectbox(
            "Add a model",
            [one for one in offered if one not in chosen],
            index=None,
            format_func=lambda one: title(offered[one]),
            filter_mode="contains",
            label_visibility="collapsed",
            placeholder="Add a model",
            **session.tied("add-model", None, partial(_add, offered)),
        )
    return [offered[model_id] for model_id in chosen]


MODELS_HELP = (
    "One to four models, all given the same pixels. Models marked “download” are fetched once, "
    "when you choose them; the page keeps what it shows until they have arrived."
)


def _only(offered: Mapping[str, ModelSpec]) -> None:
    """Replace unavailable models by others, and remove duplicates."""
    now = session.screen()
    if len(set(now.shared.m)) < len(now.shared.m):
        now = now.to(m=tuple(dict.fromkeys(now.shared.m)))
    usual = core.default_models()
    for place, model_id in enumerate(now.shared.m):
        if model_id in offered:
            continue
        order = [*usual[place : place + 1], *usual]
        other = next((one for one in order if one not in now.shared.m), "")
        now = (
            columns.instead(now, model_id, other, True) if other else columns.without(now, model_id)
        )
        shown = other or ", ".join(now.shared.m)
        session.problem(
            f"{not_held(model_id)}; shown instead: {shown}. Open it again under “Your own model”."
            if is_own(model_id)
            else f"m is {model_id!r}, which is not available here; shown instead: {shown}."
        )
    for text in now.shared.look:
        if Look.read(text).model not in now.shared.m:
            session.problem(f"look is {text!r}, whose model is not among those shown (m).")
    if now != session.screen():
        session.show_instead(now)


def _replace(offered: Mapping[str, ModelSpec], model_id: str, other: str) -> None:
    alike = offered[model_id].family == offered[other].family
    session.become(columns.instead(session.screen(), model_id, other, alike))


def _remove(model_id: str) -> None:
    session.become(columns.without(session.screen(), model_id))


def _add(offered: Mapping[str, ModelSpec], model_id: str | None) -> None:
    if model_id is not None:
        session.become(columns.added(session.screen(), Look(offered[model_id].id)))


def opened(specs: list[ModelSpec]) -> list[Model]:
    """The opened models; on failure, return to the previous ones with a sentence."""
    found = []
    for place, spec in enumerate(specs):
        try:
            found.append(cache.model(spec.id))
        except ModelError as error:
            now = session.screen()
            other = pending_downloads.before(now, place, spec)
            if other == spec.id:
                raise
            shown = f" Shown instead: {cache.spec(other).title}." if other else ""
            pending_downloads.miss(spec.id, other)
            session.say(f"{error}{shown} “Retry” below the models tries it again.")
            session.become(pending_downloads.put_back(now, spec, other))
            session.again()
    pending_downloads.showing(tuple(spec.id for spec in specs))
    return found


def about(models: Sequence[Model]) -> None:
    """What the models were trained on, and how pictures are prepared for them."""
    device = best_device().type.upper()
    trained = plain(panels.matched([model.spec for model in models]), 1000)
    prepared = "\n\n".join(
        f"**{plain(model.spec.title)}.** {plain(model.preprocessing.text, 1000)}"
        for model in models
    )
    fitted = (
        "The page's Fit replaces each model's own resizing and crop, so that all see the same "
        "pixels; probabilities may differ a little from those of the model's own crop."
    )
    st.caption(f"{trained} Models run on {device}.", help=f"{prepared}\n\n{fitted}")
    assumed = [model.spec.title for model in models if model.preprocessing.is_assumed]
    if assumed:
        st.caption(
            f"How pictures are prepared for {plain(' and '.join(assumed))} is only the library's "
            "default for the architecture; state mean and std (in models.toml or under “Your own "
            "model”) if training used others."
        )
