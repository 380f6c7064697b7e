"""What Streamlit runs for Compare."""

from dashboard import show
from pages.compare.draw import draw
from pages.compare.view import view

show.page(view, draw)
