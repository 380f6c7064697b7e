"""What the tabs of the Evidence page share: what is asked, and the button that starts it."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core import FILLS, Model
from dashboard import controls, session
from dashboard.choices import Choice, index_of
from dashboard.scene import Scene
from dashboard.text import plain


@dataclass(frozen=True, eq=False)
class Asked:
    """What the page asks about: the chosen looks, the class, what replaces what is removed."""

    scene: Scene
    choices: tuple[Choice, ...]
    target: str
    fill: str

    @property
    def models(self) -> list[Model]:
        """Those that know the class, in the order of their first looks."""
        return [model for model in self.asked if self.target in model.labels]

    @property
    def asked(self) -> list[Model]:
        """All models that have a look, each once."""
        return list(dict.fromkeys(choice.model for choice in self.choices))

    def number(self, model: Model) -> int:
        """The place of a model in the list of models, which keys its widgets."""
        return self.scene.ids.index(model.spec.id)

    def index(self, model: Model) -> int:
        """Of the class in a model's labels."""
        return index_of(model, self.target)


def fill_picker() -> str:
    """Choose what replaces what is removed."""
    return str(
        controls.select(
            "fill",
            "Replaced by",
            list(FILLS),
            format_func={
                "blur": "blurred picture",
                "mean": "mean color",
                "black": "black",
                "noise": "noise",
            }.__getitem__,
            help="The same for all models: "
            + "; ".join(f"**{name}**: {text}" for name, text in FILLS.items()),
        )
    )


def unknown(asked: Asked) -> None:
    """Say which of the models cannot be asked for the class."""
    for model in asked.asked:
        if model not in asked.models:
            st.info(
                plain(f"{model.spec.title} knows no class {asked.target!r}: not asked."),
                icon=":material/block:",
            )


def measure_button() -> None:
    """Start what takes many passes, or close it."""
    measured = session.screen().measured
    st.button(
        "Close" if measured else "Measure",
        key="measure",
        type="secondary" if measured else "primary",
        icon=":material/close:" if measured else ":material/play_arrow:",
        width="stretch",
        help="Ends what is still computed; what is finished stays known." if measured else None,
        on_click=lambda: session.change(measured=not measured),
    )
