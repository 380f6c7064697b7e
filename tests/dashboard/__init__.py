"""Tests of `dashboard`, without a browser."""
