"""Entry point of Gradient rollout for Streamlit."""

from dashboard import show
from pages.gradient_rollout.draw import draw
from pages.gradient_rollout.view import view

show.page(view, draw)
