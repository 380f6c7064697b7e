"""What changes in the answers without a head or a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import probes, progress
from core.answers import probabilities
from core.errors import ImageError, ParameterError, UnsupportedMethod
from core.frozen import Frozen
from core.images import Framing
from core.layerwise.layers import transformer_of
from core.models import Model, VisionTransformer
from core.models.taps import block_tap
from core.numerics import own_state
from core.recording.batches import record_stream
from core.recording.recording import Recording
from core.recording.run import Needs, run

Float = npt.NDArray[np.float32]
Part = int | str | tuple[int, int]
"""A block by number or name, or a head as (layer, head)."""

Fill = Literal["zero", "mean"]
ABLATIONS: dict[str, str] = {
    "zero": "its contribution is zero",
    "mean": "its contribution is the mean over all pictures and patches",
}
"""What takes the place of a removed head or block."""


@dataclass(frozen=True, eq=False)
class Ablation(Frozen):
    """Answers of a model without some of its parts.

    Attributes
    ----------
    model_id, weights_digest : str
    parts : tuple of str
        What was removed in each experiment, such as ``"block.3"`` or ``"block.3, head 2"``.
    shape : tuple of int
        (layers, heads) or (layers,) where every head or block was removed in turn; else (1,).
    fill : str
        One of `ABLATIONS`.
    intact : (pictures,) int64
        First answer of the whole model.
    probability : (pictures,) float32
        Its probability, in [0, 1].
    answers : (parts, pictures) int64
        First answer without the part.
    probabilities : (parts, pictures) float32
        Probability of the answer ``intact`` without the part.
    """

    model_id: str
    weights_digest: str
    parts: tuple[str, ...]
    shape: tuple[int, ...]
    fill: str
    intact: npt.NDArray[np.int64]
    probability: Float
    answers: npt.NDArray[np.int64]
    probabilities: Float

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Whether the first answer is another one without the part: (parts, pictures)."""
        found: npt.NDArray[np.bool_] = self.answers != self.intact
        return found

    @property
    def share_changed(self) -> Float:
        """Share of pictures whose first answer changes, in [0, 1], in `shape`."""
        found: Float = self.changed.mean(axis=1).astype(np.float32).reshape(self.shape)
        return found

    @property
    def drop(self) -> Float:
        """How much less probable the first answer is, mean over pictures, in `shape`."""
        lost = self.probability - self.probabilities
        found: Float = lost.mean(axis=1).astype(np.float32).reshape(self.shape)
        return found


def ablate(
    model: Model,
    images: Image.Image | Sequence[Image.Image],
    parts: str | Sequence[Part] = "heads",
    fill: Fill = "zero",
    framing: Framing | None = None,
) -> Ablation:
    """Answers of a transformer without a head of attention or a block.

    A block that is removed passes its input on. Every pass over the pictures is a step of
    `core.progress`.

    Parameters
    ----------
    images
        One picture or several.
    parts
        ``"heads"`` or ``"blocks"``: each of them in turn. Or parts that are removed together:
        a list of blocks by number or name (``3``, ``"block.3"``) and of heads as (layer, head).
    fill
        ``"zero"``: a part contributes nothing; ``"mean"``: always its mean over the pictures,
        that of the patches and of each prefix token.

    Raises
    ------
    UnsupportedMethod
        The model has no attention, or no classes.
    ParameterError
        There is no such part, or no such fill.
    ImageError
        There is no picture.
    """
    transformer = transformer_of(model, "heads or blocks to take away")
    if not model.classes:
        raise UnsupportedMethod(
            f"{model.spec.title} was trained without classes, so no answer can change; choose a "
            "model with a class head."
        )
    if fill not in ABLATIONS:
        raise ParameterError(f"The fill is {fill!r}, expected {' or '.join(ABLATIONS)}.")
    pictures = [images] if isinstance(images, Image.Image) else list(images)
    if not pictures:
        raise ImageError("No picture was given; choose at least one.")
    experiments, shape = _experiments(transformer, parts)
    means = _Means(transformer) if fill == "mean" else None
    if means is not None:
        for batch in record_stream(model, pictures, framing, means.needs(experiments)):
            means.add(batch.recording)
            del batch
    answers = np.zeros((len(experiments) + 1, len(pictures)), dtype=np.int64)
    found = np.zeros((len(experiments) + 1, len(pictures)), dtype=np.float32)
    total = len(pictures) * len(experiments)
    done = 0
    for batch in record_stream(model, pictures, framing, Needs()):
        recording, places = batch.recording, list(batch.places)
        assert recording.logits is not None
        answers[0, places], found[0, places] = _read(recording.logits, model)
        for i, experiment in enumerate(experiments):
            progress.step(done, total)
            needs, edits = _edits(transformer, experiment, means)
            output = run(model, recording.pixels, needs, edits).output
            answers[1 + i, places], found[1 + i, places] = _read(output, model, answers[0, places])
            done += len(places)
    progress.step(total, total)
    return Ablation(
        model_id=model.spec.id,
        weights_digest=model.weights_digest,
        parts=tuple(" and ".join(map(_name, one)) for one in experiments),
        shape=shape,
        fill=fill,
        intact=answers[0],
        probability=found[0],
        answers=answers[1:],
        probabilities=found[1:],
    )


_Removed = tuple[int, int | None]
"""A layer, and a head of it; ``None`` for the whole block."""


