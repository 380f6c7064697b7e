"""Targets of explanations: a class, a class rather than another, or the negation of a label.

A target is called on logits, (..., classes), and returns the explained scalar, (...).
Gradients are those of this scalar. Methods without gradients compare `Target.score`, curves of
removed parts show `Target.probability`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.answers import Reading, Values, log_probabilities, probabilities, sigmoid
from core.errors import ParameterError
from core.labels import named

Class = int | str
"""A class by its index or by its name."""


class Target(ABC):
    """The target of an explanation.

    Targets are frozen and hashable, and equal if they explain the same. One with class names must
    be `resolved` before it is called; `Model.check_target` does so.
    """

    @property
    @abstractmethod
    def indices(self) -> tuple[int, ...]:
        """Indices of the classes, the supported one first.

        Raises
        ------
        ParameterError
            A class is given by its name; it must be `resolved` first.
        """

    @abstractmethod
    def resolved(self, labels: Sequence[str], title: str) -> Target:
        """The same target for a model with these classes, by indices.

        Parameters
        ----------
        title
            Name of the model in error messages.

        Raises
        ------
        ParameterError
            The model does not have the class, or has several of this name.
        """

    @abstractmethod
    def __call__(self, logits: Values) -> Values:
        """The explained scalar, (...), of logits (..., classes)."""

    @abstractmethod
    def probability(self, logits: Values, answer: Reading) -> Values:
        """The probability of the target, (...) in [0, 1], for logits (..., classes)."""

    @abstractmethod
    def score(self, logits: Values, answer: Reading, *, log: bool = False) -> Values:
        """The score that methods without gradients compare, (...), for logits (..., classes).

        Parameters
        ----------
        log
            Whether a probability is compared by its logarithm.
        """

    @abstractmethod
    def text(self, labels: Sequence[str]) -> str:
        """Description for users."""

    @property
    def is_class(self) -> bool:
        """Whether the target is a single class, not negated."""
        return len(self.indices) == 1

    @property
    def is_difference(self) -> bool:
        """Whether two classes are compared."""
        return len(self.indices) == 2

    @property
    def of_labels(self) -> bool:
        """Whether the target requires a model of labels (sigmoid)."""
        return False

    @property
    def vanishes(self) -> bool:
        """Whether it is zero for all logits."""
        return False

    @property
    def key(self) -> str:
        """Name in caches and manifests: ``"281"``, ``"281-967"``."""
        return "-".join(map(str, self.indices))

    def content(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain data, from which `read_target` restores the target.

        Parameters
        ----------
        names
            Names of the classes in `indices`.
        """
        first, *others = (
            {"index": index, "name": name} for index, name in zip(self.indices, names, strict=True)
        )
        return {**first, "rather_than": others[0]} if others else first


@dataclass(frozen=True)
class ClassTarget(Target):
    """One class, or one label of several: its logit.

    Attributes
    ----------
    index : int or str
        Index or, until it is resolved, name.
    """

    index: Class

    @property
    def indices(self) -> tuple[int, ...]:
        return (_resolved(self.index),)

    def resolved(self, labels: Sequence[str], title: str) -> ClassTarget:
        return ClassTarget(_found(self.index, labels, title))

    def __call__(self, logits: Values) -> Values:
        return logits[..., _resolved(self.index)]

    def probability(self, logits: Values, answer: Reading) -> Values:
        return self(probabilities(logits, answer))

    def score(self, logits: Values, answer: Reading, *, log: bool = False) -> Values:
        """The class's probability, or its logarithm."""
        return self((log_probabilities if log else probabilities)(logits, answer))

    def text(self, labels: Sequence[str]) -> str:
        return labels[_resolved(self.index)]


@dataclass(frozen=True)
class RatherThan(Target):
    """A class rather than another: the difference of their logits; see `rather_than`."""

    first: Class
    second: Class

    def __repr__(self) -> str:
        return f"core.rather_than({self.first!r}, {self.second!r})"

    @property
    def indices(self) -> tuple[int, ...]:
        return _resolved(self.first), _resolved(self.second)

    @property
    def vanishes(self) -> bool:
        return self.first == self.second

    def resolved(self, labels: Sequence[str], title: str) -> RatherThan:
        return RatherThan(*(_found(one, labels, title) for one in (self.first, self.second)))

    def __call__(self, logits: Values) -> Values:
        first, second = self.indices
        difference: Values = logits[..., first] - logits[..., second]
        return difference

    def probability(self, logits: Values, answer: Reading) -> Values:
        """``σ(y_a − y_b)``: of the first class, given one of the two.

        With softmax this is ``p_a / (p_a + p_b)``.
        """
        return sigmoid(self(logits))

    def score(self, logits: Values, answer: Reading, *, log: bool = False) -> Values:
        """The difference of the logits, which softmax keeps: ``log p_a − log p_b = y_a − y_b``."""
        return self(logits)

    def text(self, labels: Sequence[str]) -> str:
        return " rather than ".join(labels[index] for index in self.indices)


