"""The tab with several pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard import controls, panels, session, taking
from dashboard.cache import Summary
from dashboard.scene import Picture
from dashboard.several_pictures import offered_pictures
from dashboard.text import plain
from pages.attention.draw_parts import small_print
from pages.attention.options import Options
from pages.attention.several import FEW, MOST, Pictures, Several
from pages.attention.words import percent


def several(shown: Several) -> None:
    """Choices, the maps in one figure, the answers as a table."""
    if shown.cropped:
        st.caption("All pictures here need one shape, so they are cropped.")
    _choose(shown.pictures)
    if shown.maps is None:
        st.info("None of these pictures can be read.", icon=":material/collections:")
        return
    few = f"{min(FEW, shown.depth)} of {shown.depth}"
    with st.container(horizontal=True, gap="medium"):
        controls.segments(
            "several_map",
            "Map",
            ("attention", "joint"),
            titles={"attention": "Mean of the heads", "joint": "Joint map"}.__getitem__,
        )
        controls.segments(
            "several_layers",
            "Layers",
            ("few", "all"),
            titles={"few": few, "all": "All"}.__getitem__,
        )
    st.caption(shown.what)
    panels.chart(shown.maps.figure)
    st.caption(shown.maps.ends)
    small_print(shown.maps.outside)
    _answers(shown.pictures.shown, shown.maps.summaries)


# -- pictures -------------------------------------------------------------------------------------


def _choose(shown: Pictures) -> None:
    """Samples and uploads chosen by hand, or drawn from the operator's folder, if there is one."""
    if shown.source is not None:
        names = {"chosen": "Chosen", "drawn": "Drawn at random"}

        def switch(name: str | None) -> None:
            session.change(draw=0 if name == "drawn" else None)

        st.segmented_control(
            "Pictures",
            list(names),
            required=True,
            format_func=names.__getitem__,
            **session.tied("several-source", "drawn" if shown.source else "chosen", switch),
        )
    if shown.source:
        _draw_at_random(shown)
    else:
        _choose_by_hand([picture.id for picture in shown.shown])


def _draw_at_random(shown: Pictures) -> None:
    left, right, _ = st.columns([2, 1, 3])
    with left:
        controls.slider("drawn", "How many", 1, MOST, 1)
    with right:
        controls.number("draw", "Seed", 0, 2**31 - 1)
    for sentence in shown.unreadable:
        st.warning(plain(sentence), icon=":material/broken_image:")


def _choose_by_hand(chosen: list[str]) -> None:
    """Samples and uploaded pictures in one list; the choice stays in the address."""
    offered = offered_pictures(session.screen().of(Options).several, session.current().own)
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    left.multiselect(
        f"Pictures, up to {MOST}",
        list(offered),
        max_selections=MOST,
        format_func=lambda picture_id: offered[picture_id].name,
        filter_mode="contains",
        **session.bound("several", chosen, tuple),
    )
    with right, st.popover("Add your own", icon=":material/add_a_photo:", width="stretch"):
        _upload(chosen)


def _upload(chosen: list[str]) -> None:
    """Upload files; readable ones are added to the list, and the box is emptied."""

    def take(given: Any) -> None:
        added = taking.take_several(given)
        every = list(dict.fromkeys([*chosen, *added]))
        if len(every) > MOST:
            session.say(f"Up to {MOST} pictures are shown at a time; new ones replace the oldest.")
        session.change(several=tuple(every[-MOST:]))

    st.file_uploader(
        "Pictures to add",
        accept_multiple_files=True,
        type=["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"],
        max_upload_size=20,
        **session.tied(f"several-upload-{len(session.current().own)}", None, take, seed=False),
    )


# -- answers --------------------------------------------------------------------------------------


def _answers(pictures: Sequence[Picture], found: Sequence[Summary]) -> None:
    """The five most probable classes of each picture, as one table."""
    if not any(summary.answers for summary in found):
        st.caption("This model was trained without classes, so it gives no answers.")
        return
    import pandas as pd

    table = pd.DataFrame(
        [
            {"Picture": picture.name}
            | {
                f"{place + 1}.": f"{name} {percent(probability)}"
                for place, (name, probability) in enumerate(summary.answers)
            }
            for picture, summary in zip(pictures, found, strict=True)
        ]
    )
    st.markdown("**What the model answers** · most probable first")
    st.dataframe(
        table, hide_index=True, row_height=30, key="several-answers", alt="What the model answers"
    )
