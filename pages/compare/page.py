"""Entry point of Compare for Streamlit."""

from dashboard import show
from pages.compare.draw import draw
from pages.compare.view import view

show.page(view, draw)
