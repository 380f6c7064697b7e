"""“Your own model”: a checkpoint is chosen or brought, tried with one picture, then shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

import core
from core import ParallaxError
from dashboard import cache, columns, own_models, session, settings
from dashboard.looks import MOST, Look
from dashboard.own_models import OwnModel
from dashboard.text import plain
from dashboard.waiting import spinner

FOLDER, UPLOAD = "Folder", "Upload"
ANSWERS = {"": "classes, one of which is right", "sigmoid": "labels, each for itself"}
MIB = 2**20


@dataclass
class Brought:
    """What a session opened or is about to open.

    Attributes
    ----------
    ids
        Models that were taken into the list, the newest first.
    file
        The file that was brought last.
    boxes
        How many boxes for uploads were emptied.
    asked
        What was tried last: the place and all that was stated.
    found
        What came of it: a model, or the sentence that says why there is none.
    """

    ids: list[str] = field(default_factory=list)
    file: Path | None = None
    boxes: int = 0
    asked: str = ""
    found: OwnModel | str = ""


def offers() -> dict[str, core.ModelSpec]:
    """The models that the session opened, and those of its address, as far as they are held."""
    if settings.locked():
        return {}
    here = session.kept(Brought)
    ids = dict.fromkeys([*here.ids, *filter(own_models.is_own, session.screen().shared.m)])
    held = {model_id: cache.own_model(model_id) for model_id in ids}
    return {model_id: own.spec for model_id, own in held.items() if own is not None}


def expander() -> None:
    """Choose a checkpoint of the operator's folder or bring one, try it, and use it."""
    folder = settings.checkpoints()
    ways = [*([FOLDER] if folder else []), *([UPLOAD] if settings.brings_models() else [])]
    if not ways:
        return
    with st.expander("Your own model", icon=":material/upload_file:"):
        way = ways[0]
        if len(ways) > 1:
            way = st.radio("From", ways, key="own-way", horizontal=True)
        place = _chosen(folder) if folder is not None and way == FOLDER else _brought()
        try:
            given = _given()
        except ParallaxError as error:
            st.warning(plain(str(error)), icon=":material/error:")
            return
        here = session.kept(Brought)
        asked = json.dumps([str(place), given])
        help = "Opens it and shows it one picture; nothing changes on the page."
        if st.button("Try it", key="own-try", disabled=place is None, help=help) and place:
            here.asked, here.found = asked, _tried(place, given)
        if here.asked == asked:
            _tell(here.found)


def _chosen(folder: Path) -> Path | None:
    offered = own_models.offered(folder)
    if not offered:
        st.caption("There are no checkpoints in the folder that the operator names.")
        return None
    name = st.selectbox(
        "Checkpoint",
        list(offered),
        key="own-checkpoint",
        filter_mode="contains",
        help="Files of the folder that the operator names.",
    )
    return offered.get(name)


def _brought() -> Path | None:
    here, held = session.kept(Brought), cache.own_models()
    limit = max(1, held.most // MIB)
    st.file_uploader(
        "Upload safetensors",
        type=[own_models.SAFETENSORS.removeprefix(".")],
        max_upload_size=limit,
        help=f"Weights as safetensors, at most {limit} MB. Others do not find the model in their "
        "list; a link to a screen with it opens it as long as this server holds it.",
        **session.tied(f"own-upload-{here.boxes}", None, _take, seed=False),
    )
    if here.file is None:
        return None
    if not held.holds(here.file):
        st.caption(f"{plain(here.file.name)} is not held here any more; upload it again.")
        return None
    st.caption(f"{plain(here.file.name)}, {core.size_text(here.file.stat().st_size)}")
    return here.file


def _take(given: Any) -> None:
    here = session.kept(Brought)
    for file in session.uploaded(given):
        try:
            here.file = cache.own_models().take(file.name, file.getvalue())
            here.asked = ""
        except ParallaxError as error:
            session.say(str(error))
        here.boxes += 1  # another key: the box is empty again
        session.let_go(file)


def _given() -> dict[str, Any]:
    """What the form states of the checkpoint."""
    labels = st.text_area(
        "Labels",
        key="own-labels",
        height=96,
        placeholder="one a line; empty: those of the file",
        help="Names of the classes in the order of the logits. Without them those that the file "
        "or a config.json beside it names, 1,000 classes as ImageNet's, else numbers.",
    )
    answer = st.selectbox(
        "It answers with",
        list(ANSWERS),
        key="own-answer",
        format_func=lambda one: ANSWERS[one],
        help="Logits are read by a softmax over all classes, or by a sigmoid of each label: "
        "choose “labels” for several labels at once, and for a model with one logit.",
    )
    left, right = st.columns(2, gap="small")
    mean = left.text_input(
        "Mean",
        key="own-mean",
        placeholder="default",
        help="What training subtracted from pixels of 0 to 1: one number, or one a channel. "
        "Without it what lies beside the weights, else the library's default for the name.",
    )
    std = right.text_input("Std", key="own-std", placeholder="default", help="What it divided by.")
    architecture = st.text_input(
        "Architecture",
        key="own-architecture",
        placeholder="found by the shapes",
        help="A name in timm, or torchvision/NAME, or transformers/NAME.",
    )
    return own_models.stated(labels, answer or "", mean, std, architecture)


def _tried(place: Path, given: Mapping[str, Any]) -> OwnModel | str:
    try:
        with spinner(f"Trying {plain(place.name)} …"):
            return cache.own_models().try_out(place, given)
    except ParallaxError as error:
        return str(error)


def _tell(found: OwnModel | str) -> None:
    if isinstance(found, str):
        st.warning(plain(found, 1000), icon=":material/error:")
        return
    proposal = found.proposal
    st.markdown(plain(f"{proposal.text}.", 1000))
    st.caption(plain(proposal.preprocessing.text, 1000))
    for remark in proposal.remarks:
        st.caption(plain(remark, 1000))
    if proposal.preprocessing.is_assumed:
        st.caption("State mean and std if training used others.")
    st.button(
        "Use it",
        key="own-use",
        type="primary",
        help="Puts it first into the list of models and shows it on the page.",
        on_click=session.guarded(partial(_use, found.id)),
    )


def _use(model_id: str) -> None:
    spec, here, now = cache.spec(model_id), session.kept(Brought), session.screen()
    here.ids = [model_id, *(one for one in here.ids if one != model_id)]
    if model_id in now.shared.m:
        return
    if _stands_alone(model_id, now.shared.m):
        session.say(
            f"The models shown before know none of the classes of {spec.title}, so it is shown "
            "alone; add others in the list of models."
        )
        nothing: dict[str, Any] = {
            "look": (),
            "feature": (),
            "classes": (),
            "rather_than": None,
            "opposite": False,
        }
        session.become(now.to(m=(model_id,), **nothing))
        return
    if max(len(now.shared.m), len(columns.columns(now))) < MOST:
        session.become(columns.added(now, Look(model_id)))
        return
    last = now.shared.m[-1]
    alike = cache.spec(last).family == spec.family
    session.become(columns.instead(now, last, model_id, alike))


def _stands_alone(model_id: str, shown: Sequence[str]) -> bool:
    """Whether no class can be asked of a model and of one that is shown."""
    own = cache.own_model(model_id)
    labels = set(own.proposal.labels) if own is not None else set()
    others = [cache.model(one) for one in shown]
    return bool(labels) and not any(labels & {*model.labels} for model in others)
