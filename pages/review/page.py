"""What Streamlit runs for Review."""

from pages.review.draw import draw

draw()
