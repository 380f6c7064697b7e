"""What Evidence asks about, whatever the question. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import Model, Prediction, Target
from dashboard.choices import Choice, Tell, named, target_of, unknown_of
from dashboard.scene import Scene
from dashboard.screen import Screen


@dataclass(frozen=True, eq=False)
class Asked:
    """What the page asks about: the chosen looks, the class, what replaces what is removed.

    Attributes
    ----------
    classes
        As in `dashboard.choices.target_of`.
    answers
        Of the models that have classes, to the whole picture.
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
        """What is asked for, for people."""
        return named(self.classes)

    @property
    def is_class(self) -> bool:
        """Whether one class is asked for, and not one rather than another or its opposite."""
        return len(self.classes) == 1

    @property
    def asked(self) -> list[Model]:
        """All models that have a look, each once, in the order of their first looks."""
        return models_of(self.choices)

    @property
    def models(self) -> list[Model]:
        """Those that know what is asked for."""
        return [model for model in self.asked if not self._unknown(model)]

    def _unknown(self, model: Model) -> list[str]:
        return unknown_of(model, self.classes)

    def refusals(self) -> tuple[str, ...]:
        """A sentence for each model that cannot be asked."""
        return tuple(
            f"{model.spec.title} has no class {unknown[0]!r} and is left out."
            for model in self.asked
            if (unknown := self._unknown(model))
        )

    def number(self, model: Model) -> int:
        """The place of a model in the list of models, which keys its widgets and figures."""
        return self.scene.ids.index(model.spec.id)

    def target(self, model: Model) -> int | Target:
        """What a model is asked for, by the indices of its own classes."""
        return target_of(model, self.classes)


def models_of(choices: Sequence[Choice]) -> list[Model]:
    """The models of looks, each once."""
    return list(dict.fromkeys(choice.model for choice in choices))


def within(now: Screen, field: str, low: int, high: int, tell: Tell) -> int:
    """A whole number of the screen; what is beyond its ends is cut and told."""
    wanted = int(now.value(field))
    if not low <= wanted <= high:
        tell(f"{field} is {wanted:g}, expected {low} to {high}; shown at the end.")
    return min(max(wanted, low), high)
