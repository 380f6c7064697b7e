"""Logits to probabilities, in one place.

The classes of a softmax model share a total probability of 1; a sigmoid model has an independent
probability for each label. `Model.answer` says which, and all code that reads probabilities uses
this module.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Reading = Literal["softmax", "sigmoid"]
"""How a model's logits are read as probabilities."""

Values = TypeVar("Values", Tensor, npt.NDArray[Any])


def probabilities(logits: Values, answer: Reading) -> Values:
    """Probability of each class or label, in [0, 1].

    Parameters
    ----------
    logits : (..., classes)
        A tensor or an array; the result is of the same kind, shape and dtype.
    answer
        ``"softmax"``: over the last axis, so that its values sum to 1. ``"sigmoid"``: each alone.
    """
    if answer == "sigmoid":
        return sigmoid(logits)
    if isinstance(logits, Tensor):
        return torch.softmax(logits, dim=-1)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def log_probabilities(logits: Values, answer: Reading) -> Values:
    """Natural logarithm of `probabilities`, finite also where these are rounded to zero."""
    if isinstance(logits, Tensor):
        if answer == "sigmoid":
            return torch.nn.functional.logsigmoid(logits)
        return torch.log_softmax(logits, dim=-1)
    if answer == "sigmoid":
        return -np.logaddexp(logits.dtype.type(0), -logits)  # type: ignore[no-any-return]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]


def sigmoid(logits: Values) -> Values:
    """``1 / (1 + exp(−y))`` of each value, without overflow."""
    if isinstance(logits, Tensor):
        return torch.sigmoid(logits)
    return np.exp(log_probabilities(logits, "sigmoid"))  # type: ignore[no-any-return]
