"""Attention of a vision transformer, and features of two models side by side."""

import streamlit as st

from dashboard import (
    attention_features,
    attention_several,
    attention_views,
    controls,
    panels,
    session,
)
from dashboard.text import plain

TABS = {
    "grid": ("Layers × heads", attention_views.all_layers),
    "layer": ("One layer", attention_views.one_layer),
    "joint": ("Joint maps", attention_views.joint_maps),
    "channels": ("Channels", attention_features.channels),
    "similarity": ("Patch similarity", attention_features.similarity),
    "several": ("Several pictures", attention_several.several),
}
OF_FEATURES = ("channels", "similarity")  # tabs that any model can be seen on

shown = session.scene()
offered = attention_views.transformers(shown)
wanted = session.screen().transformer
asked = offered.get(wanted or "", next(iter(offered.values()), None))
inside = plain(asked.spec.title) if asked else "a vision transformer"
panels.head(
    "Attention",
    "Each map shows how much the class token, or a patch you click, attends to every patch of "
    f"the picture, inside **{inside}**.",
    "**Layers × heads** and **One layer** show attention as it is, for one query: the class token "
    "or a patch you choose. It tells from where information is gathered in that layer, not why the "
    "model answers as it does.\n\n"
    "**Joint maps** multiply the layers, with equal weight for the residual connection, so that a "
    "map tells which patches of the picture reach the class token through all layers up to one.\n\n"
    "**Channels** shows single features of two models.\n\n"
    "**Patch similarity** shows which places a model represents like the one you choose.\n\n"
    "Attention to tokens that have no place in the picture (class token, registers) is in no map; "
    "how much that is stands beside the maps.",
    "Dosovitskiy 2020, Caron 2021 (DINO), Abnar & Zuidema 2020 (joint maps), Amir 2021 "
    "(similarity), Oquab 2023 (components as colors), Darcet 2023 (registers)",
)
with st.container(horizontal=True, horizontal_alignment="distribute", gap="small"):
    tab = controls.segments(
        "tab", "View", list(TABS), titles=lambda name: TABS[name][0], hidden_label=True
    )
    if len(offered) > 1 and tab not in OF_FEATURES:
        with st.container(width=240):
            st.selectbox(
                "Attention of",
                list(offered),
                format_func=lambda model_id: offered[model_id].spec.title,
                filter_mode="contains",
                **session.bound("transformer", attention_views.transformer(shown).spec.id),
            )
    with st.container(width=140):
        display = controls.display(
            "“Shared” gives all maps shown the same ends, so that equal colors mean equal values; "
            "“own” gives each map its own.",
            overlay=False,
        )
if asked is None and tab not in OF_FEATURES:
    st.info(attention_views.NONE_HAS_ATTENTION, icon=":material/visibility_off:")
else:
    TABS[tab][1](shown, display)