def _experiments(
    model: VisionTransformer, parts: str | Sequence[Part]
) -> tuple[list[list[_Removed]], tuple[int, ...]]:
    """What is removed at a time, and the shape of the results."""
    if isinstance(parts, str) and parts == "heads":
        every = [[(i, h)] for i in range(model.depth) for h in range(model.heads)]
        return [list(one) for one in every], (model.depth, model.heads)
    if isinstance(parts, str) and parts == "blocks":
        return [[(i, None)] for i in range(model.depth)], (model.depth,)
    together = [parts] if isinstance(parts, str) else list(parts)
    if not together:
        raise ParameterError("Nothing was named to take away; name a head or a block.")
    return [[_removed(model, part) for part in together]], (1,)


def _removed(model: VisionTransformer, part: Part) -> _Removed:
    names = [layer.name for layer in model.layers]
    layer, head = part if isinstance(part, tuple) and len(part) == 2 else (part, None)
    if isinstance(layer, str) and layer in names:
        layer = names.index(layer)
    if (
        not isinstance(layer, int)
        or not 0 <= layer < model.depth
        or not (head is None or (isinstance(head, int) and 0 <= head < model.heads))
    ):
        raise ParameterError(
            f"{part!r} is no part of {model.spec.title}; name a block, 0 to {model.depth - 1}, or "
            f"a head as (layer, head), up to ({model.depth - 1}, {model.heads - 1})."
        )
    return layer, head


def _name(removed: _Removed) -> str:
    layer, head = removed
    return f"block.{layer}" if head is None else f"block.{layer}, head {head}"


def _edits(
    model: VisionTransformer, removed: Sequence[_Removed], means: _Means | None
) -> tuple[Needs, dict[str, probes.Edit]]:
    """What a pass records, and the changes that it makes, to run without some parts."""
    blocks = sorted({layer for layer, head in removed if head is None})
    needs = Needs(block_tap(layer, "input") for layer in blocks)
    edits: dict[str, probes.Edit] = {}
    for layer in blocks:
        edits[block_tap(layer, "output")] = partial(_without_block, model, layer, means)
    for layer in sorted({layer for layer, head in removed if head is not None}):
        heads = [head for other, head in removed if other == layer and head is not None]
        needs |= Needs([block_tap(layer, "context")])
        edits[block_tap(layer, "context")] = partial(_without_heads, model, layer, heads, means)
    return needs, edits


def _without_block(
    model: VisionTransformer,
    layer: int,
    means: _Means | None,
    output: Tensor,
    recorded: Mapping[str, Tensor],
) -> Tensor:
    entered = recorded[block_tap(layer, "input")]
    if means is None:
        return entered.clone()
    return entered + means.of(block_tap(layer, "output"), entered.shape[1])


def _without_heads(
    model: VisionTransformer,
    layer: int,
    heads: Sequence[int],
    means: _Means | None,
    tensor: Tensor,
    recorded: Mapping[str, Tensor],
) -> Tensor:
    tap = block_tap(layer, "context")
    context = model.read({**recorded, tap: tensor}, tap).clone()
    for head in heads:
        mean = None if means is None else means.of(tap, context.shape[2])[head]
        context[:, head] = 0.0 if mean is None else mean
    return model.project(context, layer)


@own_state()
def _read(
    logits: Tensor, model: Model, of: npt.NDArray[np.int64] | None = None
) -> tuple[npt.NDArray[np.int64], Float]:
    """First answers, and the probabilities of the classes ``of``, by default of those."""
    shares = probabilities(logits.detach().float().cpu(), model.answer).numpy()
    answers = shares.argmax(axis=1)
    of = answers if of is None else of
    return answers, shares[np.arange(len(shares)), of]


class _Means:
    """Mean contributions of blocks and heads: of each prefix token, of the patches."""

    def __init__(self, model: VisionTransformer) -> None:
        self.model = model
        self._sums: dict[str, Tensor] = {}
        self._pictures = 0

    def needs(self, experiments: Sequence[Sequence[_Removed]]) -> Needs:
        """What a pass must record for them."""
        taps: set[str] = set()
        for layer, head in (one for experiment in experiments for one in experiment):
            block = {block_tap(layer, "input"), block_tap(layer, "output")}
            taps |= block if head is None else {block_tap(layer, "context")}
        self._taps = sorted(tap for tap in taps if not tap.endswith(".input"))
        return Needs(taps)

    @own_state()
    def add(self, recording: Recording) -> None:
        """Add the pictures of a recording."""
        prefix = self.model.prefix
        for tap in self._taps:
            tensor = recording.tensor(tap)
            if tap.endswith(".output"):
                tensor = tensor - recording.tensor(tap.replace(".output", ".input"))
            patches = tensor[..., prefix:, :].mean(dim=-2, keepdim=True)
            total = torch.cat([tensor[..., :prefix, :], patches], dim=-2).sum(dim=0)
            self._sums[tap] = self._sums[tap] + total if tap in self._sums else total
        self._pictures += len(recording)

    def of(self, tap: str, tokens: int) -> Tensor:
        """Means for so many tokens: (…, tokens, channels)."""
        mean, prefix = self._sums[tap] / self._pictures, self.model.prefix
        patches = mean[..., prefix:, :].expand(*mean.shape[:-2], tokens - prefix, -1)
        return torch.cat([mean[..., :prefix, :], patches], dim=-2)
