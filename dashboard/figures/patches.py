"""Views whose patches can be clicked."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from dashboard.figures.base import centers


def clickable(figure: go.Figure, view: Image.Image, grid: tuple[int, int]) -> go.Figure:
    """Put an invisible point on every patch, so that a click identifies the patch.

    Clicks on a heat map itself are not reported to Streamlit; those on points are.
    """
    rows, cols = grid
    xs, ys = np.meshgrid(centers(view.width, cols), centers(view.height, rows))
    figure.add_trace(
        go.Scatter(
            x=xs.ravel().tolist(),
            y=ys.ravel().tolist(),
            mode="markers",
            marker={"size": max(6, int(240 / max(grid))), "symbol": "square"},
            opacity=0,
            customdata=[[row, col] for row in range(rows) for col in range(cols)],
            hovertemplate="row %{customdata[0]}, column %{customdata[1]}<extra></extra>",
            showlegend=False,
            selected={"marker": {"opacity": 0}},
            unselected={"marker": {"opacity": 0}},
        )
    )
    figure.update_layout(clickmode="event+select")
    return figure


def mark_patch(
    figure: go.Figure,
    view: Image.Image,
    grid: tuple[int, int],
    patch: tuple[int, int],
    panel: int = 0,
) -> go.Figure:
    """Outline one patch, in one panel where there are several."""
    height, width = view.height / grid[0], view.width / grid[1]
    row, col = patch
    figure.add_shape(
        type="rect",
        xref=f"x{panel + 1}" if panel else "x",
        yref=f"y{panel + 1}" if panel else "y",
        x0=col * width,
        x1=(col + 1) * width,
        y0=row * height,
        y1=(row + 1) * height,
        line={"color": "#2dd4bf", "width": 3},
    )
    return figure
