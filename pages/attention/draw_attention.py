"""Tabs that show attention itself."""

from __future__ import annotations

import streamlit as st

from dashboard import controls, panels, session
from pages.attention.draw_parts import layer_slider, mosaic, opacity, query_picker, small_print
from pages.attention.following import follow
from pages.attention.grid import EveryMap
from pages.attention.joint import FUSIONS, MOST_DISCARDED, JointMaps
from pages.attention.layer import Matrix, OneLayer, OneQuery
from pages.attention.pointer import pointed_patches


def every_map(shown: EveryMap) -> None:
    """All layers and heads for one query; a click enlarges one."""
    left, right = st.columns([1, 3], gap="medium")
    with left:
        query_picker(shown.query)
        _prefix_table(shown)
    with right:
        st.caption(
            f"How much {shown.reader} attends to every patch, in each layer (from top to bottom) "
            "and head (from left to right). Click a map to enlarge it."
        )
        mosaic(shown.maps, lambda number: _open_map(number, shown.heads))


def _open_map(number: int, heads: int) -> None:
    layer, head = divmod(number, heads + 1)
    session.change(tab="layer", layer=layer, head=None if head == heads else head)


def _prefix_table(shown: EveryMap) -> None:
    """Share of attention to tokens without a place, per layer and head."""
    if shown.prefix is None:
        st.caption("This model has patches only, so the maps show all of its attention.")
        return
    st.markdown(f"**Attention to the {shown.prefix.names}** · {shown.prefix.share} on average")
    panels.chart(shown.prefix.figure)
    st.caption(
        f"Columns are heads. The lightest color is 0 %, the darkest 100 %. This share of what "
        f"{shown.reader} attends to has no place in the picture, so the maps do not show it."
    )


# -- one layer ------------------------------------------------------------------------------------


def one_layer(shown: OneLayer) -> None:
    """Choices on the left; on the right maps of one query, or the matrix."""
    left, right = st.columns([1, 3], gap="medium")
    with left:
        layer_slider(shown.layers)
        _head_picker(shown)
        controls.toggle(
            "matrix",
            "Matrix",
            help="How much every token attends to every other token, instead of one query's map.",
        )
        query_picker(shown.query)
        if isinstance(shown.shown, Matrix):
            pointed_patches(shown.view, shown.query.grid, shown.prefix, "attention-matrix")
        else:
            follow(shown.shown.followed)
            controls.slider(
                "mass",
                "Attention in the mask",
                0.05,
                1.0,
                0.05,
                help="The mask is the smallest set of patches that holds this share of the "
                "attention to patches.",
            )
            opacity()
    with right:
        if isinstance(shown.shown, Matrix):
            _matrix(shown.shown)
        else:
            _one_query(shown.shown, shown.heads)


def _head_picker(shown: OneLayer) -> None:
    mean = -1  # a select box treats None as "nothing chosen"
    st.selectbox(
        "Head",
        [mean, *range(shown.heads)],
        format_func=lambda head: "mean of the heads" if head == mean else f"head {head}",
        filter_mode="contains",
        **session.bound(
            "head",
            mean if shown.head is None else shown.head,
            lambda held: None if held == mean else held,
        ),
    )


def _one_query(shown: OneQuery, heads: int) -> None:
    def open_head(index: int) -> None:
        session.change(head=None if index == heads else index)

    panels.chart(shown.large)
    small_print(shown.outside)
    st.markdown("**All heads of this layer** · click one to enlarge it")
    mosaic(shown.maps, open_head)
    st.markdown(
        f"**Masks** · the smallest set of patches with {shown.mass} of each head's attention"
    )
    mosaic(shown.masks, open_head)


def _matrix(shown: Matrix) -> None:
    st.markdown(f"**{shown.title.capitalize()}** · {shown.tokens} × {shown.tokens} tokens")
    if shown.figure is None:
        st.info(shown.note, icon=":material/grid_off:")
        return
    panels.chart(shown.figure)
    st.caption(shown.note)


# -- joint maps -----------------------------------------------------------------------------------


def joint_maps(shown: JointMaps) -> None:
    """Choices on the left; on the right one map large, and those after every layer."""
    left, right = st.columns([1, 3], gap="medium")
    with left:
        layer_slider(shown.layers)
        controls.select(
            "fusion",
            "Head fusion",
            FUSIONS,
            shown.fusion,
            help="How the heads of a layer become one map before the layers are multiplied.",
        )
        controls.slider(
            "discard",
            "Discard",
            0.0,
            MOST_DISCARDED,
            0.01,
            help="Share of each layer's attention values, the smallest ones, that is set to zero.",
        )
        opacity()
        st.caption(
            f"Joint maps are read at {shown.reader}, the input of the classifier; a chosen patch "
            "has no effect here."
        )
    with right:
        panels.chart(shown.large)
        small_print(shown.outside)
        st.markdown("**After every layer** · click one to enlarge it")
        mosaic(shown.maps, lambda index: session.change(layer=index))
