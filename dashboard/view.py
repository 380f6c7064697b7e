"""The content of a page as a value: figures, arrays with their Python code, answers.

A page makes its `View` from the screen and the scene, without Streamlit, and then draws it.
Exports, saved screens and ``python -m dashboard.render`` use the same value.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

import core
from core import Explanation, MethodError, Model, ParameterError, Prediction, Recording
from dashboard import cache, settings
from dashboard.choices import (
    Choice,
    Classes,
    choice,
    classes,
    column_slots,
    needs_of,
    target_of,
    told_apart,
)
from dashboard.looks import Look
from dashboard.scene import Picture, Scene
from dashboard.screen import Screen
from dashboard.text import duration

LONGEST = 80
"""Most characters of the name of an array."""

INK = "#1f2430"
"""Color of text on white."""

ANSWERS = 5
"""Stored answers of a model."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A Plotly figure with its alternative text.

    Attributes
    ----------
    key
        Unique key among the figures of the page.
    height, width
        Lengths of CSS, the width the largest one; empty for the figure's own.
    """

    key: str
    figure: Any
    alt: str
    height: str = ""
    width: str = ""


@dataclass(frozen=True, eq=False)
class Array:
    """Displayed raw values.

    Attributes
    ----------
    code
        A Python expression for them; `dashboard.python_lines` lists the names it may
        use.
    explanation
        The explanation whose relevance they are, if any.
    """

    values: npt.NDArray[Any]
    code: str
    explanation: Explanation | None = None


@dataclass(frozen=True, eq=False)
class Costly:
    """Maps that are not computed before they are asked for.

    Attributes
    ----------
    name
        Method, model and class.
    instead
        The look that its column shows meanwhile, if the page has columns.
    """

    name: str
    cost: cache.Cost
    instead: Choice | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """The content of a page.

    Attributes
    ----------
    title
        Of the page.
    link
        The address of the screen; empty if unknown.
    figures, arrays : mapping
        By name, in display order.
    answers : mapping
        By model, its most probable classes with their probabilities.
    weights : mapping
        By model, the digest of its weights.
    pictures : mapping
        Pictures by id; the first is that of the scene.
    made : mapping
        Pictures made by the page, by title.
    transformer
        Id of the model whose attention expressions call ``attention``.
    problems
        Unavailable choices of the screen, one sentence each.
    costly
        Maps that wait for a click, as they would take long.
    """

    screen: Screen
    title: str = ""
    link: str = ""
    scene: Scene | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    answers: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    made: Mapping[str, Image.Image] = field(default_factory=dict)
    transformer: str = ""
    problems: tuple[str, ...] = ()
    costly: tuple[Costly, ...] = ()

    @property
    def explanations(self) -> list[Explanation]:
        """The maps among the arrays."""
        return [a.explanation for a in self.arrays.values() if a.explanation is not None]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes shown."""
        explained = [found.label for found in self.explanations if found.label]
        return tuple(dict.fromkeys([*self.screen.shared.classes, *explained]))


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of Compare, ready to be explained.

    Attributes
    ----------
    models
        All that are shown, by id.
    choices
        One for each column.
    drawn
        The same, but for a map that waits for a click the one that its column showed before.
    recordings
        One pass of each model.
    answers
        Of the models that have classes.
    classes
        Which class is explained.
    """

    models: Mapping[str, Model]
    choices: tuple[Choice, ...]
    drawn: tuple[Choice, ...]
    recordings: Mapping[Model, Recording]
    answers: Mapping[Model, Prediction]
    classes: Classes


Kind = TypeVar("Kind", bound=View)
AnyFigure = TypeVar("AnyFigure", bound=Figure)


class Maker:
    """Makes one `View`: runs the models through the cache, and collects the content.

    Parameters
    ----------
    screen
        The screen of the address; options that are not saved are dropped.
    title, link
        As in `View`.
    begun
        Keys of costly maps that a reader has asked for; ``None`` computes all at once.
    before
        The looks that were drawn last, by column.

    Attributes
    ----------
    screen
        The displayed screen, in which unavailable models are replaced.
    drawn
        The looks that are drawn, by column.
    """

    def __init__(
        self,
        screen: Screen,
        title: str = "",
        link: str = "",
        begun: Container[Hashable] | None = None,
        before: Mapping[str, Look] = MappingProxyType({}),
    ) -> None:
        self.asked = self.screen = screen
        self.title, self.link = title, link
        self.begun, self.before = begun, before
        self.drawn: dict[str, Look] = {}
        self.costly: list[Costly] = []
        self.scene: Scene | None = None
        self.figures: dict[str, Figure] = {}
        self.arrays: dict[str, Array] = {}
        self.answers: dict[str, tuple[tuple[str, float], ...]] = {}
        self.weights: dict[str, str] = {}
        self.pictures: dict[str, Picture] = {}
        self.made: dict[str, Image.Image] = {}
        self.transformer = ""
        self.problems: list[str] = []

    def view(self, kind: type[Kind], **own: Any) -> Kind:
        """The view of all collected content.

        Parameters
        ----------
        kind
            `View` or the page's own subclass.
        own
            Fields of the page's own subclass.
        """
        return kind(
            screen=self.asked.saved(),
            title=self.title,
            link=self.link,
            scene=self.scene,
            figures=dict(self.figures),
            arrays=dict(self.arrays),
            answers=dict(self.answers),
            weights=dict(self.weights),
            pictures=dict(self.pictures),
            made=dict(self.made),
            transformer=self.transformer,
            problems=tuple(self.problems),
            costly=tuple(self.costly),
            **own,
        )

    # -- pictures and models ----------------------------------------------------------------------

    def look_at(self, screen: Screen, scene: Scene, *models: Model) -> None:
        """Set the displayed screen, the scene and its models."""
        self.screen, self.scene = screen, scene
        self.pictures[scene.picture.id] = scene.picture
        self.weights |= {model.spec.id: model.weights_digest for model in models}

    def also(self, picture: Picture) -> None:
        """Add another picture."""
        self.pictures[picture.id] = picture

    def attended(self, model_id: str) -> None:
        """Set the model whose attention expressions call ``attention``."""
        self.transformer = model_id

    def problem(self, sentence: str) -> None:
        """Report an unavailable choice of the screen."""
        if sentence not in self.problems:
            self.problems.append(sentence)

    # -- results of models ------------------------------------------------------------------------

    @property
    def looked_at(self) -> Scene:
        """The scene; `look_at` must be called before."""
        assert self.scene is not None, "a view is made of a scene"
        return self.scene

    def recording(self, model_id: str, needs: core.Needs | None = None) -> Recording:
        """The recording of one forward pass over the scene's picture; its answer is stored."""
        found = cache.recording(model_id, self.looked_at, needs=needs)
        if found.logits is not None:
            self.answer(model_id, found.predictions()[0])
        return found

    def explain(
        self,
        model_id: str,
        method: str,
        targets: Sequence[core.TargetLike | None] = (None,),
        params: Mapping[str, Any] | None = None,
        *,
        at_once: bool = False,
    ) -> list[Explanation]:
        """Maps of the scene's picture, one for each target; all are stored.

        Parameters
        ----------
        at_once
            Whether the reader has asked for them already, so that they do not wait for a click.

        Raises
        ------
        MethodError
            There is no such map, or it waits for a click; then it is in `costly`.
        """
        params = dict(params or {})
        if not at_once and (waiting := self._waits(model_id, method, targets, params)):
            self._tell(waiting)
            cost = waiting.cost
            raise MethodError(
                f"{waiting.name} takes {cost.passes:,} passes of the network, "
                f"{duration(cost.seconds)} here; it is computed once you ask for it above."
            )
        found = cache.explain(model_id, self.looked_at, method, tuple(targets), params)
        for explanation in found:
            self.explanation(explanation, params)
        return found

    def _waits(
        self,
        model_id: str,
        method: str,
        targets: Sequence[core.TargetLike | None],
        params: Mapping[str, Any],
    ) -> Costly | None:
        """Maps that would take long and have not been asked for."""
        if self.begun is None:
            return None
        cost = cache.cost(model_id, self.looked_at, method, targets, params)
        if cost is None or cost.seconds < settings.current().ask_from or cost.key in self.begun:
            return None
        model = cache.model(model_id)
        asked = [one for one in model.check_targets(targets, len(targets)) if one is not None]
        classes = ", ".join(one.text(model.labels) for one in asked)
        title = f"{core.find_method(method).title} of {model.spec.title}"
        return Costly(f"{title}, {classes}" if classes else title, cost)

    def _tell(self, waiting: Costly) -> None:
        if all(waiting.cost.key != told.cost.key for told in self.costly):
            self.costly.append(waiting)

    def _drawn(self, choice: Choice, classes: Sequence[str]) -> Choice:
        """The look itself or, if its map waits for a click, one that does not."""
        waiting = self._waits_for(choice, classes)
        if waiting is None:
            return choice
        instead = next(
            (one for one in self._before(choice) if self._waits_for(one, classes) is None), None
        )
        self._tell(replace(waiting, instead=instead))
        return instead or choice

    def _waits_for(self, choice: Choice, classes: Sequence[str]) -> Costly | None:
        method = choice.method
        if method is None or method.is_quick:
            return None
        try:
            target = target_of(choice.model, classes) if method.class_specific else None
            return self._waits(choice.model.spec.id, method.name, (target,), choice.values)
        except (MethodError, ParameterError):
            return None  # there is no such map: its panel states why

    def _before(self, asked: Choice) -> list[Choice]:
        """What can be drawn in the place of a look: what its column showed, and the first map."""
        if self.begun is None or asked.method is None or asked.method.is_quick:
            return []
        model, slot = asked.model, asked.slot
        looks = [self.before.get(slot.name), Look(model.spec.id)]
        return [
            choice(replace(slot, look=look), model, lambda _: None)
            for look in looks
            if look is not None and look.model == model.spec.id
        ]

    def map_of(self, choice: Choice, classes: Sequence[str]) -> Explanation | str:
        """The map of a choice for a class, or for one rather than another; or why there is none.

        Parameters
        ----------
        classes
            Names of one class or two; none if no model has classes.
        """
        if choice.method is None:
            return choice.refusal
        method = choice.method
        try:
            target = target_of(choice.model, classes) if method.class_specific else None
            [found] = self.explain(choice.model.spec.id, method.name, (target,), choice.values)
        except MethodError as error:
            return str(error)
        return found

    def choices(self) -> tuple[Choice, ...]:
        """The looks of Compare and Evidence, from left to right."""
        slots = column_slots(self.screen)
        return told_apart(
            [choice(slot, cache.model(slot.look.model), self.problem) for slot in slots]
        )

    def columns(self) -> Columns:
        """The columns of Compare, after one pass of each model that serves them all."""
        scene = self.looked_at
        models = {model_id: cache.model(model_id) for model_id in scene.ids}
        chosen = self.choices()
        likely = [*chosen, *itertools.chain.from_iterable(map(self._before, chosen))]
        recordings = {
            model: self.recording(model_id, needs_of(likely, model))
            for model_id, model in models.items()
        }
        answers = {
            model: answer(recording) for model, recording in recordings.items() if model.classes
        }
        asked = classes(
            self.screen, scene.picture.classes, [*answers], [*answers.values()], self.problem
        )
        drawn = [self._drawn(one, asked.target) for one in chosen]
        self.drawn = {one.slot.name: one.slot.look for one in drawn}
        return Columns(models, chosen, told_apart(drawn), recordings, answers, asked)

    # -- what is kept -----------------------------------------------------------------------------

    def answer(self, model_id: str, prediction: Prediction) -> None:
        """Store a model's answers for the scene's picture."""
        self.answers[model_id] = answers_of(prediction)

    def show(self, figure: AnyFigure) -> AnyFigure:
        """Store a figure; figures are shown in this order."""
        figure.figure.update_layout(font_color=INK)
        self.figures[figure.key] = figure
        return figure

    def array(
        self, name: str, values: npt.ArrayLike, code: str, explanation: Explanation | None = None
    ) -> str:
        """Store raw values under a name valid for a file; returns that name.

        If another expression already uses the name, a number is appended.

        Parameters
        ----------
        code, explanation
            As in `Array`.
        """
        kept = np.asarray(values)
        # A session holds its view until the next run, so copy instead of holding the base array.
        kept = kept if kept.base is None else kept.copy()
        free = _numbered(slug(name), _number(self.arrays, slug(name), code))
        self.arrays[free] = Array(kept, code, explanation)
        return free

    def explanation(self, made: Explanation, params: Mapping[str, Any]) -> None:
        """Store a map; ``params`` are the given parameters of its method."""
        name = f"{made.method} {made.label or 'no class'} {made.model_id}"
        self.array(name, made.relevance, relevance(made, params), made)

    def picture(self, title: str, made: Image.Image, code: str) -> None:
        """Store a picture made by the page; its pixels are among the arrays.

        Pictures of the same title are distinguished by the number of their arrays.
        """
        number = _number(self.arrays, slug(title), code)
        self.array(title, np.asarray(made), code)
        self.made[f"{title} ({number})" if number > 1 else title] = made


