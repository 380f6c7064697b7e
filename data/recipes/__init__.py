"""How the files of this folder were made; run one with ``python -m data.recipes.NAME``."""
