"""Entry point of Review for Streamlit."""

from pages.review.draw import draw

draw()
