"""Screens that were saved with a title and notes."""
