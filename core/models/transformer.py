"""Common parts of vision transformers: blocks, tokens, and the input of the classifier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import torch
from PIL import Image
from torch import Tensor

from core import capacity
from core.errors import ImageError, UnsupportedModel
from core.models.model import Model
from core.models.taps import HEAD_INPUT, HEADS, MEANINGS, TOKENS, Layer, Part, Tap, block_tap
from core.numerics import own_state


@dataclass(frozen=True)
class Readout:
    """Which of the last tokens the classifier reads, and how much of each: shares sum to 1.

    Attributes
    ----------
    prefix
        Share of each leading token (class, distillation), in order.
    patches
        Share of the mean over the patches.
    attended
        The pooling has an attention of its own, whose weights are the shares.
    text
        Description for users, following "read at".
    """

    prefix: tuple[float, ...] = ()
    patches: float = 0.0
    attended: bool = False
    text: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it is the class token alone, the usual case."""
        return self.prefix == (1.0,)


CLASS_TOKEN = Readout(prefix=(1.0,), text="the class token")
BOTH_TOKENS = Readout(
    prefix=(0.5, 0.5),
    text="the class and the distillation token, half each, as its two heads are averaged",
)
MEAN_OF_PATCHES = Readout(patches=1.0, text="the mean of the patches")
CLASS_BESIDE_MEAN = Readout(
    prefix=(0.5,),
    patches=0.5,
    text="the class token and the mean of the patches, half each, which lie side by side before "
    "the classifier",
)


def side_by_side(weight: Tensor) -> Readout:
    """The readout of a linear layer on the class token beside the mean of the patches.

    Parameters
    ----------
    weight
        (classes, 2 · width); a zero half is not read.
    """
    of_class, of_mean = (bool(half.any()) for half in weight.detach().chunk(2, dim=1))
    if of_class == of_mean:
        return CLASS_BESIDE_MEAN
    return CLASS_TOKEN if of_class else MEAN_OF_PATCHES


