"""Thousands of pictures through several models: figures first, then the pictures behind them."""
