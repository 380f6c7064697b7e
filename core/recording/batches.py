"""Pictures to recordings: one batch, or a stream of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from core import progress
from core.errors import ImageError
from core.images import Framing, digest
from core.models import Model, VisionTransformer
from core.models.convnet import ConvNet
from core.numerics import own_state
from core.recording.convolution import ConvolutionRecording
from core.recording.recording import Recording, View
from core.recording.run import Needs, fitting_batch, leaf_of
from core.recording.transformer import TransformerRecording

ON_CPU, ELSEWHERE = 4, 16
"""Most inputs in one pass, by device type.

Larger batches on a processor only evict each other from its caches; a picture takes twice as long
in a batch of 16 as in one of 4 with the embedded convolutional network. Short passes also let
other requests run sooner.
"""

WINDOW = 4 * ELSEWHERE
"""Pictures of a stream that are fitted ahead, so that those of equal size can share a pass."""


def usual_needs(model: Model) -> Needs:
    """Needs of all maps without an expensive gradient.

    Queries, keys and values of all blocks of a transformer; the input of the pooling of a
    convolutional network, with the graph from there to the logits, which is cheap.
    """
    return Needs(model.usual_taps, model.cheap_gradients)


def record(
    model: Model,
    images: Image.Image | Sequence[Image.Image],
    framing: Framing | None = None,
    needs: Needs | None = None,
) -> Recording:
    """Run one pass over pictures and record what is needed.

    Parameters
    ----------
    images
        One picture, or several of equal size after fitting.
    framing
        How they are fitted; by default as the model was evaluated.
    needs
        What the pass records; by default `usual_needs`. Other needs cost another pass
        on request.

    Raises
    ------
    ImageError
        No picture, pictures of several sizes, or more than the memory budget allows.
    ParameterError
        The model has no such tap.
    BusyError
        All slots for network passes were in use for too long.
    """
    is_batch = not isinstance(images, Image.Image)
    pictures = [images] if isinstance(images, Image.Image) else list(images)
    if not pictures:
        raise ImageError("No picture was given; choose at least one.")
    views = [_view(model, image, framing) for image in pictures]
    if len({view.image.size for view in views}) > 1:
        raise ImageError(
            "The fitted pictures have several sizes; a batch needs one, so choose the fit crop."
        )
    return _record(model, views, needs, is_batch)


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of a stream that shared a pass.

    Attributes
    ----------
    places : tuple of int
        Their indices in the stream, counted from 0.
    recording : Recording
    """

    places: tuple[int, ...]
    recording: Recording


def record_stream(
    model: Model,
    images: Iterable[Image.Image],
    framing: Framing | None = None,
    needs: Needs | None = None,
    most: int | None = None,
) -> Iterator[Batch]:
    """Record a stream of pictures of any length in bounded memory.

    Pictures of equal size after fitting share a pass if they are within `WINDOW` of
    each other. No recording is kept here: drop a batch before requesting the next.

    Parameters
    ----------
    most
        Most pictures in one pass, by default `most_of`; fewer where the memory budget requires it.
    """
    most = most_of(model) if most is None else most
    wanted = usual_needs(model) if needs is None else needs
    stream = enumerate(images)
    while window := list(islice(stream, max(WINDOW, most))):
        groups: dict[tuple[int, int], list[tuple[int, View]]] = {}
        for place, image in window:
            view = _view(model, image, framing)
            groups.setdefault(view.image.size, []).append((place, view))
        del window
        for (width, height), group in groups.items():
            gradients, leaf = bool(wanted.gradients), leaf_of(model, wanted)
            size = fitting_batch(model, (height, width), gradients, most, leaf)
            for start in range(0, len(group), size):
                part = group[start : start + size]
                views = [view for _, view in part]
                yield Batch(tuple(p for p, _ in part), _record(model, views, wanted, True))


def most_of(model: Model) -> int:
    """Most inputs that share a pass where this model runs, if memory allows."""
    return ON_CPU if model.device.type == "cpu" else ELSEWHERE


def portion(model: Model, size: tuple[int, int], gradients: bool = False) -> int:
    """Most inputs of (height, width) pixels that share a pass."""
    return fitting_batch(model, size, gradients, most_of(model))


def portions(
    model: Model, size: tuple[int, int], count: int, gradients: bool = False
) -> Iterator[Tensor]:
    """The numbers from 0 to ``count`` - 1 in portions of inputs that may share a pass.

    For methods with many variants of a picture; every portion is a step of
    `core.progress`.

    Parameters
    ----------
    size
        Height and width of the inputs in pixels.
    gradients
        Whether the passes keep a graph.
    """
    numbers = torch.arange(count, device=model.device, dtype=torch.int64)
    yield from progress.steps(torch.split(numbers, portion(model, size, gradients)))


def _view(model: Model, image: Image.Image, framing: Framing | None) -> View:
    framing = framing or Framing()
    return View(model.view(image, framing), digest(image), framing)


@own_state()
def _record(model: Model, views: Sequence[View], needs: Needs | None, is_batch: bool) -> Recording:
    pixels = torch.cat([model.normalize(view.image) for view in views])
    needs = usual_needs(model) if needs is None else needs
    if isinstance(model, VisionTransformer):
        return TransformerRecording(model, views, pixels, needs, is_batch)
    if isinstance(model, ConvNet):
        return ConvolutionRecording(model, views, pixels, needs, is_batch)
    return Recording(model, views, pixels, needs, is_batch)