def _number(arrays: Mapping[str, Array], name: str, code: str) -> int:
    """The first number with which a name is free or used by the same expression; 1 adds none."""
    numbers = itertools.count(1)
    return next(n for n in numbers if _is_free(arrays.get(_numbered(name, n)), code))


def _is_free(held: Array | None, code: str) -> bool:
    return held is None or held.code == code


def _numbered(name: str, number: int) -> str:
    """A name with a number, which is never cut off: otherwise no name would be free."""
    end = f"-{number}" if number > 1 else ""
    return name[: LONGEST - len(end)].rstrip("-") + end if end else name


MOST_LABELS = 10
"""Labels above one half that are listed."""


def answer(recording: Recording) -> Prediction:
    """The first five answers to the picture of a recording; of labels all that are above one half,
    at most `MOST_LABELS`, where those are more."""
    [found] = recording.predictions()
    affirmed = min(len(found.affirmed), MOST_LABELS)
    return recording.predictions(affirmed)[0] if affirmed > len(found.indices) else found


def answers_of(prediction: Prediction) -> tuple[tuple[str, float], ...]:
    """The first answers of a model with their probabilities."""
    pairs = zip(prediction.labels, prediction.probabilities, strict=False)
    return tuple((name, float(p)) for name, p in pairs)[:ANSWERS]


def options(params: Mapping[str, Any]) -> str:
    """Parameters of a method as the end of a call."""
    return "".join(f", {name}={value!r}" for name, value in sorted(params.items()))


def relevance(made: Explanation, params: Mapping[str, Any], view: str = "view") -> str:
    """The expression of a map of a view; ``params`` are the given parameters of its method."""
    return (
        f"core.explain(models[{made.model_id!r}], {view}, {made.method!r}, {made.target!r}, "
        f"framing=given{options(params)}).relevance"
    )


def slug(text: str) -> str:
    """A text as the name of a file: ASCII letters and digits, joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST] or "unnamed"
