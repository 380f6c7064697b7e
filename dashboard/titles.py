"""The pages in the order of their links: name in the address, title, icon."""

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
