"""Widgets and layout of Attention."""

from __future__ import annotations

import streamlit as st

from dashboard import controls, panels, session, show
from dashboard.text import plain
from pages.attention.channels import Channels
from pages.attention.draw_attention import every_map, joint_maps, one_layer
from pages.attention.draw_features import channels, similarity
from pages.attention.draw_several import several
from pages.attention.grid import EveryMap
from pages.attention.joint import JointMaps
from pages.attention.layer import OneLayer
from pages.attention.several import Several
from pages.attention.similarity import Similarity
from pages.attention.view import OF_FEATURES, AttentionView

TABS = {
    "grid": "Layers × heads",
    "layer": "One layer",
    "joint": "Joint maps",
    "channels": "Channels",
    "similarity": "Patch similarity",
    "several": "Several pictures",
}

NONE_HAS_ATTENTION = (
    "None of the models has attention that this page can show; add a vision transformer in the "
    "sidebar, or open Channels or Patch similarity."
)


def draw(view: AttentionView) -> None:
    """The head, the row of tabs, and the content of the open tab."""
    inside = plain(view.asked.spec.title) if view.asked else "a vision transformer"
    panels.head(
        "Attention",
        "Each map shows how much the class token, or a patch you click, attends to every patch of "
        f"the picture, inside **{inside}**.",
        "**Layers × heads** and **One layer** show attention as it is, for one query: the class "
        "token or a patch you choose. It shows where that layer gathers information from, "
        "not why the model answers as it does.\n\n"
        "**Joint maps** multiply the layers, with equal weight for the residual connection, so "
        "that a map shows which patches of the picture reach the class token through all layers "
        "up to one.\n\n"
        "**Channels** shows single features of two models.\n\n"
        "**Patch similarity** shows which places a model represents like the chosen one.\n\n"
        "Attention to tokens without a place in the picture (class token, registers) is not part "
        "of a map; its share is stated beside the maps.",
        "Dosovitskiy 2020, Caron 2021 (DINO), Abnar & Zuidema 2020 (joint maps), Amir 2021 "
        "(similarity), Oquab 2023 (components as colors), Darcet 2023 (registers)",
    )
    with st.container(horizontal=True, horizontal_alignment="distribute", gap="small"):
        tab = controls.segments(
            "tab", "View", list(TABS), titles=TABS.__getitem__, hidden_label=True
        )
        if len(view.transformers) > 1 and tab not in OF_FEATURES:
            _transformer_picker(view)
        with st.container(width=140):
            controls.display(
                "“Shared” gives all maps the same color range, so that equal colors mean equal "
                "values; “own” gives each map its own range.",
                overlay=False,
            )
    with show.tab():
        _tab(view)


def _transformer_picker(view: AttentionView) -> None:
    with st.container(width=240):
        st.selectbox(
            "Attention of",
            list(view.transformers),
            format_func=lambda model_id: view.transformers[model_id].spec.title,
            filter_mode="contains",
            **session.bound("transformer", view.asked.spec.id if view.asked else None),
        )


def _tab(view: AttentionView) -> None:
    match view.tab:
        case EveryMap():
            every_map(view.tab)
        case OneLayer():
            one_layer(view.tab)
        case JointMaps():
            joint_maps(view.tab)
        case Channels():
            channels(view.tab)
        case Similarity():
            similarity(view.tab)
        case Several():
            several(view.tab)
        case None:
            said = " ".join([NONE_HAS_ATTENTION, *view.limits])
            st.info(plain(said, 2000), icon=":material/visibility_off:")
