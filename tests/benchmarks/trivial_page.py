"""A page that does next to nothing: what any Streamlit application takes at least."""

import plotly.graph_objects as go
import streamlit as st

st.title("Trivial")
for number, column in enumerate(st.columns(3)):
    column.plotly_chart(go.Figure(go.Heatmap(z=[[1, 2], [3, 4]])), key=f"chart-{number}")
