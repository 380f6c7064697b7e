"""Entry point of Data set for Streamlit."""

from dashboard import show
from pages.data_set.draw import draw
from pages.data_set.view import view

show.page(view, draw)
