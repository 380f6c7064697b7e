"""Maximizations in a separate thread. Independent of Streamlit.

A page can be left, and its widgets used, during a run: the page only reads its state. The result
of a finished run contains numbers, pictures and titles, but no model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from PIL import Image

import core
from core import (
    Crops,
    Maximization,
    MethodError,
    Model,
    Objective,
    ParallaxError,
    Regularization,
    Transforms,
)
from dashboard.jobs import Job

PATIENCE = 300.0
"""Seconds after which a run that no page shows stops."""

PREVIEW = 4.0
"""Seconds for the previews of all pictures of a run."""

PREVIEW_STEPS = 24
"""Most steps of a preview."""

TRIAL = 3
"""Steps from which the time of a run is estimated, without the first."""

STILL = Transforms(0.0, 0.0, 0.0, 0.0)
"""No random transforms."""

WHOLE = Crops(count=1, smallest=1.0, largest=1.0, spread=0.0, noise=0.0)
"""One look at the whole picture."""

Parameterization = Literal["fourier", "phase"]

_log = logging.getLogger(__name__)
_paces: dict[tuple[str, int, str], float] = {}


@dataclass(frozen=True, eq=False)
class Task:
    """One picture to optimize.

    Attributes
    ----------
    side
        Of the picture in pixels.
    patch
        Patch side for measuring and penalizing seams.
    preview
        Side of the preview in pixels; 0 makes none.
    wanted
        The class that is maximized; empty for a channel.
    """

    title: str
    model: Model
    objective: Objective
    regularization: Regularization
    steps: int
    side: int
    seed: int
    patch: int
    transforms: Transforms | Crops
    preview: int = 0
    parameterization: Parameterization = "fourier"
    wanted: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        """Key of the time of a step."""
        return self.model.spec.id, self.side, self.parameterization

    @property
    def code(self) -> str:
        """The expression for the result; see `dashboard.python_lines`."""
        regularization = f"core.{self.regularization!r}"
        return (
            f"core.maximize(models[{self.model.spec.id!r}], {self.objective!r}, "
            f"steps={self.steps}, size={self.side}, seed={self.seed}, "
            f"parameterization={self.parameterization!r}, "
            f"regularization={regularization}, transforms=core.{self.transforms!r}, "
            f"patch={self.patch})"
        )

    def check(self) -> None:
        """Raise `MethodError` if the class, layer or channel does not exist."""
        self.objective.needs(self.model)


@dataclass(frozen=True)
class Opinion:
    """What a model calls a finished picture.

    Attributes
    ----------
    name
        Of the model.
    label, probability
        Its first class.
    wanted
        Probability of the class that was maximized; ``None`` for a channel, or without that class.
    """

    name: str
    label: str
    probability: float
    wanted: float | None


@dataclass(eq=False)
class Result:
    """The current state of a picture, with its description.

    Attributes
    ----------
    wanted
        The class; empty for a channel.
    preview
        A small picture of a few steps, shown until the first step of the large one.
    on_white
        The finished picture by its transparency; only where the phase was optimized.
    opinions
        Of all models of the run that have classes, on the finished picture as a whole.
    """

    title: str
    objective: str
    pretraining: str
    planned: int
    side: int
    seed: int
    patch: int
    moves: bool
    parameterization: str
    code: str
    wanted: str = ""
    preview: Image.Image | None = None
    image: Image.Image | None = None
    on_white: Image.Image | None = None
    opinions: tuple[Opinion, ...] = ()
    history: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Title with the objective."""
        return f"{self.title}, {self.objective}"

    @classmethod
    def of(cls, task: Task) -> Result:
        """An empty result."""
        return cls(
            title=task.title,
            objective=task.objective.describe(task.model),
            pretraining=task.model.spec.training,
            planned=task.steps,
            side=task.side,
            seed=task.seed,
            patch=task.patch,
            moves=task.transforms not in (STILL, WHOLE),
            parameterization=task.parameterization,
            code=task.code,
            wanted=task.wanted,
        )


def pace(task: Task) -> float | None:
    """Seconds per step, if this process has measured it."""
    return _paces.get(task.key)


def expected(tasks: Sequence[Task]) -> float | None:
    """Estimated seconds for pictures; ``None`` without a measurement."""
    times = [pace(task) for task in tasks]
    known = [seconds for seconds in times if seconds is not None]
    if len(known) < len(times):
        return None
    return sum(seconds * task.steps for seconds, task in zip(known, tasks, strict=True))


