"""Deletion and insertion: does the answer depend on what a map marks as important?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from core import heatmaps
from core.errors import ImageError, ParameterError
from core.evidence.removal import Mask, Removals, removal_grid, without
from core.evidence.variants import Numbers, answers
from core.fills import FILLS
from core.frozen import Frozen
from core.images import Framing, digest
from core.models import Model
from core.targets import ClassTarget, Target, TargetLike, as_given

WINDOW = 16
"""Pairs of curves of a stream that share passes; enough to fill batches for any steps."""

Curve = Literal["deletion", "insertion"]
Case = tuple[Image.Image, npt.ArrayLike] | tuple[Image.Image, npt.ArrayLike, TargetLike | None]


@dataclass(frozen=True, eq=False)
class Faithfulness(Frozen):
    """Deletion and insertion curve of one map (Petsiuk et al. 2018, arXiv 1806.07421).

    Attributes
    ----------
    fractions : (steps + 1,) float64
        Share of the cells removed (deletion) or restored (insertion), from 0 to 1.
    deletion, insertion : (steps + 1,) float64
        Probability of the target, in [0, 1]; for a class rather than another ``σ(y_a − y_b)``,
        that of the first given one of the two. Deletion begins with the intact picture,
        insertion ends with it.
    order : (cells,) int64
        Cells row by row, in falling order of relevance; of equally relevant ones the first in
        reading order comes first.
    grid : (int, int)
        Rows and columns of cells.
    relevance : (rows, cols) float32
        The map on that grid.
    target : int or Target
    label : str
        Index and name of the class, or another target.
    fill : str
    seed : int
        Fill of the removed cells; see `core.FILLS`.
    view : PIL.Image.Image
        The intact picture as the model saw it.
    picture_digest, model_id, weights_digest : str
        Identifiers of the measured picture and model.
    """

    fractions: Numbers
    deletion: Numbers
    insertion: Numbers
    order: npt.NDArray[np.int64]
    grid: tuple[int, int]
    relevance: npt.NDArray[np.float32]
    target: int | Target
    label: str
    fill: str
    seed: int
    view: Image.Image
    picture_digest: str
    model_id: str
    weights_digest: str

    @property
    def steps(self) -> int:
        """Steps of a curve."""
        return len(self.fractions) - 1

    @property
    def intact(self) -> float:
        """Probability of the target in the intact picture."""
        return float(self.deletion[0])

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve, trapezoid over fractions, in [0, 1]: low is good."""
        return float(np.trapezoid(self.deletion, self.fractions))

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve, trapezoid over fractions, in [0, 1]: high is good."""
        return float(np.trapezoid(self.insertion, self.fractions))

    @property
    def deletion_share(self) -> float:
        """`deletion_area` as share of the intact picture's probability; may exceed 1."""
        return self.deletion_area / self.intact

    @property
    def insertion_share(self) -> float:
        """`insertion_area` as share of the intact picture's probability; may exceed 1."""
        return self.insertion_area / self.intact

    @property
    def difference(self) -> float:
        """`insertion_share` minus `deletion_share`; about 0 for an uninformative map."""
        return self.insertion_share - self.deletion_share

    def removed(self, step: int, curve: Curve) -> Mask:
        """Which cells are missing at a step of a curve: (rows, cols).

        Raises
        ------
        ParameterError
            No such step or curve.
        """
        if curve not in ("deletion", "insertion"):
            raise ParameterError(f"The curve is {curve!r}, expected deletion or insertion.")
        if not 0 <= step <= self.steps:
            raise ParameterError(f"The step is {step!r}, expected 0 to {self.steps}.")
        count = round(self.fractions[step] * self.order.size)
        deleted = _deleted(self.order, np.array([count])).reshape(self.grid)
        return deleted if curve == "deletion" else ~deleted

    def picture(self, step: int, curve: Curve) -> Image.Image:
        """What the model saw at a step of a curve."""
        return without(self.view, self.removed(step, curve), self.fill, self.seed)


@overload
def faithfulness(
    model: Model,
    image: Image.Image,
    relevance: npt.NDArray[Any],
    target: TargetLike | None = ...,
    *,
    framing: Framing | None = ...,
    fill: str = ...,
    steps: int = ...,
    grid: tuple[int, int] | None = ...,
    seed: int = ...,
) -> Faithfulness: ...


@overload
def faithfulness(
    model: Model,
    image: Image.Image | Sequence[Image.Image],
    relevance: Sequence[npt.ArrayLike],
    target: TargetLike | Sequence[TargetLike | None] | None = ...,
    *,
    framing: Framing | None = ...,
    fill: str = ...,
    steps: int = ...,
    grid: tuple[int, int] | None = ...,
    seed: int = ...,
) -> list[Faithfulness]: ...


