"""Recordings of all kinds of network."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from core import capacity
from core.answers import Reading, probabilities
from core.errors import ParameterError, UnsupportedMethod
from core.frozen import Frozen
from core.images import Framing
from core.models import Model
from core.numerics import own_state
from core.progress import WatchedLock
from core.recording.run import Needs, Pass, leaf_of, run
from core.targets import Target, as_target, of_each

REMEMBERED_GRADIENTS = 4
"""Sets of targets whose gradients one recording keeps, least recently used dropped first."""


class _Graphs:
    """The recordings that hold a gradient graph; beyond a limit the oldest releases it.

    It is built again on request.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: list[weakref.ref[Recording]] = []

    def add(self, recording: Recording) -> None:
        with self._lock:
            alive = [(r, r()) for r in self._holders]
            held = [(r, it) for r, it in alive if it is not None and it is not recording]
            self._holders = [*(r for r, it in held if it._is_heavy), weakref.ref(recording)]
            oldest = self._holders[: max(0, len(self._holders) - capacity.graphs())]
        for reference in oldest:
            if (found := reference()) is not None:
                found.release_if_idle()


_graphs = _Graphs()


@dataclass(frozen=True, eq=False)
class Prediction(Frozen):
    """The most probable classes of one picture.

    Attributes
    ----------
    indices : (k,) int
    labels : tuple of str
    probabilities : (k,) float32 in [0, 1], falling
    logits : (classes,) float32
    answer : str
        How probabilities follow from the logits: ``"softmax"``, or ``"sigmoid"`` of each.
    """

    indices: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    answer: Reading = "softmax"

    @property
    def top(self) -> int:
        """Index of the most probable class."""
        return int(self.indices[0])

    @property
    def affirmed(self) -> npt.NDArray[np.int64]:
        """Indices of the classes that the model affirms, the most probable first.

        The most probable class; for a model of labels all labels above one half, which may be none
        or more than in `indices`.
        """
        if self.answer == "softmax":
            return self.indices[:1]
        order = np.argsort(-self.logits, kind="stable")
        return order[self.logits[order] > 0]

    def probability(self, target: int | Target) -> float:
        """Probability of any class, in [0, 1]; see `Target.probability`."""
        return float(as_target(target).probability(self.logits, self.answer))

    def rank(self, target: int | Target) -> int:
        """The number of classes more probable than this one: 0 for the first answer.

        Raises
        ------
        ParameterError
            The target is not a single class.
        """
        asked = as_target(target)
        if not asked.is_class:
            raise ParameterError(
                f"{asked!r} has no rank, as only single classes have one; request that of either "
                "class."
            )
        return int((self.logits > asked(self.logits)).sum())


@dataclass(frozen=True, eq=False)
class View:
    """A model's view of one picture.

    Attributes
    ----------
    image : PIL.Image.Image
        After fitting.
    digest : str
        SHA-256 of the picture's own pixels, before fitting.
    framing : Framing
        How it was fitted.
    """

    image: Image.Image
    digest: str
    framing: Framing


