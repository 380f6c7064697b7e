"""A network as a source of weights gives it, before a family looks inside."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from core.models.preprocessing import Preprocessing


class Loaded(NamedTuple):
    """A network with what is needed to use it.

    Attributes
    ----------
    digest
        SHA-256 of the file that the weights came from, or of its files' digests; empty where they
        came from no known file.
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
    remarks: tuple[str, ...] = ()
    architecture: str = ""
    tensors: tuple[int, int] = (0, 0)
