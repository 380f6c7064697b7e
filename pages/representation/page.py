"""Entry point of Representation for Streamlit."""

from dashboard import show
from pages.representation.draw import draw
from pages.representation.view import view

show.page(view, draw)
