"""Everything the attention of one picture shows, from one recorded pass."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import flow
from core.admission import admitted
from core.errors import ParameterError
from core.heatmaps import mass_mask, spikes
from core.images import Framing
from core.models import Model
from core.models.base import Projection
from core.recordings import Prediction, Recording, record

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
    prediction : Prediction or None
        ``None`` for a model without classes.
    """

    def __init__(self, recording: Recording) -> None:
        model = recording.transformer
        self._recording = recording
        self.view = recording.views[0]
        self.grid = recording.grid
        self.prefix = model.prefix
        self.layers = model.depth
        self.heads = model.heads
        self.channels = model.width // model.heads
        self.reads_class_token = model.reads_class_token
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
            ``None``: what the class head reads (class token, or the mean over patches). Otherwise
            a patch, by index in reading order or by (row, column).

        Returns
        -------
        (heads, tokens)
            Not negative; each row sums to 1.
        """
        if query is None:
            return _numpy(self._recording.readout_attention(layer)[0])
        position = self.prefix + self._patch(query)
        queries, keys = self._recording.queries_keys(layer)
        scores = queries[0, :, position : position + 1] @ keys[0].transpose(-2, -1)
        return _numpy((scores * self.channels**-0.5).softmax(-1)[:, 0])

    def maps(self, layer: int, query: int | tuple[int, int] | None = None) -> Float:
        """Attention over the patches, (heads, rows, cols); see `tokens` for the arguments."""
        return self._to_grid(self.tokens(layer, query))

    def mosaic(self, query: int | tuple[int, int] | None = None) -> Float:
        """`maps` of every layer: (layers, heads, rows, cols)."""
        return np.stack([self.maps(layer, query) for layer in range(self.layers)])

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
        total = torch.zeros(self.grid[0] * self.grid[1], device=self._recording.pixels.device)
        for layer in range(self.layers):
            for head in self._recording.heads(layer):
                total += head[0, :, self.prefix :, self.prefix :].mean(dim=1).sum(dim=0)
        mean: Float = _numpy(total / (self.layers * self.heads)).reshape(self.grid)
        return mean

    def artifacts(self) -> npt.NDArray[np.bool_]:
        """Patches that gather attention far beyond the rest and their neighbors: (rows, cols).

        Such patches serve the model as scratch space (Darcet et al. 2023, arXiv 2309.16588); in
        maps they look like findings.
        """
        return spikes(self.received())

    def joints(self, fusion: flow.Fusion = "mean", discard: float = 0.0) -> Float:
        """Joint attention after every layer, (layers, rows, cols), in one sweep.

        The rollout product of Abnar & Zuidema 2020, stopped after each layer. The rows of all
        products travel together from the last layer to the first.
        """
        recording = self._recording
        start = recording.readout_row()
        rows = start[:, :0]
        with admitted(), torch.no_grad():
            for layer in reversed(range(self.layers)):
                fused = flow.fuse(recording.heads(layer), fusion)
                fused = flow.discard(fused, discard, self.reads_class_token)
                rows = flow.propagate(torch.cat([start, rows], dim=1), fused, "rows")
        return self._to_grid(_numpy(rows[0]))

    def joint(self, layer: int, fusion: flow.Fusion = "mean", discard: float = 0.0) -> Float:
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
    values: Float = tensor.detach().float().cpu().numpy()
    return values


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
    if isinstance(image, Recording):
        return Attention(image.single(model))
    return Attention(record(model, image, framing))
