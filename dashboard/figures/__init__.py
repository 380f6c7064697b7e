"""Plotly figures of results, and conversions of pictures. Independent of Streamlit.

Positions are in pixels of the view, so that every map is aligned with the model's input.
"""

from dashboard.figures.base import (
    CLEAR,
    COLORS,
    GRAY,
    SEQUENTIAL,
    fading,
    numbers,
    overlay,
    picture,
    scale,
)
from dashboard.figures.charts import (
    attention_matrix,
    curves,
    matrix,
)
from dashboard.figures.linking import (
    Layers,
    Panel,
    layers,
    linked,
)
from dashboard.figures.mosaics import (
    mosaic,
    mosaic_height,
    openable,
)
from dashboard.figures.patches import (
    clickable,
    mark_patch,
)
from dashboard.figures.pictures import (
    cut_out,
    data_uri,
    from_colors,
    jpeg,
    png,
    transparent_uri,
)

__all__ = [
    "CLEAR",
    "COLORS",
    "GRAY",
    "Layers",
    "Panel",
    "SEQUENTIAL",
    "attention_matrix",
    "clickable",
    "curves",
    "cut_out",
    "data_uri",
    "fading",
    "from_colors",
    "jpeg",
    "layers",
    "linked",
    "mark_patch",
    "matrix",
    "mosaic",
    "mosaic_height",
    "numbers",
    "openable",
    "overlay",
    "picture",
    "png",
    "scale",
    "transparent_uri",
]
