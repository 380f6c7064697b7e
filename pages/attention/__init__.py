"""Attention: inside a vision transformer, and features of two models side by side."""
