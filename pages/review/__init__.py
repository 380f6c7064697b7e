"""Saved screens with titles and notes."""
