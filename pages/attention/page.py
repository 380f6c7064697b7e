"""Entry point of Attention for Streamlit."""

from dashboard import show
from pages.attention.draw import draw
from pages.attention.view import view

show.page(view, draw)
