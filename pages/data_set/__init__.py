"""Sweeps of many pictures: numbers first, then the pictures behind them."""
