"""Tabs with two models side by side."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core import VisionTransformer
from dashboard import controls, panels, session
from dashboard.text import plain
from pages.attention.channels import Channel, Channels
from pages.attention.draw_parts import mosaic, opacity, query_picker, small_print
from pages.attention.following import follow
from pages.attention.sides import Side, TwoSides
from pages.attention.similarity import Similarity


def _side_picker(shown: TwoSides) -> None:
    """Choose the two models, where there are more."""
    if len(shown.titles) > 2:
        st.multiselect(
            "Models",
            list(shown.titles),
            format_func=shown.titles.__getitem__,
            max_selections=2,
            filter_mode="contains",
            select_all=False,
            help="Two of the models, side by side.",
            **session.tied(
                "sides",
                [side.model.spec.id for side in shown.sides],
                lambda held: session.change(sides=tuple(held)),
            ),
        )


def _tap_picker(side: Side) -> None:
    """Choose the layer of a model; says why it has no features."""
    word = "Block" if isinstance(side.model, VisionTransformer) else "Layer"
    if side.model.taps:
        controls.tap_picker(side.feature, f"{word} of {plain(side.model.spec.title)}", side.tap)
    if side.refusal:
        st.info(plain(side.refusal), icon=":material/visibility_off:")


# -- channels -------------------------------------------------------------------------------------


def channels(shown: Channels) -> None:
    """Choices above the figure, the channels with the most contrast below it."""
    _side_picker(shown)
    left, *places = st.columns(1 + len(shown.sides), gap="medium")
    with left:
        st.caption(
            "Each map is one channel: how strongly one feature is present at every place. Red is "
            "positive, blue negative, and zero is the middle of the colors; channels that "
            "are never negative use the colors chosen under Display."
        )
        opacity()
    chosen = {channel.side: channel for channel in shown.channels}
    for place, side in zip(places, shown.sides, strict=True):
        with place:
            _tap_picker(side)
            if side in chosen:
                _channel_picker(chosen[side])
    if shown.figure is None:
        return
    panels.chart(shown.figure)
    places = st.columns(len(shown.channels) + 1, gap="medium")[1:]
    for place, channel in zip(places, shown.channels, strict=True):
        with place:
            small_print(channel.note)
            st.markdown("**Channels with the most contrast** · click one")
            mosaic(channel.maps, _choose_of(channel))


def _channel_picker(shown: Channel) -> None:
    feature, tap = shown.side.feature, shown.found.tap
    controls.channel_picker(feature, "Channel", tap, shown.strongest[0], shown.number)


def _choose_of(shown: Channel) -> Callable[[int], None]:
    """The callback for a click on one of the channels with the most contrast."""
    feature, tap = shown.side.feature, shown.found.tap.name
    return lambda index: controls.choose_feature(feature, tap, shown.strongest[index])


# -- similarity -----------------------------------------------------------------------------------


def similarity(shown: Similarity) -> None:
    """The query on the left; on the right similarity and components of two models."""
    _side_picker(shown)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        query_picker(shown.query)
        if shown.cosines is not None:
            follow(shown.followed)
        opacity()
    with right:
        places = st.columns(len(shown.sides), gap="medium")
        for place, side in zip(places, shown.sides, strict=True):
            with place:
                _tap_picker(side)
        if shown.cosines is not None:
            panels.chart(shown.cosines)
            st.caption(
                "Cosine between the features of the outlined place and those of every other: 1 is "
                "the same direction, 0 unrelated. On another grid the place is the one that "
                "contains the center of the chosen patch."
            )
        if shown.components is not None:
            panels.chart(shown.components)
            st.caption(
                "The first three principal components of the same features as red, green and "
                "blue: places of the same color have similar features. Each component runs from "
                "its 1st to its 99th percentile; colors of two models cannot be compared with each "
                "other."
            )
