"""Entry point of Evidence for Streamlit."""

from dashboard import show
from pages.evidence.draw import draw
from pages.evidence.view import view

show.page(view, draw)
