"""Tensors that a pass can record: one table for all kinds of network.

==========================  ==================================  ===================================
tap                         axes                                meaning
==========================  ==================================  ===================================
``stage.i``                 batch, channel, row, column         output of a stage (convolutional)
``block.i.input``           batch, token, channel               tokens that enter a block
``block.i.query``           batch, head, token, channel         queries as they enter attention
``block.i.key``             batch, head, token, channel         keys as they enter attention
``block.i.value``           batch, head, token, channel         values as they enter attention
``block.i.context``         batch, head, token, channel         output of each head, ``A·V``
``block.i.hidden``          batch, token, channel               hidden layer of the MLP
``block.i.output``          batch, token, channel               tokens that leave a block
``window.i.attention``      batch, head, row, column            attention received within windows
``head.input``              as ``stage.i`` or ``block.i.input``  input of pooling and classifier
==========================  ==================================  ===================================

Tokens are ordered prefix first, then patches row by row. Every `Model` lists its own taps, in the
order of computation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Projection = Literal["query", "key", "value"]
Part = Literal["input", "query", "key", "value", "context", "hidden", "output"]
Axes = tuple[Literal["batch", "head", "token", "channel", "row", "column"], ...]

HEAD_INPUT = "head.input"
MAP: Axes = ("batch", "channel", "row", "column")
TOKENS: Axes = ("batch", "token", "channel")
HEADS: Axes = ("batch", "head", "token", "channel")
HEADS_MAP: Axes = ("batch", "head", "row", "column")

MEANINGS: dict[Part, str] = {
    "input": "tokens that enter the block",
    "query": "queries as they enter the attention",
    "key": "keys as they enter the attention",
    "value": "values as they enter the attention",
    "context": "output of each head, before the output projection",
    "hidden": "hidden layer of the MLP, after its activation",
    "output": "tokens that leave the block",
}


@dataclass(frozen=True)
class Tap:
    """A tensor that a pass can record.

    Attributes
    ----------
    name
        As in the table above.
    axes
        Names of the tensor's axes.
    channels
        Size of the channel axis; per head where there is a head axis.
    meaning
        Description for users.
    heads
        Size of the head axis, 1 without one.
    """

    name: str
    axes: Axes
    channels: int
    meaning: str
    heads: int = 1

    @property
    def features(self) -> int:
        """Channels over all heads: the number of maps of this tap."""
        return self.heads * self.channels


@dataclass(frozen=True)
class Layer:
    """A stage of a convolutional network or a block of a transformer.

    Attributes
    ----------
    name
        ``"stage.3"`` or ``"block.7"``.
    channels
        Of its output.
    grid
        ``grid((height, width))`` in pixels gives (rows, columns) of its output.
    module
        Path of the module in the network.
    heads
        Heads of attention; 0 without any.
    """

    name: str
    channels: int
    grid: Callable[[tuple[int, int]], tuple[int, int]]
    module: str
    heads: int = 0


def block_tap(layer: int, part: Part) -> str:
    """Name of a tap of a transformer's block: ``block_tap(7, "query")`` is ``"block.7.query"``."""
    return f"block.{layer}.{part}"
