"""The pages in the order of their links: name in the address, title, icon, file."""

from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "pages"
"""Folder of all pages."""

TITLES = {
    "compare": "Compare",
    "attention": "Attention",
    "gradient_rollout": "Gradient rollout",
    "activation_maximization": "Activation maximization",
    "evidence": "Evidence",
    "data_set": "Data set",
    "review": "Review",
}

ICONS = {
    "compare": ":material/compare:",
    "attention": ":material/grid_view:",
    "gradient_rollout": ":material/call_split:",
    "activation_maximization": ":material/auto_awesome:",
    "evidence": ":material/science:",
    "data_set": ":material/dataset:",
    "review": ":material/collections_bookmark:",
}
"""Of the links, not of the pages: the client asks another host for an icon of the tab."""


def page_file(name: str) -> Path:
    """What Streamlit runs for a page; ``name`` as in the address."""
    folder = PAGES / name
    return folder / "page.py" if folder.is_dir() else folder.with_suffix(".py")
