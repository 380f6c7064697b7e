"""What a run of a page shows, gathered while it is drawn: figures, arrays, answers.

Exports and saved screens are made of this, so that no page has to do anything for them: figures
come in through `panels.chart`, maps and answers through `cache`. A page that shows other arrays
adds them with `array`, and pictures that it made with `picture`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from core import Explanation, Model, Prediction
from dashboard import screen
from dashboard.scene import Picture, Scene
from dashboard.screen import Screen

_SHOWN = "shown"
LONGEST = 80
"""Characters of the name of an array."""

ANSWERS = 5
"""Answers of a model that are kept."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A Plotly figure with what it says to those who do not see it.

    Attributes
    ----------
    height
        A length of CSS; empty for the figure's own.
    """

    figure: Any
    alt: str
    height: str = ""


@dataclass(frozen=True, eq=False)
class Array:
    """Raw values that are shown.

    Attributes
    ----------
    code
        An expression of Python that makes them; `dashboard.python_lines` says which names it may
        use.
    explanation
        Where they are one's relevance.
    """

    values: npt.NDArray[Any]
    code: str
    explanation: Explanation | None = None


@dataclass(eq=False)
class Shown:
    """What one run of a page shows.

    Attributes
    ----------
    answers : dict
        By model, its most probable classes with their probabilities.
    weights : dict
        By model that is asked, the digest of its weights.
    pictures : dict
        What is looked at, by id.
    made : dict
        Pictures that the page made, by title.
    transformer
        Id of the model whose attention expressions call ``attention``.
    complete : bool
        Whether the page was drawn to its end.
    """

    screen: Screen
    title: str = ""
    link: str = ""
    scene: Scene | None = None
    figures: dict[str, Figure] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    answers: dict[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    made: dict[str, Image.Image] = field(default_factory=dict)
    transformer: str = ""
    complete: bool = False

    @property
    def explanations(self) -> list[Explanation]:
        """The maps among the arrays."""
        return [a.explanation for a in self.arrays.values() if a.explanation is not None]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that are looked at."""
        explained = [found.label for found in self.explanations if found.label]
        return tuple(dict.fromkeys([*self.screen.classes, *explained]))


def begin(title: str, link: str) -> Shown:
    """Called once a run by the frame, before the page draws."""
    found = Shown(screen.current().without_review(), title, link)
    screen.keep(_SHOWN, found)
    return found


def current() -> Shown | None:
    """What this run has shown so far; in a callback, what the run before has shown."""
    found: Shown | None = screen.kept(_SHOWN)
    return found


def look_at(scene: Scene, *models: Model) -> None:
    """Say what all of the page looks at, and with which models."""
    if (found := current()) is not None:
        found.scene = scene
        found.pictures[scene.picture.id] = scene.picture
        found.weights |= {model.spec.id: model.weights_digest for model in models}


def attended(model_id: str) -> None:
    """Say whose attention is shown, which expressions call ``attention``."""
    if (found := current()) is not None:
        found.transformer = model_id


def also(picture: Picture) -> None:
    """Say that another picture is looked at as well."""
    if (found := current()) is not None:
        found.pictures[picture.id] = picture


def figure(key: str, made: Any, alt: str, height: str = "") -> None:
    """Keep a figure under the key of its chart."""
    if (found := current()) is not None:
        found.figures[key] = Figure(made, alt, height)


def array(
    name: str, values: npt.ArrayLike, code: str, explanation: Explanation | None = None
) -> str:
    """Keep raw values under a name that is made fit for a file; returns that name.

    Values of another expression that have the name already stay, and these get a number.

    Parameters
    ----------
    code, explanation
        As in `Array`.
    """
    found = current()
    if found is None:
        return slug(name)
    kept = np.asarray(values)
    # A session keeps what it shows until its next run: not all that it was cut from as well.
    kept = kept if kept.base is None else kept.copy()
    free = _numbered(slug(name), _number(found.arrays, slug(name), code))
    found.arrays[free] = Array(kept, code, explanation)
    return free


def _number(arrays: Mapping[str, Array], name: str, code: str) -> int:
    """The first number with which a name is not taken by another expression; 1 is none."""
    numbers = itertools.count(1)
    return next(n for n in numbers if _is_free(arrays.get(_numbered(name, n)), code))


def _is_free(held: Array | None, code: str) -> bool:
    return held is None or held.code == code


def _numbered(name: str, number: int) -> str:
    """A name with a number, which is never what is cut: else no name would ever be free."""
    end = f"-{number}" if number > 1 else ""
    return name[: LONGEST - len(end)].rstrip("-") + end if end else name


def options(params: Mapping[str, Any]) -> str:
    """Parameters of a method as the end of a call."""
    return "".join(f", {name}={value!r}" for name, value in sorted(params.items()))


def relevance(made: Explanation, params: Mapping[str, Any], view: str = "view") -> str:
    """The expression that makes a map of a view; ``params`` are those its method was given."""
    return (
        f"core.explain(models[{made.model_id!r}], {view}, {made.method!r}, {made.target!r}, "
        f"framing=given{options(params)}).relevance"
    )


def explanation(made: Explanation, params: Mapping[str, Any]) -> None:
    """Keep a map; ``params`` are those that its method was given."""
    name = f"{made.method} {made.label or 'no class'} {made.model_id}"
    array(name, made.relevance, relevance(made, params), made)


def answer(model_id: str, prediction: Prediction | None) -> None:
    """Keep what a model answers to the picture of the scene."""
    found = current()
    if found is None or prediction is None:
        return
    pairs = zip(prediction.labels, prediction.probabilities, strict=False)
    found.answers[model_id] = tuple((name, float(p)) for name, p in pairs)[:ANSWERS]


def picture(title: str, made: Image.Image, code: str) -> None:
    """Keep a picture that the page made; its pixels are among the arrays.

    Pictures of one title are told apart by the number that their arrays have.
    """
    if (found := current()) is not None:
        number = _number(found.arrays, slug(title), code)
        array(title, np.asarray(made), code)
        found.made[f"{title} ({number})" if number > 1 else title] = made


def slug(text: str) -> str:
    """Words of a text as the name of a file: letters and digits of ASCII, joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST] or "unnamed"
