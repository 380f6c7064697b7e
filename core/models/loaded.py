"""A network as loaded from a source of weights, before a family wraps it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import nn

from core.answers import Reading
from core.models.preprocessing import Preprocessing


class Loaded(NamedTuple):
    """A network with the data needed to use it.

    Attributes
    ----------
    digest
        SHA-256 of the file of the weights, or of its files' digests; empty where they
        came from no known file.
    answer
        How logits become probabilities, if the source states it; otherwise empty.
    remarks
        Choices made in reading a user's checkpoint, each a sentence.
    architecture
        Architecture of such a checkpoint, as in an entry.
    tensors
        Number of tensors loaded from the file, and of all tensors of the network.
    """

    module: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    digest: str = ""
    answer: Reading | Literal[""] = ""
    remarks: tuple[str, ...] = ()
    architecture: str = ""
    tensors: tuple[int, int] = (0, 0)
