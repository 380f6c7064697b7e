"""A network as a source of weights gives it, before a family looks inside."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import nn

from core.answers import Reading
from core.models.preprocessing import Preprocessing


class Loaded(NamedTuple):
    """A network with what is needed to use it.

    Attributes
    ----------
    digest
        SHA-256 of the file that the weights came from, or of its files' digests; empty where they
        came from no known file.
    answer
        How the source says that logits are read; empty where it does not.
    remarks
        What was chosen in reading a checkpoint of one's own, each a sentence.
    architecture
        What such a checkpoint was read as, as an entry calls it.
    tensors
        How many of its tensors the network got, and how many it has.
    """

    module: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    digest: str = ""
    answer: Reading | Literal[""] = ""
    remarks: tuple[str, ...] = ()
    architecture: str = ""
    tensors: tuple[int, int] = (0, 0)
