"""What a transformer would answer after each layer (logit lens, nostalgebraist 2020)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.answers import probabilities
from core.errors import UnsupportedMethod
from core.frozen import Frozen
from core.images import Framing
from core.layerwise.layers import by_place, recorded, transformer_of
from core.models import Model, VisionTransformer
from core.models.taps import block_tap
from core.models.transformer import CLASS_TOKEN
from core.numerics import own_state
from core.recording.recording import Recording
from core.recording.run import Needs


@dataclass(frozen=True, eq=False)
class LogitLens(Frozen):
    """First answers that the class token of each layer would give.

    Attributes
    ----------
    model_id, weights_digest : str
    layers : tuple of str
        Taps: the tokens that enter the first block, and those that leave each block.
    answers : (layers, pictures) int64
        Most probable class; the last row is the model's answer.
    probabilities : (layers, pictures) float32
        Its probability, in [0, 1].
    """

    model_id: str
    weights_digest: str
    layers: tuple[str, ...]
    answers: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    @property
    def agreement(self) -> npt.NDArray[np.float32]:
        """Share of pictures with the final answer after each layer, in [0, 1]: (layers,)."""
        found: npt.NDArray[np.float32] = (
            (self.answers == self.answers[-1]).mean(axis=1).astype(np.float32)
        )
        return found


def logit_lens(
    model: Model,
    images: Image.Image | Iterable[Image.Image],
    framing: Framing | None = None,
) -> LogitLens:
    """The class token after each layer, read by the model's final norm and classifier.

    Meaningful where the whole network was trained with the classes. Pictures are streamed.

    Raises
    ------
    UnsupportedMethod
        The classifier does not read the class token alone, or there is none.
    ImageError
        There is no picture.
    """
    transformer = transformer_of(model, "class token to read at each layer")
    _check(transformer)
    taps = (
        block_tap(0, "input"),
        *(block_tap(layer, "output") for layer in range(transformer.depth)),
    )
    answers: list[tuple[tuple[int, ...], Tensor]] = []
    shares: list[tuple[tuple[int, ...], Tensor]] = []
    for places, recording in recorded(model, images, framing, Needs(taps)):
        found = _probabilities(transformer, recording, taps).max(dim=-1)
        shares.append((places, found.values))
        answers.append((places, found.indices))
    return LogitLens(
        model_id=model.spec.id,
        weights_digest=model.weights_digest,
        layers=taps,
        answers=by_place(answers).numpy().T,
        probabilities=by_place(shares).numpy().T,
    )


def _check(model: VisionTransformer) -> None:
    if not model.classes:
        raise UnsupportedMethod(
            f"{model.spec.title} was trained without classes, so nothing can be read at its layers."
        )
    if model.readout != CLASS_TOKEN:
        raise UnsupportedMethod(
            f"The classifier of {model.spec.title} reads {model.readout.text}, not the class token "
            "alone, so the class token of an earlier layer has no answer; choose a model that "
            "reads the class token."
        )


@own_state()
def _probabilities(model: VisionTransformer, recording: Recording, taps: tuple[str, ...]) -> Tensor:
    """(batch, layers, classes)."""
    found = torch.stack([model.head_readout(recording.tensor(tap)[:, 0]) for tap in taps], dim=1)
    logits = recording.logits
    assert logits is not None
    scale = float(logits.abs().max())
    if not torch.allclose(found[:, -1], logits, rtol=1e-3, atol=1e-3 * scale):
        raise UnsupportedMethod(
            f"The answer of {model.spec.title} is not that of its final norm and classifier on the "
            "class token, so earlier layers cannot be read."
        )
    return probabilities(found.float().cpu(), model.answer)
