"""Settings of maximization: the screen's choices as tasks. Independent of Streamlit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import core
from core import (
    Crops,
    Model,
    Objective,
    Regularization,
    Tap,
    Transforms,
    VisionTransformer,
    representations,
)
from dashboard import cache, waiting
from dashboard.choices import Classes, Tell, classes, index_of, one_of, within
from dashboard.features import Feature, channel_of, feature_of, tap_of
from dashboard.screen import Screen
from dashboard.view import Maker
from pages.activation_maximization.options import Options
from pages.activation_maximization.run import STILL, WHOLE, Task

STEPS = (16, 512)
"""Fewest and most steps offered."""

USUAL_STEPS = {"fourier": 48, "phase": 96}
"""Steps by parameterization, where none are chosen."""

DEFAULT = {
    "fourier": Regularization(),
    "phase": Regularization(0.0, 0.0, Regularization().seam),
}
"""Weights by parameterization, where none are chosen. Fixed magnitudes leave little to the first
two."""

CROPS = Crops(count=3)
"""Looks at a picture whose phase is optimized: one less than by default, for the time."""

SIDES = (112, 168, 224, 336)
"""Approximate sides offered, in pixels; rounded to whole patches."""

NO_PATCH = 16
"""Patch side in pixels if no model has patches."""

START = 168
"""Approximate default side of a picture."""

WEIGHTS = ("variation", "gray", "seam")
"""Fields of the screen for weights of the `Regularization`."""


@dataclass(frozen=True, eq=False)
class Channel:
    """The channel of a model to maximize.

    Attributes
    ----------
    strongest
        The channel with the most contrast on the picture.
    """

    feature: Feature
    tap: Tap
    strongest: int
    channel: int

    @property
    def objective(self) -> Objective:
        """The objective; for a transformer features are counted over all heads."""
        model, name = self.feature.model, self.tap.name
        if not isinstance(model, VisionTransformer):
            return core.conv_channel(name, self.channel)
        block, _, part = name.rpartition(".")
        layer = int(block.rpartition(".")[2])
        if part == "output":
            return core.block_channel(layer, self.channel)
        if part == "hidden":
            return core.mlp_channel(layer, self.channel)
        head, channel = divmod(self.channel, self.tap.channels)
        return core.head_channel(layer, head, channel, kind=part)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Size:
    """Sides of pictures.

    Attributes
    ----------
    side
        Side in pixels for models that accept any size.
    offered
        Sides offered; empty if every model accepts one size only.
    whole
        Pixels that sides are multiples of.
    """

    side: int
    offered: tuple[int, ...] = ()
    whole: int = 1

    @property
    def smallest(self) -> int:
        """The smallest side offered."""
        return min((*self.offered, self.side))


@dataclass(frozen=True, eq=False)
class Settings:
    """All choices of the page.

    Attributes
    ----------
    what
        ``class`` or ``channel``.
    classes, channels
        The chosen classes or channels; the other is empty.
    refusals
        Why models are excluded, one sentence each.
    tasks
        The pictures to optimize.
    """

    models: tuple[Model, ...]
    what: str
    classes: Classes
    channels: tuple[Channel, ...]
    refusals: tuple[str, ...]
    steps: int
    size: Size
    seed: int
    parameterization: str
    regularization: Regularization
    moves: bool
    twin: bool
    tasks: tuple[Task, ...]


def settings(make: Maker, models: Sequence[Model]) -> Settings:
    """The choices of the screen; runs models for answers or activations if necessary."""
    now, tell = make.screen, make.problem
    seed, own = now.shared.seed, now.of(Options)
    what = one_of(now, "objective", ("class", "channel"), "class", tell)
    asked = Classes()
    channels: tuple[Channel, ...] = ()
    objectives: Mapping[Model, Objective]
    refusals: Sequence[str] = ()
    if what == "class":
        asked = _asked(make, models)
        objectives, refusals = _of_class(models, asked.shown[0] if asked.shown else "")
    else:
        inner = [(number, model) for number, model in enumerate(models) if model.taps]
        channels = tuple(_channel(make, number, model) for number, model in inner)
        refusals = [model.limits for model in models if not model.taps]
        objectives = {one.feature.model: one.objective for one in channels}
    kind = own.parameterization
    steps = int(within(now, "steps", *STEPS, tell, USUAL_STEPS[kind]))
    patch = _patch(models)
    size = _size(now, models, patch, tell)
    weights = {name: _weight(now, name, tell) for name in WEIGHTS}
    regularization = Regularization(**weights)
    tasks = tuple(
        Task(
            title=title,
            model=model,
            objective=objectives[model],
            regularization=charged,
            steps=steps,
            side=size.side if model.flexible else model.preprocessing.size,
            seed=seed,
            patch=model.patch if isinstance(model, VisionTransformer) else patch,
            parameterization=kind,
            wanted=asked.shown[0] if asked.shown else "",
            transforms=_looks(kind, own.moves),
            preview=size.smallest if model.flexible and size.smallest < size.side else 0,
        )
        for model, title, charged in _wanted(objectives, regularization, own.twin)
    )
    return Settings(
        models=tuple(models),
        what=what,
        classes=asked,
        channels=channels,
        refusals=tuple(refusals),
        steps=steps,
        size=size,
        seed=seed,
        parameterization=kind,
        regularization=regularization,
        moves=own.moves,
        twin=own.twin,
        tasks=tasks,
    )


def _looks(parameterization: str, moves: bool) -> Transforms | Crops:
    """How a picture is looked at before each pass."""
    if parameterization == "phase":
        return CROPS if moves else WHOLE
    return Transforms() if moves else STILL


def _wanted(
    objectives: Mapping[Model, Objective], regularization: Regularization, twin: bool
) -> list[tuple[Model, str, Regularization]]:
    """Model, title and regularization of each picture."""
    without = replace(regularization, seam=0.0)
    wanted: list[tuple[Model, str, Regularization]] = []
    for model in objectives:
        seams = isinstance(model, VisionTransformer) and bool(regularization.seam)
        if not seams or twin:
            wanted.append((model, f"{model.spec.title} · no seam penalty", without))
        if seams:
            penalty = f"{model.spec.title} · seam penalty {regularization.seam:g}"
            wanted.append((model, penalty, regularization))
    return wanted


# -- sizes and weights ----------------------------------------------------------------------------


def _patch(models: Sequence[Model]) -> int:
    """Pixels of a side of a patch of the first model that has patches, by which seams of pictures
    of models without are measured; `NO_PATCH` if no model has any."""
    found = (model.patch for model in models if isinstance(model, VisionTransformer))
    return next(found, NO_PATCH)


def _size(now: Screen, models: Sequence[Model], patch: int, tell: Tell) -> Size:
    flexible = [model for model in models if model.flexible]
    if not flexible:
        return Size(models[0].preprocessing.size)
    whole = math.lcm(*(model.multiple for model in flexible if model.multiple > 1), 1)
    whole = patch if whole == 1 else whole
    sides = sorted({max(whole, round(side / whole) * whole) for side in SIDES})
    start = min(sides, key=lambda side: abs(side - START))
    return Size(one_of(now, "side", sides, start, tell), tuple(sides), whole)


def weight_limit(name: str) -> float:
    """The largest weight offered."""
    return 4 * float(getattr(Regularization(), name))


def usual_weight(now: Screen, name: str) -> float:
    """The weight where none is chosen."""
    return float(getattr(DEFAULT[now.of(Options).parameterization], name))


def _weight(now: Screen, name: str, tell: Tell) -> float:
    return float(within(now, name, 0.0, weight_limit(name), tell, usual_weight(now, name)))


# -- objectives -----------------------------------------------------------------------------------


def _asked(make: Maker, models: Sequence[Model]) -> Classes:
    """The class of all models; known classes of the picture need no pass."""
    labeled = [model for model in models if model.classes]
    known = make.looked_at.picture.classes
    answers = []
    if not set(known) & {name for model in labeled for name in model.labels}:
        answers = [make.recording(model.spec.id).predictions()[0] for model in labeled]
    return classes(make.screen, known, labeled, answers, make.problem)


def _of_class(models: Sequence[Model], target: str) -> tuple[dict[Model, Objective], Sequence[str]]:
    """One class for all models that have it."""
    objectives: dict[Model, Objective] = {}
    refusals: list[str] = []
    for model in models:
        if not model.classes:
            refusals.append(
                f"{model.spec.title} was trained without classes, so no picture can be made for "
                "one; choose Channel to see what excites one of its channels."
            )
        elif target not in model.labels:
            refusals.append(f"{model.spec.title} has no class {target!r}.")
        else:
            objectives[model] = core.class_logit(index_of(model, target))
    return objectives, refusals


def _channel(make: Maker, number: int, model: Model) -> Channel:
    """A channel of a model, by default that with the most contrast, of a middle or late layer.

    Parameters
    ----------
    number
        Index of the model in the list.
    """
    feature = feature_of(make.screen, number, model, make.problem)
    if isinstance(model, VisionTransformer):
        default = f"block.{model.depth // 2}.output"
    else:
        default = [name for name, tap in model.taps.items() if "channel" in tap.axes][-1]
    tap = model.tap(tap_of(feature, default, make.problem))
    with waiting.spinner(f"Reading {tap.name} …"):
        values = cache.features(model.spec.id, make.looked_at, tap.name)
    strongest = int(representations.by_contrast(values)[0])
    return Channel(feature, tap, strongest, channel_of(feature, tap, strongest, make.problem))