def faithfulness(
    model: Model,
    image: Image.Image | Sequence[Image.Image],
    relevance: npt.NDArray[Any] | Sequence[npt.ArrayLike],
    target: TargetLike | Sequence[TargetLike | None] | None = None,
    *,
    framing: Framing | None = None,
    fill: str = "blur",
    steps: int = 16,
    grid: tuple[int, int] | None = None,
    seed: int = 0,
) -> Faithfulness | list[Faithfulness]:
    """Answers of a model as a map's most important cells are removed, or alone restored.

    At step ``i`` of ``steps``, ``round(i · cells / steps)`` cells are removed (deletion) or
    restored (insertion), the most relevant first. All pictures of one call share batches; the
    two ends of both curves are computed once, so a pair of curves takes ``2 · steps`` pictures.

    Parameters
    ----------
    image
        A picture, or a list of pictures with a map for each.
    relevance : (rows, cols)
        The map of the whole view, on any grid: it is resized bilinearly to the grid
        of the removed cells. A list of maps may also be of one picture and gives a list.
    target
        The target, as in `core.explain`, for all or one per map; by default the most
        probable class of each picture.
    framing
        How pictures are fitted; by default as the model was evaluated. The map must be of the
        same view.
    fill, seed
        Fill of the removed cells; see `core.FILLS`.
    steps
        At least 1.
    grid
        Rows and columns of cells, for a transformer its ``grid((height, width))``; by
        default a transformer's own, and cells of about 14 pixels for other models.

    Raises
    ------
    ParameterError
        The map is not two-dimensional, constant or not finite, or another value is invalid.
    UnsupportedMethod
        The model has no classes.
    ImageError, BusyError, Stopped
    """
    maps: Sequence[npt.ArrayLike]
    if isinstance(image, Image.Image):
        is_list = isinstance(relevance, list | tuple) and np.ndim(relevance[:1]) > 2
        maps = list(relevance) if is_list else [relevance]  # type: ignore[list-item]
        images = [image] * len(maps)
    else:
        is_list, maps, images = True, list(relevance), list(image)
    if not images:
        raise ImageError("No picture was given; choose at least one.")
    if len(maps) != len(images):
        raise ParameterError(f"{len(maps)} maps were given for {len(images)} pictures.")
    targets = model.check_targets(target, len(images))
    cases = zip(images, maps, targets, strict=True)
    found = _measured(model, list(cases), framing, fill, steps, grid, seed)
    return found if is_list else found[0]


def faithfulness_stream(
    model: Model,
    cases: Iterable[Case],
    *,
    framing: Framing | None = None,
    fill: str = "blur",
    steps: int = 16,
    grid: tuple[int, int] | None = None,
    seed: int = 0,
) -> Iterator[Faithfulness]:
    """`faithfulness` of a stream of any length, in bounded memory and in the stream's order.

    Parameters
    ----------
    cases
        Picture and map, or picture, map and target; read `WINDOW` at a time.

    Raises
    ------
    As `faithfulness`.
    """
    stream = iter(cases)
    while window := list(islice(stream, WINDOW)):
        targets = model.check_targets([(*case, None)[2] for case in window], len(window))
        complete = [
            (image, relevance, target)
            for (image, relevance, *_), target in zip(window, targets, strict=True)
        ]
        yield from _measured(model, complete, framing, fill, steps, grid, seed)


def _measured(
    model: Model,
    cases: Sequence[tuple[Image.Image, npt.ArrayLike, Target | None]],
    framing: Framing | None,
    fill: str,
    steps: int,
    grid: tuple[int, int] | None,
    seed: int,
) -> list[Faithfulness]:
    """All pairs of curves, from passes that they share."""
    model.check_target(0)  # it has classes at all
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ParameterError(f"steps is {steps!r}, expected a whole number, at least 1.")
    if fill not in FILLS:
        raise ParameterError(f"The fill {fill!r} is unknown; choose one of {', '.join(FILLS)}.")
    fitted = {id(image): (model.view(image, framing), digest(image)) for image, _, _ in cases}
    jobs, maps = [], []
    for image, relevance, _ in cases:
        view, _ = fitted[id(image)]
        shape = removal_grid(model, (view.height, view.width), grid)
        ranked = _on_grid(relevance, shape)
        maps.append(ranked)
        deleted = _deleted(_order(ranked), _counts(ranked.size, steps))
        masks = np.concatenate([deleted, ~deleted[1:-1]])
        jobs.append(Removals(view, masks.reshape(-1, *shape), fill, seed))
    found: list[Any] = [None] * len(jobs)
    for place, logits in answers(model, jobs):
        image, _, asked = cases[place]
        target = ClassTarget(int(logits[0].argmax())) if asked is None else asked
        curve = target.probability(logits, model.answer)
        deletion = curve[: steps + 1]
        found[place] = Faithfulness(
            fractions=_counts(maps[place].size, steps) / maps[place].size,
            deletion=deletion,
            insertion=np.concatenate([deletion[-1:], curve[steps + 1 :], deletion[:1]]),
            order=_order(maps[place]),
            grid=(maps[place].shape[0], maps[place].shape[1]),
            relevance=maps[place],
            target=as_given(target),
            label=target.text(model.labels),
            fill=fill,
            seed=seed,
            view=jobs[place].view,
            picture_digest=fitted[id(image)][1],
            model_id=model.spec.id,
            weights_digest=model.weights_digest,
        )
    return found


def _on_grid(relevance: npt.ArrayLike, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A map on the removal grid, checked."""
    values = np.array(relevance, dtype=np.float32)  # a copy: a result must not change later on
    if values.ndim != 2 or not values.size:
        raise ParameterError(f"The map is {values.shape}, expected (rows, columns).")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise ParameterError(
            f"{wrong} of the map's {values.size} values are not finite, so they cannot be "
            "ordered; give a map of finite numbers."
        )
    resized = values if values.shape == grid else heatmaps.resize(values, grid)
    if resized.min() == resized.max():
        raise ParameterError(
            f"The map has the same value everywhere on {grid[0]} × {grid[1]} cells, so it has no "
            "order of removal; choose another map or class."
        )
    return resized


def _order(relevance: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Cells in falling order of relevance, ties in reading order."""
    return np.argsort(-relevance, axis=None, kind="stable")


def _counts(cells: int, steps: int) -> npt.NDArray[np.int64]:
    """Cells removed or restored at each step, (steps + 1,)."""
    return np.rint(np.arange(steps + 1) * cells / steps).astype(np.int64)


def _deleted(order: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Mask:
    """Whether each cell is among the first of an order: (counts, cells)."""
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    deleted: Mask = rank < counts[:, None]
    return deleted