class VisionTransformer(Model):
    """A transformer over patches: the interface for methods.

    Attributes
    ----------
    heads, width, hidden : int
        Heads per layer, channels per token, channels of the MLP's hidden layer (0 if unknown).
    prefix : int
        Tokens before the patches: class token, distillation token, registers.
    patch : int
        Side of a patch in pixels.
    head_width : int
        Channels per head.
    readout : Readout
        What the classifier reads.
    """

    PARTS: ClassVar[tuple[Part, ...]] = tuple(MEANINGS)

    heads: int
    width: int
    head_width: int
    hidden: int
    prefix: int
    patch: int
    readout: Readout

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.layers)

    @property
    def scale(self) -> float:
        """Factor of the products of queries and keys before the softmax."""
        return float(self.head_width**-0.5)

    @property
    def reads_class_token(self) -> bool:
        """Whether the classifier reads the class token."""
        return bool(self.readout.prefix)

    def declare(self, modules: Iterable[str]) -> None:
        """Fill `layers` and `taps` from the attributes above, one block for each module path."""
        self.layers = tuple(
            Layer(f"block.{i}", self.width, self.grid, module, self.heads)
            for i, module in enumerate(modules)
        )
        sizes = {"input": self.width, "hidden": self.hidden, "output": self.width}
        taps = []
        for i in range(self.depth):
            for part in self.PARTS:
                channels = sizes.get(part, self.head_width)
                axes = TOKENS if part in sizes else HEADS
                heads = 1 if part in sizes else self.heads
                if channels:
                    taps.append(Tap(block_tap(i, part), axes, channels, MEANINGS[part], heads))
        taps.append(Tap(HEAD_INPUT, TOKENS, self.width, "input of the pooling"))
        self.taps = {tap.name: tap for tap in taps}
        parts = ("query", "key", "value")
        usual = [t.name for t in taps if t.name.endswith(parts)]
        self.usual_taps = (*usual, HEAD_INPUT) if self.readout.attended else tuple(usual)

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Inputs are whole patches."""
        return self.patch

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches for an input of (height, width) pixels."""
        return size[0] // self.patch, size[1] // self.patch

    def grid_of(self, tap: str, size: tuple[int, int]) -> tuple[int, int]:
        return self.grid(size)

    def on_grid(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> Tensor:
        patches = tensor[..., self.prefix :, :].transpose(-2, -1)  # (batch, …, channels, patches)
        return patches.reshape(len(tensor), -1, *self.grid(size))

    def check_layout(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> None:
        rows, cols = self.grid(size)
        declared = self.taps[tap]
        wanted = {"token": self.prefix + rows * cols, "channel": declared.channels}
        wanted |= {"head": declared.heads, "batch": len(tensor)}
        self._refuse_layout(tensor, tap, tuple(wanted[axis] for axis in declared.axes))

    def footprint(
        self, size: tuple[int, int], gradients: bool = False, leaf: str | None = None
    ) -> int:
        rows, cols = self.grid(size)
        tokens = self.prefix + rows * cols
        # A graph stores the inputs of every operation of a block: about 18 tensors of tokens.
        kept = (3 + 15 * gradients) * self.depth * tokens * self.width
        matrices = 3 * tokens * tokens  # one head's scores and softmax, and the fused heads
        return 4 * (kept + matrices)

    def check_shape(self, view: Image.Image) -> None:
        super().check_shape(view)
        cost, budget = self.footprint((view.height, view.width)), capacity.memory_budget()
        if cost > budget:
            rows, cols = self.grid((view.height, view.width))
            raise ImageError(
                f"The picture has {rows} × {cols} patches, whose attention takes about "
                f"{cost / 2**30:.1f} GB where {budget / 2**30:.1f} GB are allowed; choose a "
                "smaller size, or the fit crop."
            )

    def attention_bias(self, layer: int) -> Tensor | None:
        """Bias added to the products of queries and keys of a layer before the softmax.

        Returns
        -------
        (heads, tokens, tokens) or None
            Query by key; ``None`` where nothing is added.
        """
        return None

    # -- implemented by
    # families----------------------------------------------------------------------

    @abstractmethod
    def head_readout(self, tokens: Tensor) -> Tensor:
        """Logits (batch, classes) of the final norm and head applied to (batch, width)."""

    def pooling_attention(self, tokens: Tensor) -> Tensor:
        """Weights (batch, tokens) of an attention pooling over the input of the head.

        Parameters
        ----------
        tokens : (batch, tokens, width)
            The tap ``head.input``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no attention pooling")

    def project(self, context: Tensor, layer: int) -> Tensor:
        """The tensor at the probe ``block.i.context`` for the outputs ``context`` of the heads.

        Parameters
        ----------
        context : (batch, heads, tokens, channels)

        Returns
        -------
        (batch, tokens, any)
        """
        return context.transpose(1, 2).flatten(2)

    def split_heads(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, heads · channels) to (batch, heads, tokens, channels)."""
        batch, count, _ = tokens.shape
        return tokens.reshape(batch, count, self.heads, -1).transpose(1, 2)

    def refuse(self, reason: str) -> NoReturn:
        """Raise `UnsupportedModel`: the architecture has a part that cannot be shown correctly."""
        raise UnsupportedModel(
            f"{self.spec.title} cannot be shown: {reason}; choose a plain vision transformer.",
            reason,
        )


@own_state(gradients=None)
def softmax_attention(
    query: Tensor, key: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """``softmax(scale · q kᵀ + bias)`` of (batch, heads, tokens, channels): (…, query, key).

    Parameters
    ----------
    bias : (heads, query, key)
        Nothing by default.
    """
    scores = torch.baddbmm(
        query.new_empty(1, 1, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        beta=0,
        alpha=scale,
    )
    if bias is not None:
        scores = (scores.view(-1, *bias.shape) + bias).flatten(0, 1)
    # In place where no graph needs the scores: new memory costs more than the softmax itself.
    weights = torch.softmax(scores, dim=-1, out=None if scores.requires_grad else scores)
    return weights.reshape(*query.shape[:3], key.shape[2])
