"""Changes of the whole picture, equal for all models, and how long the answer stays.

Shuffled and dropped patches are where convolutional networks and transformers differ most
(Naseer et al. 2021, "Intriguing properties of vision transformers", arXiv 2105.10497).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

from core.errors import ImageError, ParameterError
from core.evidence.removal import cells, removal_grid, without
from core.evidence.variants import Numbers, answers
from core.frozen import Frozen
from core.images import Framing
from core.models import Model
from core.targets import ClassTarget, Target, TargetLike, as_given


@dataclass(frozen=True)
class Change:
    """A way to change a picture as a whole.

    Attributes
    ----------
    title : str
    meaning : str
        Unit of the strength, for users.
    low, high : float
        Range of the strength; at ``low`` the picture stays as it is.
    strengths : tuple of float
        Default strengths of a curve.
    apply : callable
        ``apply(view, strength, seed, grid)`` gives the changed picture.
    whole : bool
        Whether strengths are whole numbers of tiles per side.
    """

    title: str
    meaning: str
    low: float
    high: float
    strengths: tuple[float, ...]
    apply: Callable[[Image.Image, float, int, tuple[int, int]], Image.Image]
    whole: bool = False

    def highest(self, view: Image.Image) -> float:
        """The highest strength for a picture: no more tiles a side than it has pixels."""
        return min(self.high, *view.size) if self.whole else self.high


def _shuffle(view: Image.Image, strength: float, seed: int, _: tuple[int, int]) -> Image.Image:
    """Cut into k × k equal tiles, which are permuted; pixels left over at the end stay."""
    k = int(strength)
    height, width = view.height // k, view.width // k
    pixels = np.asarray(view).copy()
    inner = pixels[: k * height, : k * width]
    tiles = inner.reshape(k, height, k, width, 3).swapaxes(1, 2).reshape(k * k, height, width, 3)
    order = np.random.default_rng(seed).permutation(k * k)
    moved = tiles[order].reshape(k, k, height, width, 3).swapaxes(1, 2)
    pixels[: k * height, : k * width] = moved.reshape(inner.shape)
    return Image.fromarray(pixels)


def _drop(view: Image.Image, strength: float, seed: int, grid: tuple[int, int]) -> Image.Image:
    """Blacken the first cells of a random order; a stronger drop blackens more of them."""
    rank = np.random.default_rng(seed).permutation(grid[0] * grid[1]).reshape(grid)
    return without(view, rank < round(strength * rank.size), "black")


def _blur(view: Image.Image, strength: float, _: int, __: tuple[int, int]) -> Image.Image:
    return view.filter(ImageFilter.GaussianBlur(strength * min(view.size)))


def _gray(view: Image.Image, strength: float, _: int, __: tuple[int, int]) -> Image.Image:
    return ImageEnhance.Color(view).enhance(1 - strength)


CHANGES: Mapping[str, Change] = {
    "shuffle": Change("Shuffled", "tiles a side", 1, 64, (1, 2, 4, 8, 16), _shuffle, whole=True),
    "drop": Change(
        "Patches dropped", "share of the patches", 0, 1, (0, 0.1, 0.3, 0.5, 0.7, 0.9), _drop
    ),
    "blur": Change(
        "Blurred",
        "standard deviation as share of the short side",
        0,
        0.25,
        (0, 1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8),
        _blur,
    ),
    "gray": Change(
        "Without color", "share of the color removed", 0, 1, (0, 0.25, 0.5, 0.75, 1), _gray
    ),
}
"""All ways to change a picture as a whole, by name."""


def changed(
    view: Image.Image,
    kind: str,
    strength: float,
    seed: int = 0,
    grid: tuple[int, int] | None = None,
) -> Image.Image:
    """A picture changed as a whole.

    Parameters
    ----------
    view
        What the model sees.
    kind
        ``"shuffle"``: cut into strength × strength equal tiles, which are permuted at random.
        ``"drop"``: a random share of the cells of ``grid`` is blackened. ``"blur"``: Gaussian, of
        this standard deviation as share of the short side. ``"gray"``: blended with its luminance.
    strength
        In the range that `CHANGES` states.
    seed
        Of the order of tiles or patches.
    grid
        Rows and columns of patches; by default about 14 pixels each.

    Raises
    ------
    ParameterError
        Unknown kind, or a strength out of range.
    """
    change = _checked(kind, [strength], view)
    view = view.convert("RGB")
    if strength == change.low:
        return view
    return change.apply(view, float(strength), seed, grid or cells((view.height, view.width)))


def _checked(kind: str, strengths: Sequence[float], view: Image.Image) -> Change:
    """The change of this name, if it accepts these strengths."""
    if kind not in CHANGES:
        raise ParameterError(f"The change {kind!r} is unknown; choose one of {', '.join(CHANGES)}.")
    change = CHANGES[kind]
    high = change.highest(view)
    for strength in strengths:
        is_number = isinstance(strength, int | float | np.number) and not isinstance(strength, bool)
        if not is_number or not change.low <= strength <= high or (change.whole and strength % 1):
            what = "a whole number" if change.whole else "a number"
            raise ParameterError(
                f"The strength of {kind} is {strength!r}, expected {what} from {change.low:g} to "
                f"{high:g}: {change.meaning}."
            )
    return change


@dataclass(frozen=True, eq=False)
class Robustness(Frozen):
    """How long a model's answer stays while the change of a picture grows.

    The answer is the most probable class; of a model of labels, which labels are above one half.

    Attributes
    ----------
    kind : str
        One of `CHANGES`.
    strengths : (n,) float64
    probabilities : (n,) float64
        Of the target, in [0, 1]; for a class rather than another as in `Faithfulness`.
    tops : (n,) int64
        Most probable class at each strength.
    intact : float
        Probability of the target in the unchanged picture.
    intact_top : int
        Most probable class of the unchanged picture.
    stays : (n,) bool
        Whether the answer is still that of the unchanged picture.
    target : int or Target
    label : str
        Index and name of the class, or another target.
    seed : int
    view : PIL.Image.Image
        The unchanged picture as the model saw it.
    """

    kind: str
    strengths: Numbers
    probabilities: Numbers
    tops: npt.NDArray[np.int64]
    intact: float
    intact_top: int
    stays: npt.NDArray[np.bool_]
    target: int | Target
    label: str
    seed: int
    view: Image.Image


@dataclass(frozen=True, eq=False)
class _Changes:
    """A view and its changed variants."""

    view: Image.Image
    kind: str
    strengths: tuple[float, ...]
    seed: int
    grid: tuple[int, int]

    def __len__(self) -> int:
        return 1 + len(self.strengths)

    def inputs(self, model: Model, part: slice) -> Tensor:
        strengths = (CHANGES[self.kind].low, *self.strengths)[part]
        views = [changed(self.view, self.kind, s, self.seed, self.grid) for s in strengths]
        return torch.cat([model.normalize(view) for view in views])


@overload
def robustness(
    model: Model,
    image: Image.Image,
    kind: str,
    strengths: Sequence[float] | None = ...,
    target: TargetLike | None = ...,
    *,
    framing: Framing | None = ...,
    grid: tuple[int, int] | None = ...,
    seed: int = ...,
) -> Robustness: ...


@overload
def robustness(
    model: Model,
    image: Sequence[Image.Image],
    kind: str,
    strengths: Sequence[float] | None = ...,
    target: TargetLike | Sequence[TargetLike | None] | None = ...,
    *,
    framing: Framing | None = ...,
    grid: tuple[int, int] | None = ...,
    seed: int = ...,
) -> list[Robustness]: ...


def robustness(
    model: Model,
    image: Image.Image | Sequence[Image.Image],
    kind: str,
    strengths: Sequence[float] | None = None,
    target: TargetLike | Sequence[TargetLike | None] | None = None,
    *,
    framing: Framing | None = None,
    grid: tuple[int, int] | None = None,
    seed: int = 0,
) -> Robustness | list[Robustness]:
    """Answers of a model for a picture that is changed with growing strength.

    Parameters
    ----------
    image
        A picture, or a list of pictures, which share batches; a list comes back.
    kind
        One of `CHANGES`; see `changed`.
    strengths
        By default those of `CHANGES`.
    target
        The target, as in `core.explain`, for all or one per picture; by default the most
        probable class of each.
    framing
        How pictures are fitted; by default as the model was evaluated.
    grid
        Rows and columns of patches that are dropped; by default as `core.faithfulness`.
    seed
        The same for all strengths: a stronger drop includes the patches of a weaker one.

    Raises
    ------
    ParameterError, UnsupportedMethod, ImageError, BusyError, Stopped
    """
    images = [image] if isinstance(image, Image.Image) else list(image)
    if not images:
        raise ImageError("No picture was given; choose at least one.")
    model.check_target(0)  # it has classes at all
    targets = model.check_targets(target, len(images))
    jobs = []
    for one in images:
        view = model.view(one, framing)
        change = _checked(kind, strengths or (), view)
        given = strengths
        if given is None:  # a small picture has no room for many tiles
            given = [s for s in change.strengths if s <= change.highest(view)]
        shape = removal_grid(model, (view.height, view.width), grid)
        jobs.append(_Changes(view, kind, tuple(given), seed, shape))
    found: list[Any] = [None] * len(jobs)
    for place, logits in answers(model, jobs):
        tops = logits.argmax(axis=-1)
        # The affirmed labels count; the most probable one may have fallen below one half.
        said = tops[:, None] if model.answer == "softmax" else logits > 0
        asked = targets[place]
        chosen = ClassTarget(int(tops[0])) if asked is None else asked
        curve = chosen.probability(logits, model.answer)
        found[place] = Robustness(
            kind=kind,
            strengths=np.array(jobs[place].strengths, dtype=np.float64),
            probabilities=curve[1:],
            tops=tops[1:],
            intact=float(curve[0]),
            intact_top=int(tops[0]),
            stays=(said[1:] == said[0]).all(axis=1),
            target=as_given(chosen),
            label=chosen.text(model.labels),
            seed=seed,
            view=jobs[place].view,
        )
    return found[0] if isinstance(image, Image.Image) else found
