"""The layers that are compared by depth, and a set of pictures as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized

import torch
from PIL import Image
from torch import Tensor

from core import progress
from core.errors import ImageError, UnsupportedMethod
from core.images import Framing
from core.models import Model, VisionTransformer
from core.models.taps import HEAD_INPUT, block_tap
from core.numerics import own_state
from core.recording.batches import record_stream
from core.recording.recording import Recording
from core.recording.run import Needs
from core.recording.transformer import TransformerRecording

SEVERAL_SIZES = "The fitted pictures have several sizes; choose the fit crop."


def depth_taps(model: Model) -> tuple[str, ...]:
    """Taps of a model by depth, first to last.

    The tokens that enter the first block and leave each block of a transformer, the stages of a
    convolutional network; then the input of the classifier.

    Raises
    ------
    UnsupportedMethod
        The model has no layers that can be recorded.
    """
    if isinstance(model, VisionTransformer):
        first = (block_tap(0, "input"),)
        taps = first + tuple(block_tap(layer, "output") for layer in range(model.depth))
    else:
        taps = tuple(layer.name for layer in model.layers)
    taps += (HEAD_INPUT,) if HEAD_INPUT in model.taps else ()
    if not taps:
        raise UnsupportedMethod(
            f"{model.limits.removesuffix('.')}; choose a model whose layers can be shown."
        )
    return taps


def tap_of(model: Model, layer: str) -> str:
    """The tap that a layer leaves: itself, or ``block.7.output`` of ``block.7``.

    Raises
    ------
    ParameterError
        The model has no such layer.
    """
    output = f"{layer}.output"
    return output if output in model.taps else model.tap(layer).name


def transformer_of(model: Model, what: str) -> VisionTransformer:
    """The model, if it is a transformer with attention; `UnsupportedMethod` if not."""
    if isinstance(model, VisionTransformer):
        return model
    reason = model.limits.removesuffix(".") or f"{model.spec.title} is a convolutional network"
    raise UnsupportedMethod(f"{reason} and has no {what}; choose a vision transformer.")


def recorded(
    model: Model,
    images: Image.Image | Iterable[Image.Image],
    framing: Framing | None,
    needs: Needs,
) -> Iterator[tuple[tuple[int, ...], Recording]]:
    """Places and recording of each pass over a set of pictures; each is a step of progress.

    Raises
    ------
    ImageError
        There is no picture.
    """
    stream: Iterable[Image.Image] = [images] if isinstance(images, Image.Image) else images
    total, done = len(stream) if isinstance(stream, Sized) else 0, 0
    progress.step(0, total)
    for batch in record_stream(model, stream, framing, needs):
        yield batch.places, batch.recording
        done += len(batch.places)
        progress.step(done, max(done, total))
        del batch  # before the next pass runs
    if not done:
        raise ImageError("No picture was given; choose at least one.")


def embedding_taps(model: Model) -> tuple[str, ...]:
    """The tap of which `embeddings` are made; none for a network without taps."""
    return (HEAD_INPUT,) if HEAD_INPUT in model.taps else model.usual_taps[:1]


@own_state()
def embeddings(recording: Recording) -> Tensor:
    """Input of the classifier, (batch, channels).

    The mean over the last feature maps of a convolutional network, the tokens that a transformer's
    classifier reads; logits for a network without taps.
    """
    for tap in embedding_taps(recording.model):
        tensor = recording.tensor(tap)
        if isinstance(recording, TransformerRecording):
            return torch.einsum("bqt,btc->bc", recording.readout_row(), tensor)
        return tensor.mean(dim=(2, 3))
    assert recording.logits is not None
    return recording.logits


def by_place(parts: Sequence[tuple[tuple[int, ...], Tensor]]) -> Tensor:
    """Rows of several passes in the order of their pictures."""
    places = [place for places, _ in parts for place in places]
    order = sorted(range(len(places)), key=places.__getitem__)
    return torch.cat([rows for _, rows in parts])[order]
