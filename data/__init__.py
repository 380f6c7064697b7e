"""Weights, labels and photographs of the application, and the recipes that made them."""
