"""Content of Evidence, made from the screen and the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core import Model
from dashboard.choices import Choice, Classes, classes, needs_of
from dashboard.view import Maker, View
from pages.evidence.asked import Asked, models_of
from pages.evidence.curves import Curves, curves
from pages.evidence.options import Options
from pages.evidence.pointing import Pointing, pointing
from pages.evidence.randomization import Randomized, randomization
from pages.evidence.removal import Removal, removal

Found = Removal | Curves | Randomized | Pointing

QUESTIONS: Mapping[str, Callable[[Maker, Asked], Found]] = {
    "removal": removal,
    "curves": curves,
    "randomization": randomization,
    "pointing": pointing,
}
"""Function for each question of `Screen.question`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence(View):
    """Content of Evidence.

    Attributes
    ----------
    choices
        One for each look.
    labeled
        The models with a look and classes.
    found
        The result of the question; ``None`` if no model has classes.
    """

    choices: tuple[Choice, ...]
    labeled: tuple[Model, ...]
    classes: Classes
    found: Found | None


def view(make: Maker) -> Evidence:
    """Run every model once, then compute the chosen question."""
    options = make.screen.of(Options)
    now, scene = make.screen, make.looked_at
    chosen = make.choices()
    answers = {
        model: make.recording(model.spec.id, needs_of(chosen, model)).predictions()[0]
        for model in models_of(chosen)
        if model.classes
    }
    known = classes(now, scene.picture.classes, list(answers), list(answers.values()), make.problem)
    found = None
    if answers:
        asked = Asked(scene, chosen, known.target, answers, options.fill)
        found = QUESTIONS[options.question](make, asked)
    return make.view(Evidence, choices=chosen, labeled=tuple(answers), classes=known, found=found)
