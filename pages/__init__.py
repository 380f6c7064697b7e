"""Registration of the pages, in the order of their links: one folder and one line per page."""

from dashboard.registry import Page, register

register(
    *(
        Page(name, title, f":material/{icon}:", f"{__name__}.{name}")
        for name, title, icon in (
            ("compare", "Compare", "compare"),
            ("attention", "Attention", "grid_view"),
            ("gradient_rollout", "Gradient rollout", "call_split"),
            ("activation_maximization", "Activation maximization", "auto_awesome"),
            ("evidence", "Evidence", "science"),
            ("representation", "Representation", "layers"),
            ("data_set", "Data set", "dataset"),
            ("review", "Review", "collections_bookmark"),
        )
    )
)
