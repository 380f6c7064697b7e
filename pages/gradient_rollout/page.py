"""What Streamlit runs for Gradient rollout."""

from dashboard import show
from pages.gradient_rollout.draw import draw
from pages.gradient_rollout.view import view

show.page(view, draw)
