"""Pictures that excite a class or a channel as much as possible, for every model."""

import streamlit as st

from dashboard import cache, maximization_views, panels, session

shown = session.scene()
models = [cache.model(model_id) for model_id in shown.ids]

panels.head(
    "Activation maximization",
    "Pictures made from noise so that one class or channel answers as strongly as possible.",
    "All models get the same number of steps and the same seed. A picture shows what excites "
    "**one class or channel** most, not what it needs in photographs, and it depends on the "
    "regularizers. A transformer's patch grid shows up as **seam energy**: 0 means that steps "
    "across patch borders are no larger than steps inside patches.",
    "Olah 2017 (Feature Visualization, Distill), Lucid; the seam penalty is this project's own",
)
st.html(maximization_views.STYLE)
settings_column, result_column = st.columns([2, 5], gap="medium")
with settings_column, st.container(key="maximize-settings"):
    button = st.empty()
    tasks, refusals = maximization_views.settings(models, shown)
    maximization_views.start_or_stop(button, tasks)
with result_column:
    maximization_views.growing()
    maximization_views.results(refusals)