class Run(Job):
    """Pictures that are optimized one after the other.

    Attributes
    ----------
    results : list of Result
        One for each picture, growing.
    problems : list of str
        Why a picture could not be made, one sentence each.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            task.check()
        self.results = [Result.of(task) for task in tasks]
        self.problems: list[str] = []
        self._keys = [task.key for task in tasks]
        self._watched = time.monotonic()
        super().__init__(self._work, list(tasks), name="maximization")

    def watch(self) -> None:
        """Report that a page still shows the run."""
        self._watched = time.monotonic()

    @property
    def done(self) -> float:
        """Share of all steps that are done, in [0, 1]."""
        planned = sum(result.planned for result in self.results)
        return sum(len(result.history) for result in self.results) / max(1, planned)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds left from the measured steps; ``None`` before there are any."""
        left = 0.0
        for key, result in zip(self._keys, self.results, strict=True):
            if key not in _paces:
                return None
            left += _paces[key] * (result.planned - len(result.history))
        return left

    @property
    def current(self) -> Result:
        """The picture being optimized."""
        growing = [r for r in self.results if len(r.history) < r.planned]
        return growing[0] if growing else self.results[-1]

    # -- in the thread ----------------------------------------------------------------------

    def _work(self, tasks: list[Task]) -> None:
        try:
            with core.watching(None, lambda before: self._goes_on()):
                self._preview(tasks)
                self._measure(tasks)
                for task, result in zip(tasks, self.results, strict=True):
                    if not self.stopped:
                        self._make(task, result)
                with core.watching(None, lambda before: True):
                    self._judge(tasks)
        except Exception:
            _log.exception("a maximization failed")
            self.problems.append("The run was ended by an internal error; the log has the details.")

    def _goes_on(self) -> bool:
        if time.monotonic() - self._watched > PATIENCE:
            self.stop()
        return not self.stopped

    def _preview(self, tasks: Sequence[Task]) -> None:
        """Show early what each picture is going to be: the largest structures, in small."""
        for number, (task, result) in enumerate(zip(tasks, self.results, strict=True)):
            until = time.monotonic() + PREVIEW / len(tasks)
            alike = next((i for i in range(number) if tasks[i].model is task.model), None)
            if not task.preview:
                continue
            if alike is not None:  # with another penalty, which a preview does not show
                result.preview = self.results[alike].preview
                continue

            def on_step(step: int, loss: float, image: Image.Image) -> bool:
                result.preview = image  # noqa: B023
                return self._goes_on() and time.monotonic() < until  # noqa: B023

            try:
                _maximize(_small(task), PREVIEW_STEPS, task.preview, on_step)
            except ParallaxError:
                continue  # reported later, when the picture is due

    def _measure(self, tasks: Sequence[Task]) -> None:
        """Run a few steps of untimed tasks, to estimate the total time."""
        for task in tasks:
            if task.key not in _paces and self._goes_on():
                try:
                    self._steps(task, TRIAL, None)
                except ParallaxError:
                    continue  # reported later, when the picture is due

    def _make(self, task: Task, result: Result) -> None:
        try:
            self._steps(task, task.steps, result)
        except core.Stopped:
            return  # stopped while waiting; finished pictures are kept
        except ParallaxError as error:
            self.problems.append(f"{task.title}: {error}")

    def _judge(self, tasks: Sequence[Task]) -> None:
        """Ask every model what it sees in what has been made, also after a stop."""
        models = {task.model.spec.id: task.model for task in tasks if task.model.classes}
        for result in self.results:
            if result.image is not None:
                try:
                    result.opinions = opinions(models.values(), result.image, result.wanted)
                except ParallaxError as error:
                    self.problems.append(f"{result.title}: {error}")

    def _steps(self, task: Task, steps: int, result: Result | None) -> None:
        last: float | None = None

        def on_step(step: int, loss: float, image: Image.Image) -> bool:
            nonlocal last
            now = time.perf_counter()
            if last is not None:
                known = _paces.get(task.key, now - last)
                _paces[task.key] = 0.8 * known + 0.2 * (now - last)
            last = now
            if result is not None:
                result.image = image
                result.history.append(loss)
            return self._goes_on()

        made = _maximize(task, steps, task.side, on_step)
        if result is not None and task.parameterization == "phase":
            result.on_white = made.on_white()


def _small(task: Task) -> Task:
    """The task with looks as small as its preview: many steps count more there than fine detail."""
    if not isinstance(task.transforms, Crops):
        return task
    looks = replace(task.transforms, count=min(2, task.transforms.count), side=task.preview)
    return replace(task, transforms=looks)


def opinions(models: Iterable[Model], image: Image.Image, wanted: str) -> tuple[Opinion, ...]:
    """What models call a picture, with the probability of a class."""
    found = []
    for model in models:
        answer = core.predict(model, image)
        has_it = bool(wanted) and wanted in model.labels
        asked = answer.probability(model.labels.index(wanted)) if has_it else None
        found.append(
            Opinion(model.spec.title, answer.labels[0], float(answer.probabilities[0]), asked)
        )
    return tuple(found)


def _maximize(
    task: Task, steps: int, side: int, on_step: Callable[[int, float, Image.Image], bool]
) -> Maximization:
    return core.maximize(
        task.model,
        task.objective,
        steps=steps,
        size=side,
        seed=task.seed,
        on_step=on_step,
        parameterization=task.parameterization,
        regularization=task.regularization,
        transforms=task.transforms,
        patch=task.patch,
    )


# -- results --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Made:
    """The results of the last finished run, and the current run, if there is one.

    Attributes
    ----------
    results
        The results; hold no model.
    problems
        Why a picture could not be made, one sentence each.
    """

    results: tuple[Result, ...] = ()
    problems: tuple[str, ...] = ()
    run: Run | None = None

    def settled(self) -> Made:
        """This state; if the run has ended, with its results."""
        run = self.run
        if run is None or not run.ended:
            return self
        grown = tuple(result for result in run.results if result.image is not None)
        return Made(grown or self.results, tuple(run.problems))


@dataclass
class Making:
    """The finished and running maximizations of a session."""

    made: Made = field(default_factory=Made)

    def settled(self) -> Made:
        """The results so far; read once per run of the page."""
        self.made = self.made.settled()
        return self.made

    def begin(self, tasks: Sequence[Task]) -> None:
        """Start a run; invalid tasks are stored as problems, and earlier results are kept."""
        try:
            self.made = replace(self.made, run=Run(tasks).start())
        except MethodError as error:
            self.made = replace(self.made, problems=(str(error),))


def made_of(tasks: Sequence[Task]) -> Made:
    """The results of tasks, computed to the end."""
    if not tasks:
        return Made()
    making = Making()
    making.begin(tasks)
    run = making.made.run
    while run is not None and not run.wait(1.0):
        run.watch()
    return making.settled()
