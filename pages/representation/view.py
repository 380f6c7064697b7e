"""Content of Representation, made from the screen and the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dashboard.view import Maker, View
from pages.representation.asked import Asked, asked
from pages.representation.inside import Found, early, lengths, removed
from pages.representation.likeness import Likeness, Nearby, likeness, nearby
from pages.representation.options import Options
from pages.representation.reach import Reach, reach

Answer = Likeness | Nearby | Reach | Found | str | None

QUESTIONS: Mapping[str, Callable[[Maker, Asked], Answer]] = {
    "layers": likeness,
    "distance": reach,
    "norms": lengths,
    "neighbors": nearby,
    "lens": early,
    "ablation": removed,
}
"""Function for each question of `Options.represents`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Representation(View):
    """Content of Representation.

    Attributes
    ----------
    asked
        The models and the set of pictures.
    found
        The answer to the question; a sentence where there is none, ``None`` where it has not been
        asked for.
    """

    asked: Asked
    found: Answer

    @property
    def waits(self) -> bool:
        """Whether something has to be measured first."""
        if isinstance(self.found, Reach):
            return self.found.distances is None and not self.asked.measured
        return self.found is None or (isinstance(self.found, Found) and self.found.asks)


def view(make: Maker) -> Representation:
    """Look up, or measure, what the chosen question needs."""
    of = asked(make)
    found = QUESTIONS[make.screen.of(Options).represents](make, of)
    return make.view(Representation, asked=of, found=found)
