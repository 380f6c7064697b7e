"""Explanation methods, one file each; `core.methods.registry` finds them."""
