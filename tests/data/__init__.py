"""Tests of the shipped files and of the recipes that made them."""
