"""Drawing of pictures: the gallery, and one picture in detail."""

from __future__ import annotations

import streamlit as st

from dashboard import session
from dashboard.registry import pages
from dashboard.text import plain
from pages.data_set.pictures import Card, Gallery, Picked

COLUMNS = 4


def gallery(made: Gallery) -> None:
    """Pictures in the chosen order, with both answers and small maps."""
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        st.selectbox(
            "Pictures",
            list(made.orders),
            format_func=made.orders.__getitem__,
            filter_mode="contains",
            **session.tied("order", made.order, lambda held: session.change(order=held, leaf=1)),
        )
    with right:
        # A key for each page: the widget reads its value only when created.
        number = made.page_number
        key = f"leaf-{number}"
        tie = session.tied(key, number, lambda held: session.change(leaf=held), seed=False)
        st.pagination(made.pages, default=number, **tie)
    if not made.cards:
        st.info("No picture passes the filters.", icon=":material/filter_alt_off:")
        return
    with st.container(key="data-set-gallery"):
        for start in range(0, len(made.cards), COLUMNS):
            part = made.cards[start : start + COLUMNS]
            for column, card in zip(st.columns(COLUMNS), part, strict=False):
                with column:
                    _card(card)


def _card(card: Card) -> None:
    st.html(card.images + card.lines)
    st.button(
        "Look closer",
        key=f"pick-{card.index}",
        icon=":material/zoom_in:",
        width="stretch",
        on_click=lambda: session.change(picked=card.index),
    )


def picked(made: Picked) -> None:
    """One picture with all answers and numbers, and links that open it."""
    with st.container(border=True, key="picked"):
        top, close = st.columns([6, 1], vertical_alignment="center")
        top.markdown(made.title)
        close.button(
            "Close",
            icon=":material/close:",
            key="close-picked",
            width="stretch",
            on_click=lambda: session.change(picked=None),
        )
        left, *tables = st.columns([3, *(2 for _ in made.answers)], gap="medium")
        with left:
            st.html(made.images)
            st.markdown(made.facts)
        for column, (title, top_five) in zip(tables, made.answers, strict=True):
            with column:
                st.markdown(title)
                if top_five:
                    st.markdown(top_five)
                else:
                    st.caption("Trained without classes: no predictions.")
        _links(made)


def _links(made: Picked) -> None:
    """Open the original on the other pages, with the models, the fit and the class of the sweep."""
    if made.refusal:
        st.warning(plain(made.refusal), icon=":material/link_off:")
        return
    with st.container(horizontal=True, gap="small", key="open-picked"):
        st.markdown("Open in")
        for name, page in pages().items():
            if name != "data_set":
                st.page_link(
                    page.file,
                    label=page.title,
                    icon=page.icon,
                    query_params=made.address,
                )
