"""The looks and classes of Evidence, common to all questions. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import Model, Prediction, Target
from dashboard.choices import Choice, named, target_of, unknown_of
from dashboard.scene import Scene


@dataclass(frozen=True, eq=False)
class Asked:
    """The chosen looks, the class, and the fill of removed parts.

    Attributes
    ----------
    classes
        As in `dashboard.choices.target_of`.
    answers
        Answers of the models with classes for the unchanged picture.
    fill
        A name of `core.FILLS`.
    """

    scene: Scene
    choices: tuple[Choice, ...]
    classes: tuple[str, ...]
    answers: Mapping[Model, Prediction]
    fill: str

    @property
    def label(self) -> str:
        """The target, as text."""
        return named(self.classes)

    @property
    def is_class(self) -> bool:
        """Whether one class is asked for, and not one rather than another or its opposite."""
        return len(self.classes) == 1

    @property
    def asked(self) -> list[Model]:
        """All models with a look, each once, in the order of their first looks."""
        return models_of(self.choices)

    @property
    def models(self) -> list[Model]:
        """The models that have the classes of the target."""
        return [model for model in self.asked if not self._unknown(model)]

    def _unknown(self, model: Model) -> list[str]:
        return unknown_of(model, self.classes)

    def refusals(self) -> tuple[str, ...]:
        """A sentence for each model without these classes."""
        return tuple(
            f"{model.spec.title} has no class {unknown[0]!r} and is left out."
            for model in self.asked
            if (unknown := self._unknown(model))
        )

    def number(self, model: Model) -> int:
        """The index of a model in the list of models, which keys its widgets and figures."""
        return self.scene.ids.index(model.spec.id)

    def target(self, model: Model) -> int | Target:
        """The target for a model, by the indices of its classes."""
        return target_of(model, self.classes)


def models_of(choices: Sequence[Choice]) -> list[Model]:
    """The models of looks, each once."""
    return list(dict.fromkeys(choice.model for choice in choices))
