"""Thousands of pictures through several models: figures first, then the pictures behind them."""

import streamlit as st

from dashboard import data_set_parts, data_set_views, panels, session

shown = session.scene()
panels.head(
    "Data set",
    "How often do the models agree, and on which pictures do they not?",
    "A **sweep** has sent many pictures through its models and kept answers and maps. Figures, "
    "points, classes and pictures below are those that the **filters** leave. Draw a box in the "
    "scatter, or select a class, to filter; type a filter such as divergence>0.5 for anything "
    "else.\n\n"
    "Of more than two models two are compared at a time.\n\n"
    "**Divergence of the answers** is the Jensen–Shannon divergence over the classes that both "
    "models know: 0 bits for the same answer, 1 for answers that share nothing. **Rank "
    "correlation** and **overlap** compare the first map of each model, at the finer of their two "
    "grids. An **artifact patch** receives attention far beyond all others.\n\n"
    "**Look closer** shows a picture with all its answers, and opens it on the other pages.",
    "Lin 1991 (divergence), Darcet 2023 (artifact patches)",
)
st.html(data_set_parts.STYLE)
chooser, maker = st.columns([5, 2], vertical_alignment="bottom")
with maker:
    data_set_views.maker(shown)
with chooser:
    folder, run = data_set_views.chosen()
if run is not None:
    data_set_views.progress(run)
if folder is not None and (rows := data_set_views.rows_of(folder, run)) is not None:
    filters = data_set_views.filters(rows)
    data_set_views.show_figures(rows, filters)
    with st.container(key="data-set-charts"):
        left, right = st.columns([3, 2], gap="medium")
    with left:
        data_set_views.scatter(rows, filters)
    with right:
        data_set_views.classes(rows, filters)
    data_set_parts.picked(rows)
    data_set_parts.gallery(rows, filters)
    data_set_views.downloads(rows, filters)
    data_set_views.not_shown(rows, filters)
