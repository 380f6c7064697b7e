"""Which model of a sweep is better, and whether a difference is more than chance.

Only pictures whose label is a class of the model count. Intervals are for another draw of pictures
of the same kind, not for other training runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from core.errors import SweepError
from core.sweep.store import Sweep

LEVEL = 0.95
"""Probability of the intervals."""

RESAMPLES = 4000
"""Draws of a bootstrap."""

BINS = 15
"""Bins of equal width of the expected calibration error (Guo et al. 2017, arXiv 1706.04599)."""

FIRST = 5
"""Answers among which the label counts as found."""

COLUMNS = ("index", "probability", "right", "label_log_probability", "label_rank")
"""Columns of ``answers`` that are read."""

Real = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A figure with its interval of 95 %.

    Attributes
    ----------
    value, low, high : float
        ``nan`` where nothing was counted.
    """

    value: float
    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Bin:
    """Answers of about the same probability.

    Attributes
    ----------
    low, high : float
        Bounds of the probability of the first answer.
    count : int
    confidence, accuracy : float
        Mean probability of the first answers, and the share that is right.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ModelMeasures:
    """How well a model answers the labeled pictures of a sweep.

    Attributes
    ----------
    model : str
        Id.
    count : int
        Pictures whose label is one of its classes.
    accuracy, first_five : Interval
        Share whose label is the first answer, and one of the first five; in [0, 1]. Percentile
        bootstrap over pictures.
    negative_log_likelihood : Interval
        Mean of ``−ln p(label)``; interval by Student's t.
    calibration_error : float
        Expected calibration error: mean of the bins' distance between confidence and accuracy,
        weighted by their counts.
    confidence_of_errors : float
        Mean probability of wrong first answers; ``nan`` without any.
    reliability : tuple of Bin
        Bins that are not empty.
    """

    model: str
    count: int
    accuracy: Interval
    first_five: Interval
    negative_log_likelihood: Interval
    calibration_error: float
    confidence_of_errors: float
    reliability: tuple[Bin, ...]


@dataclass(frozen=True)
class Difference:
    """Two models on the same pictures, the second minus the first.

    Attributes
    ----------
    first, second : str
        Ids of the models.
    count : int
        Pictures that both were measured on.
    only_first, only_second : int
        Pictures that only one answers rightly.
    accuracy : Interval
        Difference of accuracies, in [-1, 1]; percentile bootstrap over pictures, paired.
    negative_log_likelihood : Interval
        Mean difference; interval by Student's t of the pairs.
    """

    first: str
    second: str
    count: int
    only_first: int
    only_second: int
    accuracy: Interval
    negative_log_likelihood: Interval

    @property
    def is_real(self) -> bool:
        """Whether the interval of the difference of accuracies leaves zero out."""
        return self.accuracy.low > 0 or self.accuracy.high < 0


@dataclass(frozen=True)
class SweepMeasures:
    """What a sweep says of its models.

    Attributes
    ----------
    models : tuple of ModelMeasures
        In the order of the sweep.
    differences : tuple of Difference
        Of every two models.
    """

    models: tuple[ModelMeasures, ...]
    differences: tuple[Difference, ...]

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON; what could not be counted is ``None``."""
        found: dict[str, Any] = _without_nan(asdict(self))
        for one, difference in zip(found["differences"], self.differences, strict=True):
            one["is_real"] = difference.is_real
        return found


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model answered to labeled pictures, in the order of the sweep.

    Attributes
    ----------
    index : (pictures,) int64
    probability : (pictures,)
        Of the first answer.
    right : (pictures,) bool
    log_probability, rank : (pictures,)
        Of the label; ``nan`` in a sweep of an earlier version.
    """

    index: Whole
    probability: Real
    right: npt.NDArray[np.bool_]
    log_probability: Real
    rank: Real

    @classmethod
    def read(cls, columns: Mapping[str, Real]) -> Answers:
        """Of `COLUMNS` in double precision; pictures without a label are left out."""
        kept = np.flatnonzero(~np.isnan(columns["right"]))
        kept = kept[np.argsort(columns["index"][kept], kind="stable")]
        index, probability, right, log_probability, rank = (columns[one][kept] for one in COLUMNS)
        return cls(index.astype(np.int64), probability, right > 0, log_probability, rank)


def measures(sweep: Sweep, seed: int = 0) -> SweepMeasures:
    """Accuracy, likelihood and calibration of each model of a sweep, and paired differences.

    Parameters
    ----------
    sweep
        As `open_sweep` gives it; of an unfinished one the written parts count.
    seed
        Of the bootstrap.

    Raises
    ------
    SweepError
        No picture has a label that is a class of a model, or a part is damaged.
    """
    answers = _answers(sweep)
    if not any(len(one.index) for one in answers):
        raise SweepError(
            f"No picture of {sweep.folder.name} has a label that is a class of its models, so "
            "nothing can be right or wrong; sweep pictures in folders named as classes, or with a "
            "column of labels."
        )
    return measures_of(sweep.models, answers, seed)


def measures_of(models: Sequence[str], answers: Sequence[Answers], seed: int = 0) -> SweepMeasures:
    """`measures` of answers that were read elsewhere.

    Parameters
    ----------
    models
        Ids, one for each of ``answers``.
    """
    generator = np.random.default_rng(seed)
    named = list(zip(models, answers, strict=True))
    return SweepMeasures(
        tuple(_of_model(name, one, generator) for name, one in named),
        tuple(_difference(*first, *second, generator) for first, second in combinations(named, 2)),
    )


def drops(before: Sweep, after: Sweep, seed: int = 0) -> tuple[Difference, ...]:
    """Each model of a sweep against itself, or its namesake, in an earlier sweep.

    Pictures are matched by their paths in the two sources.

    Returns
    -------
    tuple of Difference
        Of the models that both have, ``after`` minus ``before``.

    Raises
    ------
    SweepError
        The sweeps have no model or no labeled picture in common.
    """
    common = [name for name in after.models if name in before.models]
    paths = [{item.path: item.index for item in sweep.items} for sweep in (before, after)]
    shared = sorted(paths[0].keys() & paths[1].keys())
    places = {paths[1][path]: paths[0][path] for path in shared}
    generator = np.random.default_rng(seed)
    olds, news = (dict(zip(one.models, _answers(one), strict=True)) for one in (before, after))
    found = []
    for name in common:
        old, new = olds[name], news[name]
        kept = np.array([index in places for index in new.index.tolist()], dtype=bool)
        renamed = np.array([places[index] for index in new.index[kept].tolist()], dtype=np.int64)
        matched = Answers(
            renamed,
            new.probability[kept],
            new.right[kept],
            new.log_probability[kept],
            new.rank[kept],
        )
        found.append(_difference(name, old, name, matched, generator))
    if not any(one.count for one in found):
        raise SweepError(
            f"{before.folder.name} and {after.folder.name} have no model with labeled pictures of "
            "the same paths in common, so no drop can be measured; sweep the same pictures again."
        )
    return tuple(found)


def _answers(sweep: Sweep) -> list[Answers]:
    """Of each model."""
    parts = [sweep.table(number, "answers", (*COLUMNS, "model")) for number in sweep.written]
    every = {
        name: np.concatenate([np.empty(0), *(_column(part, name) for part in parts)])
        for name in (*COLUMNS, "model")
    }
    found = []
    for number in range(len(sweep.models)):
        own = every["model"] == number
        found.append(Answers.read({name: values[own] for name, values in every.items()}))
    return found


def _column(part: Any, name: str) -> Real:
    """A column in double precision; null is ``nan``."""
    import pyarrow as pa

    found: Real = part[name].cast(pa.float64()).to_numpy()
    return found


def _of_model(name: str, of: Answers, generator: np.random.Generator) -> ModelMeasures:
    wrong = of.probability[~of.right]
    bins = _reliability(of)
    gaps = [one.count * abs(one.accuracy - one.confidence) for one in bins]
    return ModelMeasures(
        name,
        len(of.index),
        _share(of.right, generator),
        _share(of.rank < FIRST, generator) if not np.isnan(of.rank).any() else UNKNOWN,
        _mean(-of.log_probability),
        sum(gaps) / len(of.index) if len(of.index) else math.nan,
        float(wrong.mean()) if len(wrong) else math.nan,
        bins,
    )


def _reliability(of: Answers) -> tuple[Bin, ...]:
    edges = np.linspace(0.0, 1.0, BINS + 1)
    places = np.clip(np.digitize(of.probability, edges, right=True) - 1, 0, BINS - 1)
    found = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            found.append(
                Bin(
                    float(edges[place]),
                    float(edges[place + 1]),
                    int(inside.sum()),
                    float(of.probability[inside].mean()),
                    float(of.right[inside].mean()),
                )
            )
    return tuple(found)


def _difference(
    first: str, a: Answers, second: str, b: Answers, generator: np.random.Generator
) -> Difference:
    _, of_a, of_b = np.intersect1d(a.index, b.index, return_indices=True)
    right_a, right_b = a.right[of_a], b.right[of_b]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    count = len(right_a)
    drawn = _resampled([only_a, only_b, count - only_a - only_b], generator)
    likelihood = a.log_probability[of_a] - b.log_probability[of_b]
    return Difference(
        first,
        second,
        count,
        only_a,
        only_b,
        _interval((only_b - only_a) / count if count else math.nan, drawn[:, 1] - drawn[:, 0]),
        _mean(likelihood),
    )


def _share(hits: npt.NDArray[np.bool_], generator: np.random.Generator) -> Interval:
    count = int(hits.sum())
    drawn = _resampled([count, len(hits) - count], generator)
    return _interval(count / len(hits) if len(hits) else math.nan, drawn[:, 0])


def _resampled(counts: list[int], generator: np.random.Generator) -> Real:
    """Shares of a bootstrap: (draws, outcomes).

    Drawing pictures again with replacement is drawing the counts of their outcomes.
    """
    total = sum(counts)
    if not total:
        return np.full((1, len(counts)), math.nan)
    return generator.multinomial(total, np.array(counts) / total, RESAMPLES) / total


def _interval(value: float, drawn: Real) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def _mean(values: Real) -> Interval:
    if len(values) == 0:
        return UNKNOWN
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
