"""The attention for one picture: a transformer's recording as arrays."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import capacity
from core.errors import ParameterError, UnsupportedMethod
from core.frozen import read_only
from core.heatmaps import mass_mask, spikes
from core.images import Framing
from core.methods import attention_propagation as propagation
from core.models import Model, VisionTransformer
from core.models.taps import Projection
from core.models.transformer import softmax_attention
from core.numerics import own_state
from core.recording.batches import record
from core.recording.recording import Prediction, Recording
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording

Float = npt.NDArray[np.float32]
PROJECTIONS = get_args(Projection)


class Attention:
    """Attention maps of one picture, all layers and heads.

    Attributes
    ----------
    view : PIL.Image.Image
        What the model saw.
    grid : tuple of int
        Rows and columns of patches.
    prefix : int
        Tokens before the patches.
    layers, heads, channels : int
        Layers, heads per layer, channels per head.
    readout : Readout
        What the classifier reads, which decides the rows of attention shown by default.
    prediction : Prediction or None
        ``None`` for a model without classes.
    """

    def __init__(self, recording: TransformerRecording) -> None:
        model = recording.model
        self._recording = recording
        self.view = recording.views[0].image
        self.grid = recording.grid
        self.prefix = model.prefix
        self.layers = model.depth
        self.heads = model.heads
        self.channels = model.head_width
        self.readout = model.readout
        self.prediction: Prediction | None = (
            recording.predictions()[0] if recording.logits is not None else None
        )

    def tokens(self, layer: int, query: int | tuple[int, int] | None = None) -> Float:
        """One row of attention of a layer over *all* tokens, prefix first: (heads, tokens).

        Parameters
        ----------
        layer
            0 is the first.
        query
            ``None``: what the classifier reads (see `readout`). Otherwise a patch, by index in
            reading order or by (row, column).

        Returns
        -------
        (heads, tokens)
            Not negative; each row sums to 1.
        """
        if query is None:
            return _numpy(self._recording.readout_attention(layer)[0])
        position = self.prefix + self._patch(query)
        return _numpy(self._recording.attention(layer, slice(position, position + 1))[0, :, 0])

    def maps(self, layer: int, query: int | tuple[int, int] | None = None) -> Float:
        """Attention over the patches, (heads, rows, cols); see `tokens` for the arguments."""
        return self._to_grid(self.tokens(layer, query))

    def mosaic(self, query: int | tuple[int, int] | None = None) -> Float:
        """`maps` of every layer: (layers, heads, rows, cols)."""
        return np.stack([self.maps(layer, query) for layer in range(self.layers)])

    def matrix(self, layer: int, head: int) -> Float:
        """The full attention matrix of a head: (tokens, tokens), query by key, prefix first.

        Returns
        -------
        (tokens, tokens)
            Not negative; each row sums to 1.
        """
        self._check("layer", layer, self.layers)
        self._check("head", head, self.heads)
        recording = self._recording
        query, key = recording.projection(layer, "query"), recording.projection(layer, "key")
        one = slice(head, head + 1)
        bias, scale = recording.model.attention_bias(layer), recording.model.scale
        own = None if bias is None else bias[one]
        return _numpy(softmax_attention(query[:, one], key[:, one], scale, own)[0, 0])

    @property
    def mass_on_prefix(self) -> Float:
        """Attention mass on prefix tokens, which no map shows: (layers, heads) in [0, 1]."""
        rows = [self.tokens(layer) for layer in range(self.layers)]
        return np.stack([row[:, : self.prefix].sum(axis=-1) for row in rows])

    def received(self) -> Float:
        """Attention each patch receives from the patches, mean over layers, heads and queries.

        Returns
        -------
        (rows, cols)
            Not negative.
        """
        return _numpy(self._recording.received()[0])

    def artifacts(self) -> npt.NDArray[np.bool_]:
        """Patches that receive attention far beyond the rest and their neighbors: (rows, cols).

        In maps they look like evidence. Check for spikes on the displayed map as well
        (`Explanation.spikes`): not every spike of a map is a patch of this kind.
        """
        return spikes(self.received())

    def joints(self, fusion: str = "mean", discard: float = 0.0) -> Float:
        """Joint attention after every layer, (layers, rows, cols), in one sweep.

        The rollout product of Abnar & Zuidema 2020, stopped after each layer. The rows of all
        products travel together from the last layer to the first.
        """
        recording = self._recording
        recording.keep_attention()
        start = recording.readout_row()
        rows = start[:, :0]
        protect = recording.model.reads_class_token
        with capacity.admitted(), own_state():
            for layer in reversed(range(self.layers)):
                fused = propagation.discard(
                    propagation.fuse(recording.attention_in_turn(layer), fusion), discard, protect
                )
                rows = propagation.propagate(torch.cat([start, rows], dim=1), fused, "rows")
        return self._to_grid(_numpy(rows[0]))

    def joint(self, layer: int, fusion: str = "mean", discard: float = 0.0) -> Float:
        """Joint attention of layers 0 to ``layer``: (rows, cols)."""
        self._check("layer", layer, self.layers)
        after: Float = self.joints(fusion, discard)[layer]
        return after

    def mask(self, layer: int, mass: float = 0.6) -> npt.NDArray[np.bool_]:
        """Smallest set of patches that holds ``mass`` of each head's attention on patches.

        Returns
        -------
        (heads, rows, cols)
            Caron et al. 2021 (arXiv 2104.14294) show it with ``mass=0.6``.
        """
        if not 0.0 < mass <= 1.0:
            raise ParameterError(f"The mass is {mass}, expected above 0 and at most 1.")
        return mass_mask(self.maps(layer), mass)

    @own_state()
    def projection(self, kind: Projection, layer: int, head: int, channel: int) -> Float:
        """One channel of the queries, keys or values at each patch, through a sigmoid.

        Returns
        -------
        (rows, cols)
            In (0, 1): above one half is positive, below is negative.
        """
        if kind not in PROJECTIONS:
            raise ParameterError(
                f"Projection {kind!r} is unknown; choose {', '.join(PROJECTIONS)}."
            )
        self._check("head", head, self.heads)
        self._check("channel", channel, self.channels)
        tensor = self._recording.projection(layer, kind)
        return self._to_grid(_numpy(tensor[0, head, :, channel].sigmoid()))

    def _to_grid(self, tokens: Float) -> Float:
        patches: Float = tokens[..., self.prefix :].reshape(*tokens.shape[:-1], *self.grid)
        return patches

    def _patch(self, query: int | tuple[int, int]) -> int:
        rows, cols = self.grid
        if isinstance(query, tuple):
            self._check("row", query[0], rows)
            self._check("column", query[1], cols)
            return query[0] * cols + query[1]
        self._check("patch", query, rows * cols)
        return int(query)

    @staticmethod
    def _check(name: str, value: int, count: int) -> None:
        if not 0 <= value < count:
            raise ParameterError(f"The {name} is {value}, expected 0 to {count - 1}.")


def _numpy(tensor: Tensor) -> Float:
    # Without a copy this is the memory of a recording shared with other sessions.
    values: Float = read_only(tensor.detach().float().cpu().numpy())
    return values


def _of_one(model: Model, image: Image.Image | Recording, framing: Framing | None) -> Recording:
    if not isinstance(image, Recording):
        return record(model, image, framing)
    if len(image) != 1:
        raise ParameterError(
            f"The recording holds {len(image)} pictures, expected one; record each picture alone."
        )
    return image.of(model)


def attention(
    model: Model, image: Image.Image | Recording, framing: Framing | None = None
) -> Attention:
    """Attention maps of a vision transformer for one picture, from one forward pass.

    Parameters
    ----------
    image
        A picture, or a recording of one.

    Raises
    ------
    UnsupportedMethod
        The model is a convolutional network.
    """
    if not isinstance(model, VisionTransformer) and model.limits:
        raise UnsupportedMethod(
            f"{model.limits.removesuffix('.')}; choose a model whose attention can be shown."
        )
    if not isinstance(model, VisionTransformer):
        raise UnsupportedMethod(
            f"{model.spec.title} is a convolutional network and has no attention; choose a vision "
            "transformer."
        )
    recording = _of_one(model, image, framing)
    assert isinstance(recording, TransformerRecording)
    return Attention(recording)


def features(
    model: Model,
    image: Image.Image | Recording,
    tap: str,
    framing: Framing | None = None,
) -> Float:
    """Feature maps of one picture: every channel of a tap, laid out over the picture.

    Parameters
    ----------
    image
        A picture, or a recording of one.
    tap
        A name of ``model.taps``: a stage, or a block's queries, keys, values, hidden layer,
        output … Heads follow each other: feature ``h · channels + c`` is channel *c* of head *h*.

    Returns
    -------
    (features, rows, cols) float32
        Raw and signed; prefix tokens are left out.

    Raises
    ------
    ParameterError
        The model has no such tap.
    """
    model.tap(tap)
    if isinstance(image, Recording):
        recording = _of_one(model, image, framing)
    else:
        recording = record(model, image, framing, Needs([tap]))
    return _numpy(recording.on_grid(tap)[0])
