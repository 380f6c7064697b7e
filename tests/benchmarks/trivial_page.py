"""A page that does next to nothing: one radio, one figure of three heat maps over a photograph."""

import base64
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "samples" / "coffee.jpg"

st.title("Trivial")
chosen = st.radio("Values", ["rising", "falling"], horizontal=True)
source = "data:image/jpeg;base64," + base64.b64encode(SAMPLE.read_bytes()).decode()
values = [[row * column for column in range(16)] for row in range(16)]
figure = go.Figure()
for number in range(3):
    axes = {"xaxis": f"x{number + 1}", "yaxis": f"y{number + 1}"}
    place = {"x": -0.5, "y": -0.5, "sizex": 16, "sizey": 16, "sizing": "stretch", "layer": "below"}
    refs = {"xref": axes["xaxis"], "yref": axes["yaxis"]}
    figure.add_layout_image(source=source, yanchor="bottom", **refs, **place)
    z = values if chosen == "rising" else values[::-1]
    figure.add_trace(go.Heatmap(z=z, opacity=0.6, zsmooth="best", showscale=False, **axes))
    ends = [number / 3, number / 3 + 0.32]
    figure.update_layout({f"xaxis{number + 1}": {"domain": ends, "anchor": refs["yref"]}})
    figure.update_layout({f"yaxis{number + 1}": {"anchor": refs["xref"]}})
figure.update_layout(title=chosen)
st.plotly_chart(figure, key="chart")
