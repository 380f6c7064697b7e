"""Pictures that excite a class or a channel as much as possible, for both models of the pair."""

import streamlit as st

from dashboard import cache, maximization_views, panels, state

scene = state.scene()
cnn, vit = cache.model(scene.cnn.id), cache.model(scene.vit.id)

panels.head(
    "Activation maximization",
    "A picture made from noise so that **one class or channel** answers as strongly as possible, "
    "for both models with the same budget and the same seed. It shows what excites that unit most, "
    "not what it needs in photographs, and it depends on the regularizers. A transformer's patch "
    "grid shows up as **seam energy**: 0 means that steps across patch borders are no larger than "
    "steps inside patches.",
    "Olah 2017 (Feature Visualization, Distill), Lucid; the seam penalty is this project's own",
)

settings_column, result_column = st.columns([2, 5], gap="large")
with settings_column:
    tasks, budget = maximization_views.settings(cnn, vit)
    started = st.button("Start", type="primary", icon=":material/play_arrow:", width="stretch")
with result_column:
    if started:
        maximization_views.run(tasks, budget)
    maximization_views.results()
