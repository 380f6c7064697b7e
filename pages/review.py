"""Saved screens: look for them, see one or two, write notes, take them elsewhere."""

import streamlit as st

from dashboard import review, review_detail, session

review.head()
chosen = session.screen()
shown = review_detail.found(chosen.first, chosen.second)
if shown:
    review_detail.bar(shown)
    for place, saved in zip(st.columns(len(shown), gap="large"), shown, strict=True):
        with place:
            review_detail.detail(saved, alone=len(shown) == 1)
else:
    review.gallery(review.filters())