@dataclass(frozen=True)
class NotLabel(Target):
    """The negation of a label: its negated logit; see `not_label`."""

    index: Class

    def __repr__(self) -> str:
        return f"core.not_label({self.index!r})"

    @property
    def indices(self) -> tuple[int, ...]:
        return (_resolved(self.index),)

    @property
    def is_class(self) -> bool:
        return False

    @property
    def of_labels(self) -> bool:
        return True

    @property
    def key(self) -> str:
        return f"not-{self.indices[0]}"

    def resolved(self, labels: Sequence[str], title: str) -> NotLabel:
        return NotLabel(_found(self.index, labels, title))

    def __call__(self, logits: Values) -> Values:
        return -logits[..., _resolved(self.index)]

    def probability(self, logits: Values, answer: Reading) -> Values:
        """``σ(−y) = 1 − σ(y)``."""
        return sigmoid(self(logits))

    def score(self, logits: Values, answer: Reading, *, log: bool = False) -> Values:
        """The probability that the label does not hold, or its logarithm."""
        return (log_probabilities if log else probabilities)(self(logits), "sigmoid")

    def text(self, labels: Sequence[str]) -> str:
        return f"not {labels[_resolved(self.index)]}"

    def content(self, names: Sequence[str]) -> dict[str, Any]:
        return {**super().content(names), "opposite": True}


TargetLike = Class | Target
"""Accepted targets: index of a class, name of a class, or a target."""


def rather_than(target: Class, other: Class) -> Target:
    """A class rather than another as target: the difference of their logits.

    Maps show evidence for the first class rather than the second. The target is zero
    if both are the same class.

    Parameters
    ----------
    target, other
        Index or name of each.

    Raises
    ------
    ParameterError
        Neither an index nor a name.
    """
    return RatherThan(_checked(target), _checked(other))


def not_label(target: Class) -> Target:
    """The negation of a label as target, for models of labels (sigmoid).

    Its scalar is the negated logit ``−y``, its probability ``σ(−y) = 1 − σ(y)``: maps show evidence
    against the label. Classes of a softmax model have no negation;
    use `rather_than` for them.

    Parameters
    ----------
    target
        Index or name of the label.

    Raises
    ------
    ParameterError
        Neither an index nor a name.
    """
    return NotLabel(_checked(target))


def as_target(value: Any) -> Target:
    """A target from any accepted value.

    Raises
    ------
    ParameterError
        It is neither an index, nor a name, nor a target.
    """
    return value if isinstance(value, Target) else ClassTarget(_checked(value))


def as_given(target: Target) -> int | Target:
    """A target in the form of results: index of a class, or the target itself."""
    return target.indices[0] if target.is_class else target


def read_target(content: Mapping[str, Any] | None) -> int | Target | None:
    """The target in a manifest, for `core.explain`.

    Parameters
    ----------
    content
        The value of ``"class"`` in `Explanation.manifest`, of this or an earlier version; ``None``
        for a map that does not depend on the class.

    Raises
    ------
    ParameterError
        The content is invalid.
    """
    if content is None:
        return None
    try:
        first, other = content["index"], content.get("rather_than")
        if other is not None:
            return rather_than(first, other["index"])
        if content.get("opposite"):
            return not_label(first)
        return as_given(as_target(first))
    except (KeyError, TypeError, AttributeError) as error:
        raise ParameterError(
            f"The class of a manifest is {content!r}, expected its index, and that of another "
            "class in rather_than if the two were compared; write the manifest again."
        ) from error


def asked(targets: Sequence[Target]) -> str:
    """Description of targets for an error message: a class or the difference of two."""
    differ = any(target.is_difference for target in targets)
    return "this difference of two classes" if differ else "this class"


def of_each(
    targets: Sequence[Target], logits: Tensor, value: Callable[[Target, Tensor], Tensor]
) -> Tensor:
    """Values of each row's target on that row.

    Parameters
    ----------
    targets
        One for each row.
    logits : (batch, classes)
    value
        ``value(target, logits)``, (rows,) of some of the rows.

    Returns
    -------
    (batch,)
    """
    if len(set(targets)) == 1:
        return value(targets[0], logits)
    return torch.cat([value(one, logits[i : i + 1]) for i, one in enumerate(targets)])


def _checked(value: Any) -> Class:
    """An index as an ``int``, or a name."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ParameterError(
            f"The class is {value!r}, expected an index (a whole number), a name, or a target such "
            "as core.rather_than(281, 967)."
        )
    return int(value)


def _resolved(index: Class) -> int:
    if isinstance(index, str):
        raise ParameterError(
            f"The class {index!r} is given by its name, whose index depends on the model; give "
            "model.check_target(…) instead."
        )
    return index


def _found(wanted: Class, labels: Sequence[str], title: str) -> int:
    """Index of a class of a model."""
    if not isinstance(wanted, str):
        if not 0 <= wanted < len(labels):
            raise ParameterError(
                f"Class {wanted} is unknown to {title}; choose an index from 0 to "
                f"{len(labels) - 1}."
            )
        return wanted
    found = named(labels, wanted)
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(map(str, found[:6]))
        raise ParameterError(
            f"{len(found)} classes of {title} are called {wanted!r}; choose one of the indices "
            f"{places}."
        )
    near = [label for label in labels if wanted.casefold() in label.casefold()]
    near = [*sorted(near, key=len)[:3], *get_close_matches(wanted, labels, n=3, cutoff=0.6)][:3]
    hint = (
        f"did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?"
        if near
        else ("choose a name of model.labels, or an index.")
    )
    raise ParameterError(f"Class {wanted[:80]!r} is unknown to {title}; {hint}")
