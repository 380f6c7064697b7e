"""Entry point of Activation maximization for Streamlit."""

from dashboard import session, show
from pages.activation_maximization.draw import draw
from pages.activation_maximization.run import Making
from pages.activation_maximization.view import view

show.page(lambda make: view(make, session.kept(Making).settled()), draw)
