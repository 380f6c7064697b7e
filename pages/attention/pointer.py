"""Query and key of the hovered cell of an attention matrix, outlined in the picture."""

from __future__ import annotations

import streamlit as st
from PIL import Image

from dashboard import figures

QUERY, KEY = "#14b8a6", "#f59e0b"
"""Colors of the two outlines."""

_HTML = """
<figure><svg preserveAspectRatio="none"><image preserveAspectRatio="none"/>
<rect class="query"/><rect class="key"/></svg><figcaption></figcaption></figure>
"""
_CSS = f"""
figure {{ margin: 0; }}
svg {{ width: 100%; display: block; }}
rect {{ fill: none; stroke-width: 3; vector-effect: non-scaling-stroke; visibility: hidden; }}
.query {{ stroke: {QUERY}; }}
.key {{ stroke: {KEY}; }}
figcaption {{
  font: .875rem var(--st-font); color: var(--st-text-color); opacity: .8; padding-top: .5rem;
}}
"""
_JS = """
export default function ({ parentElement, data }) {
  const { source, width, height, rows, cols, prefix, chart, idle } = data;
  const svg = parentElement.querySelector("svg");
  const text = parentElement.querySelector("figcaption");
  const image = parentElement.querySelector("image");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  image.setAttribute("href", source);
  image.setAttribute("width", width);
  image.setAttribute("height", height);
  const outline = (name, token) => {
    const rect = parentElement.querySelector("." + name);
    const place = token - prefix;
    rect.style.visibility = place < 0 ? "hidden" : "visible";
    if (place < 0) return;
    rect.setAttribute("x", ((place % cols) * width) / cols);
    rect.setAttribute("y", (Math.floor(place / cols) * height) / rows);
    rect.setAttribute("width", width / cols);
    rect.setAttribute("height", height / rows);
  };
  const show = (event) => {
    const { pointNumber, x, y, z } = event.points[0];
    outline("query", pointNumber[0]);
    outline("key", pointNumber[1]);
    text.textContent = `${y} attends to ${x}: ${(100 * z).toFixed(2)} %`;
  };
  const clear = () => {
    outline("query", -1);
    outline("key", -1);
    text.textContent = idle;
  };
  let plot = null;
  const attach = () => {  // the chart comes later than this, and again when its data change
    const found = document.querySelector(`.st-key-${chart} .js-plotly-plot`);
    if (!found || found === plot || !found.on) return;
    plot = found;
    plot.on("plotly_hover", show);
    plot.on("plotly_unhover", clear);
  };
  clear();
  attach();
  const timer = setInterval(attach, 300);
  return () => {
    clearInterval(timer);
    if (plot && plot.removeListener) {
      plot.removeListener("plotly_hover", show);
      plot.removeListener("plotly_unhover", clear);
    }
  };
}
"""
_mount = st.components.v2.component("parallax_pointed_patches", html=_HTML, css=_CSS, js=_JS)


def pointed_patches(view: Image.Image, grid: tuple[int, int], prefix: int, chart: str) -> None:
    """The picture with the patches of the hovered cell of a chart outlined, without a rerun.

    Parameters
    ----------
    grid
        Rows and columns of patches.
    prefix
        Tokens before the patches, which have no place in the picture.
    chart
        Key of a chart whose columns are keys and whose rows are queries, counted in tokens.
    """
    _mount(
        key=f"{chart}-pointed",
        data={
            "source": figures.data_uri(view),
            "width": view.width,
            "height": view.height,
            "rows": grid[0],
            "cols": grid[1],
            "prefix": prefix,
            "chart": chart,
            "idle": "Point at a cell of the matrix: its query is outlined here in teal, its key in "
            "amber.",
        },
    )
