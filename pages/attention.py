"""Attention of a vision transformer: every layer and head, one layer, joint maps, projections."""

import streamlit as st

from dashboard import attention_views, cache, controls, panels, state

scene = state.scene()
vit = cache.model(scene.vit.id)

panels.head(
    "Attention",
    f"Where **{vit.spec.title}** looks, layer by layer and head by head, read from one pass. A "
    "map is one row of attention laid out over the picture: what the class token (or a patch you "
    "click) gathers in that layer. It is not an explanation of the answer: values, MLPs and later "
    "layers decide what becomes of what was gathered.",
    "Dosovitskiy 2020, Caron 2021 (DINO), Abnar & Zuidema 2020 (joint map), Darcet 2023",
)

views = {
    "Layers × heads": attention_views.all_layers,
    "One layer": attention_views.one_layer,
    "Joint maps": attention_views.joint_maps,
    "Query, key, value": attention_views.projections,
    "Several pictures": attention_views.several,
}
choice_column, display_column = st.columns([5, 1], vertical_alignment="bottom")
with choice_column:
    state.from_address("view", list(views))
    chosen = st.segmented_control(
        "View",
        list(views),
        default=None if "view" in st.session_state else "Layers × heads",
        key="view",
        required=True,
        label_visibility="collapsed",
        persist_state="session",
    )
    state.to_address("view", chosen or "", "Layers × heads")
with display_column:
    display = controls.display(
        "attention", "Equal colors mean equal attention in all maps shown.", overlay=False
    )

with st.spinner("Recording one pass …", show_time=True):
    seen = cache.attention(scene)
views.get(chosen, attention_views.all_layers)(scene, seen, display)
