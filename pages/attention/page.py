"""What Streamlit runs for Attention."""

from dashboard import show
from pages.attention.draw import draw
from pages.attention.view import view

show.page(view, draw)
