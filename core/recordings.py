"""One forward pass over a batch of pictures, and everything that can be read off it.

A `Recording` serves every picture that needs no gradient (CAM, rollout, each layer, each head,
queries, keys, values) without running the network again. Gradients are computed on demand and
remembered per target.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import probes
from core.admission import admitted
from core.errors import ImageError, ParameterError, UnsupportedMethod
from core.images import Framing
from core.models import Model, VisionTransformer
from core.models.base import Projection
from core.models.convnet import ConvNet

REMEMBERED_GRADIENTS = 4
"""Targets whose gradients one recording keeps, least recently used dropped first."""

AT_A_TIME = {"cpu": 4 * 2**20, "cuda": 256 * 2**20, "mps": 64 * 2**20}
"""Bytes of attention that are rebuilt at once; on a CPU what fits into its cache is fastest."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The most probable classes of one picture.

    Attributes
    ----------
    indices : (k,) int
    labels : tuple of str
    probabilities : (k,) float32 in [0, 1], falling
    logits : (classes,) float32
    """

    indices: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]

    @property
    def top(self) -> int:
        """Index of the most probable class."""
        return int(self.indices[0])

    def probability(self, target: int) -> float:
        """Probability of any class, in [0, 1]."""
        shifted = np.exp(self.logits - self.logits.max())
        return float(shifted[target] / shifted.sum())


@dataclass(frozen=True)
class GradientRequest:
    """Which gradients a method needs.

    Attributes
    ----------
    taps
        Probes in forward order; the graph begins at the first.
    outputs
        If given, one probe per tap whose mean token, sent through the final norm and head,
        is the score of that tap (LeGrad). Otherwise the score is the class logit.
    """

    taps: tuple[str, ...]
    outputs: tuple[str, ...] = ()


class Recording:
    """What one pass over a batch of equally large pictures left behind.

    Attributes
    ----------
    model : Model
    views : tuple of PIL.Image.Image
        What the model saw, one per picture.
    pixels : Tensor
        (batch, 3, height, width), the model's input.
    logits : Tensor or None
        (batch, classes); ``None`` for a model without classes.
    tensors : dict of str to Tensor
        By probe name, without graph.
    seconds : float
        Wall time of the forward pass.
    """

    def __init__(
        self,
        model: Model,
        views: Sequence[Image.Image],
        pixels: Tensor,
        names: Sequence[str],
        request: GradientRequest | None = None,
    ) -> None:
        self.model = model
        self.views = tuple(views)
        self.pixels = pixels
        self._lock = threading.Lock()
        self._gradients: OrderedDict[tuple[GradientRequest, tuple[int, ...]], dict[str, Tensor]]
        self._gradients = OrderedDict()
        self._graph: tuple[GradientRequest, Tensor, dict[str, Tensor]] | None = None
        with admitted():  # waiting for a place is not the network's time
            started = time.perf_counter()
            output, seen = self._forward(names, request)
            _synchronize(model.device)
            self.seconds = time.perf_counter() - started
        if request is not None:
            self._graph = (request, output, seen)
        self.logits = output.detach() if model.classes else None
        self.tensors = {name: seen[name].detach() for name in names}

    def _forward(
        self, names: Sequence[str], request: GradientRequest | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        taps = (*request.taps, *request.outputs) if request else ()
        recorder = probes.Recorder({*names, *taps}, leaf=request.taps[0] if request else None)
        gradient = torch.enable_grad() if request else torch.no_grad()
        with admitted(), gradient, probes.recording(recorder):
            return self.model.score(self.pixels), recorder.tensors

    def __len__(self) -> int:
        return len(self.views)

    def single(self, model: Model) -> Recording:
        """This recording, if it is of ``model`` and of one picture.

        Raises
        ------
        ParameterError
            It is not.
        """
        if self.model is not model:
            raise ParameterError("The recording was made with another model; record it anew.")
        if len(self) != 1:
            raise ParameterError(
                f"The recording holds {len(self)} pictures, expected one; record each alone."
            )
        return self

    @property
    def transformer(self) -> VisionTransformer:
        """The model, if it has attention.

        Raises
        ------
        UnsupportedMethod
            It is a convolutional network.
        """
        if not isinstance(self.model, VisionTransformer):
            raise UnsupportedMethod(
                f"{self.model.spec.title} is a convolutional network and has no attention; "
                "choose a vision transformer."
            )
        return self.model

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches (transformers only)."""
        height, width = self.pixels.shape[-2:]
        return self.transformer.grid((height, width))

    def predictions(self, k: int = 5) -> list[Prediction]:
        """The ``k`` most probable classes of each picture."""
        if self.logits is None:
            raise UnsupportedMethod(
                f"{self.model.spec.title} was trained without classes and predicts none."
            )
        logits = self.logits.float().cpu()
        values, indices = logits.softmax(-1).topk(min(k, self.model.classes), dim=-1)
        return [
            Prediction(
                indices=index.numpy(),
                labels=tuple(self.model.label(int(i)) for i in index),
                probabilities=value.numpy(),
                logits=row.numpy(),
            )
            for index, value, row in zip(indices, values, logits, strict=True)
        ]

    def activations(self, name: str) -> Tensor:
        """Output of a layer of a convolutional network: (batch, channels, height, width)."""
        with self._lock:
            if name not in self.tensors:
                _, _, seen = self._graph_of(GradientRequest((name,)))
                self.tensors[name] = seen[name].detach()
            return self.tensors[name]

    # -- attention --------------------------------------------------------------------------

    def queries_keys(self, layer: int) -> tuple[Tensor, Tensor]:
        """Queries and keys of a layer, each (batch, heads, tokens, channels)."""
        return self._recorded(layer, values=False).queries_keys(self.tensors, layer)

    def values(self, layer: int) -> Tensor:
        """Values of a layer: (batch, heads, tokens, channels)."""
        return self._recorded(layer, values=True).values(self.tensors, layer)

    def projection(self, layer: int, kind: Projection) -> Tensor:
        """Queries, keys or values of a layer: (batch, heads, tokens, channels)."""
        model = self._recorded(layer, values=kind == "value")
        return model.projection(self.tensors, layer, kind)

    def _recorded(self, layer: int, values: bool) -> VisionTransformer:
        model = self.transformer
        if not 0 <= layer < model.depth:
            raise ParameterError(
                f"Layer {layer} does not exist in {model.spec.title}; "
                f"choose 0 to {model.depth - 1}."
            )
        kinds = (True,) if values else (True, False)
        names = [model.attention_names(layer, kind) for kind in kinds]
        if not any(all(name in self.tensors for name in needed) for needed in names):
            what = f"The values of layer {layer} were" if values else f"Layer {layer} was"
            raise ParameterError(f"{what} not recorded in this pass; record it anew.")
        return model

    def in_turn(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Split (batch, heads, tokens, channels) so that the attention of a part stays small."""
        batch, _, tokens, _ = tensor.shape
        count = max(1, AT_A_TIME[tensor.device.type] // (4 * batch * tokens**2))
        return tuple(torch.split(tensor, count, dim=1))

    def heads(self, layer: int) -> Iterator[Tensor]:
        """Attention of a layer after the softmax, a few heads at a time.

        Yields
        ------
        (batch, some heads, query, key)
            Rows sum to 1. On a large grid one head is all that exists at a time.
        """
        queries, keys = self.queries_keys(layer)
        for query, key in zip(self.in_turn(queries), self.in_turn(keys), strict=True):
            yield _softmax_attention(query, key)

    def attention(self, layer: int) -> Tensor:
        """Attention of a layer after the softmax: (batch, heads, query, key), rows sum to 1."""
        return torch.cat(list(self.heads(layer)), dim=1)

    def readout_attention(self, layer: int) -> Tensor:
        """The row of attention that the class head reads from: (batch, heads, key).

        The class token's row, or the mean over the patches' rows where the head reads patches.
        """
        query, key = self.queries_keys(layer)
        if self.transformer.reads_class_token:
            return _softmax_attention(query[:, :, :1], key)[:, :, 0]
        return _softmax_attention(query[:, :, self.transformer.prefix :], key).mean(dim=2)

    def readout_row(self) -> Tensor:
        """Where the product of a rollout is read: (batch, 1, tokens), sums to 1."""
        model, (rows, cols) = self.transformer, self.grid
        start = torch.zeros(len(self), 1, model.prefix + rows * cols, device=self.pixels.device)
        if model.reads_class_token:
            start[..., 0] = 1.0
        else:
            start[..., model.prefix :] = 1.0 / (rows * cols)
        return start

    def to_grid(self, tokens: Tensor) -> Tensor:
        """Drop the prefix of (..., tokens) and lay the rest out as (..., rows, cols)."""
        patches = tokens[..., self.transformer.prefix :]
        return patches.reshape(*patches.shape[:-1], *self.grid)

    # -- gradients --------------------------------------------------------------------------

    def gradients(self, request: GradientRequest, targets: Sequence[int]) -> dict[str, Tensor]:
        """Gradient of the score of each picture's target at every tap of ``request``.

        Parameters
        ----------
        targets
            One class index per picture.

        Returns
        -------
        dict of str to Tensor
            Shaped like the tapped tensors.
        """
        key = (request, tuple(targets))
        with self._lock:
            if key in self._gradients:
                self._gradients.move_to_end(key)
            else:
                self._gradients[key] = self._backward(request, targets)
                while len(self._gradients) > REMEMBERED_GRADIENTS:
                    self._gradients.popitem(last=False)
            return self._gradients[key]

    def _backward(self, request: GradientRequest, targets: Sequence[int]) -> dict[str, Tensor]:
        _, output, seen = self._graph_of(request)
        picked = torch.arange(len(self)), torch.tensor(list(targets))
        taps = [seen[name] for name in request.taps]
        with admitted(), torch.enable_grad():
            if not request.outputs:
                found = torch.autograd.grad(output[picked].sum(), taps, retain_graph=True)
                return dict(zip(request.taps, found, strict=True))
            gradients = {}
            for name, tap, layer_output in zip(request.taps, taps, request.outputs, strict=True):
                mean_token = seen[layer_output].mean(dim=1)
                score = self.transformer.readout(mean_token)[picked].sum()
                (gradients[name],) = torch.autograd.grad(score, tap, retain_graph=True)
            return gradients

    def _graph_of(
        self, request: GradientRequest
    ) -> tuple[GradientRequest, Tensor, dict[str, Tensor]]:
        """The pass whose graph begins at the request's first tap; run now if it is not at hand."""
        if self._graph is None or self._graph[0] != request:
            self._graph = (request, *self._forward((), request))
        return self._graph

    def release(self) -> None:
        """Let go of the gradient graph; gradients computed so far stay."""
        with self._lock:
            if self._graph is not None and isinstance(self.model, VisionTransformer):
                self._graph = None


def _softmax_attention(query: Tensor, key: Tensor) -> Tensor:
    """``softmax(q kᵀ / √channels)`` of (batch, heads, tokens, channels)."""
    scores = torch.baddbmm(
        query.new_empty(1, 1, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        beta=0,
        alpha=query.shape[-1] ** -0.5,
    )
    return scores.softmax(dim=-1).reshape(*query.shape[:3], key.shape[2])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def record(
    model: Model,
    images: Sequence[Image.Image] | Image.Image,
    framing: Framing | None = None,
    *,
    layers: Sequence[int] | None = None,
    values: bool = True,
    request: GradientRequest | None = None,
) -> Recording:
    """Run one pass over pictures and keep what explanations need.

    Parameters
    ----------
    images
        One picture or several that are equally large once fitted.
    framing
        How they are fitted; by default as the model was evaluated.
    layers
        Layers of a transformer to keep; all by default. Fewer need less memory.
    values
        Whether to keep the values beside queries and keys. Attention and rollout do without, which
        saves a third of what is kept in most families; gradients and value pictures do not.
    request
        Gradients that are certain to be asked for: their graph is built in this same pass.

    Raises
    ------
    ImageError
        No picture, or pictures of several sizes.
    """
    images = [images] if isinstance(images, Image.Image) else list(images)
    if not images:
        raise ImageError("There is no picture to look at; choose at least one.")
    views = [model.view(image, framing) for image in images]
    if len({view.size for view in views}) > 1:
        raise ImageError(
            "The fitted pictures have several sizes; a batch needs one, so choose the fit crop."
        )
    pixels = torch.cat([model.normalize(view) for view in views])
    if isinstance(model, VisionTransformer):
        kept = range(model.depth) if layers is None else layers
        names = [name for layer in kept for name in model.attention_names(layer, values)]
    else:
        # The graph from the features on is only the pooling and the head, so it is always built.
        names = [ConvNet.FEATURES]
        request = request or GradientRequest((ConvNet.FEATURES,))
    return Recording(model, views, pixels, names, request)