class Recording:
    """The recorded tensors of one pass over a batch of pictures of equal size.

    All maps without gradients are computed from it without running the network again; gradients are
    computed on demand and cached per target. Safe to share between threads.

    A thread that holds this recording's lock may wait for a slot (`core.capacity`), so never
    acquire the lock while holding a slot: state the needs with `extend` first.

    Attributes
    ----------
    model : Model
    views : tuple of View
    pixels : Tensor
        (batch, 3, height, width), the model's input.
    needs : Needs
        What has been recorded so far.
    logits : Tensor or None
        (batch, classes); ``None`` for a model without classes.
    seconds : float
        Wall time of the forward pass.
    is_batch : bool
        Whether a list of pictures was recorded, so that `explain` returns a list.
    """

    def __init__(
        self,
        model: Model,
        views: Sequence[View],
        pixels: Tensor,
        needs: Needs,
        is_batch: bool = False,
    ) -> None:
        self.model = model
        self.views = tuple(views)
        self.pixels = pixels
        self.is_batch = is_batch
        self.needs = needs.checked(model)
        self._lock = WatchedLock()
        self._remembered: OrderedDict[object, dict[str, Tensor]] = OrderedDict()
        self._graph: Pass | None = None
        self._recorded: dict[str, Tensor] = {}
        first = run(model, pixels, needs)
        self.seconds = first.seconds
        self.logits = first.output.detach() if model.classes else None
        self._take(first)

    @own_state()
    def _take(self, finished: Pass) -> None:
        """Store a pass: its tensors without graph, and the graph itself while it is needed."""
        for name in self.model.probes_for(finished.needs.keep):
            self._recorded[name] = finished.recorded[name].detach()
        for tap in finished.needs.keep:
            self.model.check_layout(self.model.read(self._recorded, tap), tap, self.size)
        if finished.needs.gradients:
            self._graph = finished
            if self._is_heavy:
                _graphs.add(self)

    @property
    def _is_heavy(self) -> bool:
        """Whether there is an expensive graph."""
        graph = self._graph
        return graph is not None and not graph.needs.gradients <= self.model.cheap_gradients

    def __len__(self) -> int:
        return len(self.views)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the view in pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes of the stored tensors, and of a graph as estimated by its model."""
        held, graph = self._graph, 0
        if held is not None and self._is_heavy:
            leaf = leaf_of(self.model, held.needs)
            graph = len(self) * self.model.footprint(self.size, True, leaf)
        # Without the lock, which a waiting thread may hold for long.
        remembered = [t for found in list(self._remembered.values()) for t in list(found.values())]
        tensors = [self.pixels, *list(self._recorded.values()), *remembered]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}
        return graph + sum(storage.nbytes() for storage in storages.values())

    def of(self, model: Model) -> Self:
        """This recording, if it is of ``model``; `ParameterError` if not."""
        if self.model is not model:
            raise ParameterError(
                "The recording was made with another model; record again with this one."
            )
        return self

    def extend(self, needs: Needs) -> None:
        """Make sure that ``needs`` are met; runs another pass if necessary."""
        if needs.keep <= self.needs.keep and not needs.gradients:
            return  # stored tensors are never removed, so they are read without the lock
        with self._lock:
            at_hand = self._graph.needs.gradients if self._graph else frozenset()
            wanted = frozenset() if needs.gradients <= at_hand else needs.gradients | at_hand
            missing = Needs(needs.keep - self.needs.keep, wanted)
            if missing != Needs():
                self._take(run(self.model, self.pixels, missing.checked(self.model)))
                self.needs |= missing

    # -- reading ----------------------------------------------------------------------------

    @own_state()
    def tensor(self, tap: str) -> Tensor:
        """A tap's tensor, with the axes of the table of taps and without graph."""
        self.extend(Needs(keep=[tap]))
        return self.model.read(self._recorded, tap)

    @own_state()
    def on_grid(self, tap: str) -> Tensor:
        """A tap as maps: (batch, features, rows, columns), prefix tokens left out."""
        return self.model.on_grid(self.tensor(tap), tap, self.size)

    @own_state()
    def predictions(self, k: int = 5) -> list[Prediction]:
        """The ``k`` most probable classes of each picture.

        Raises
        ------
        UnsupportedMethod
            The model has no classes.
        """
        if self.logits is None:
            raise UnsupportedMethod(
                f"{self.model.spec.title} was trained without classes and makes no predictions."
            )
        logits = self.logits.float().cpu()
        values, indices = probabilities(logits, self.model.answer).topk(
            min(k, self.model.classes), dim=-1
        )
        return [
            Prediction(
                indices=index.numpy(),
                labels=tuple(self.model.label(int(i)) for i in index),
                probabilities=value.numpy(),
                logits=row.numpy(),
                answer=self.model.answer,
            )
            for index, value, row in zip(indices, values, logits, strict=True)
        ]

    # -- gradients --------------------------------------------------------------------------

    def gradients(self, taps: Sequence[str], targets: Sequence[int | Target]) -> dict[str, Tensor]:
        """Gradient of each picture's target at some taps: of a logit, or a difference of two.

        Parameters
        ----------
        targets
            One for each picture, a class index or a target with indices.

        Returns
        -------
        dict of str to Tensor
            With the axes of the table of taps.
        """
        asked = tuple(map(as_target, targets))
        with self._lock:
            found = self._remember(("logits", asked))
            if not found.keys() >= set(taps):
                graph = self._graph_of(taps)
                # All gradients of the graph at once, so that another method needs no backward pass.
                every = [tap for tap in self.model.taps if tap in graph.needs.gradients]
                # A graph is large, so its request goes to the head of the queue and releases it
                # soon.
                with capacity.admitted(ahead=True), own_state(gradients=True):
                    found.update(graph.gradients(self._picked(graph.output, asked), every))
            return {tap: found[tap] for tap in taps}

    @own_state()
    def grid_gradients(self, tap: str, targets: Sequence[int | Target]) -> Tensor:
        """`gradients` at one tap as maps: (batch, features, rows, columns)."""
        gradient = self.gradients([tap], targets)[tap]
        return self.model.on_grid(gradient, tap, self.size)

    def _graph_of(self, taps: Sequence[str]) -> Pass:
        """A pass whose graph reaches all of the taps."""
        self.extend(Needs(gradients=taps))
        assert self._graph is not None
        return self._graph

    def _picked(self, scores: Tensor, targets: Sequence[Target]) -> Tensor:
        """Sum over the batch of each picture's target on its scores (batch, classes)."""
        return of_each(targets, scores, lambda target, rows: target(rows)).sum()

    def _remember(self, key: object) -> dict[str, Tensor]:
        """The cached gradients of a key; a few keys are kept."""
        found = self._remembered.setdefault(key, {})
        self._remembered.move_to_end(key)
        while len(self._remembered) > REMEMBERED_GRADIENTS:
            self._remembered.popitem(last=False)
        return found

    def release(self) -> None:
        """Release the gradient graph, unless it is cheap; cached gradients stay."""
        with self._lock:
            self._drop_graph()

    def release_if_idle(self) -> None:
        """`release`, unless the recording is in use in another thread."""
        if self._lock.take_if_free():
            try:
                self._drop_graph()
            finally:
                self._lock.release()

    def _drop_graph(self) -> None:
        if self._is_heavy:
            self._graph = None
