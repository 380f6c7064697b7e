"""What every opened model is, and what every vision transformer shares."""

from __future__ import annotations

import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core import capacity, probes
from core.answers import Reading
from core.errors import ImageError, ParameterError, UnsupportedMethod, UnsupportedModel
from core.images import Framing, fit_image
from core.models.builds import leading_builds, shortened
from core.models.spec import ModelSpec
from core.models.taps import (
    HEAD_INPUT,
    HEADS,
    MEANINGS,
    TOKENS,
    Layer,
    Part,
    Tap,
    block_tap,
)
from core.numerics import own_state
from core.targets import Target, TargetLike, as_target


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become model input; always from the model's own configuration.

    Attributes
    ----------
    size
        Side in pixels of the square it is evaluated at.
    crop_fraction
        Share of the resized short side that the evaluation crop keeps.
    resample
        Pillow filter of the resize.
    mean, std
        Per channel, for values in [0, 1].
    squash
        Whether it is evaluated on the whole picture squeezed into a square, of which the crop is
        taken, and not on a crop of the resized picture.
    crop_rounds_down
        Where the crop begins if it cannot lie in the exact middle: above and left of it. By default
        as torchvision and timm have it, to the even pixel.
    """

    size: int = 224
    crop_fraction: float = 1.0
    resample: Image.Resampling = Image.Resampling.BICUBIC
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    squash: bool = False
    crop_rounds_down: bool = False


class Model(ABC):
    """A frozen network with probes attached, ready to be shared by any number of threads.

    Attributes
    ----------
    spec : ModelSpec
    module : torch.nn.Module
        In eval mode, parameters frozen.
    labels : tuple of str
        Class names; empty if the model has no classes.
    preprocessing : Preprocessing
    layers : tuple of Layer
        Stages of a convolutional network or blocks of a transformer, first to last.
    taps : mapping of str to Tap
        All that a pass can keep, in the order in which it comes by them.
    """

    multiple: int = 1
    """Both sides of the input must be multiples of this (a patch size)."""

    flexible: bool = True
    """Whether inputs of other sizes than the evaluation size are possible."""

    answer: Reading = "softmax"
    """How its logits are read as probabilities; see `core.answers`."""

    cheap_gradients: frozenset[str] = frozenset()
    """Taps behind which so little is left that a graph from there on costs next to nothing."""

    usual_taps: tuple[str, ...] = ()
    """Taps that serve most maps that need no expensive gradient."""

    layers: tuple[Layer, ...]
    taps: Mapping[str, Tap]

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        labels: Sequence[str],
        preprocessing: Preprocessing,
        digest: str = "",
    ) -> None:
        self.spec = spec
        self.module = module.eval().requires_grad_(False)
        self.labels = tuple(labels)
        self.preprocessing = preprocessing
        self._digest = digest

    @classmethod
    @abstractmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether this family knows how to look inside ``module``."""

    def score(self, pixels: Tensor) -> Tensor:
        """Logits (batch, classes), or features where there are no classes, for model input."""
        logits: Tensor = self.module(pixels)
        return logits

    # -- what a pass can keep ----------------------------------------------------------------

    def tap(self, name: str) -> Tap:
        """The tap of this name.

        Raises
        ------
        ParameterError
            The model has no such tap.
        """
        if not isinstance(name, str):
            raise ParameterError(
                f"A layer is {name!r}, expected a name such as {next(iter(self.taps))!r}."
            )
        if name in self.taps:
            return self.taps[name]
        last = name.rpartition(".")[2]
        near = [tap for tap in self.taps if tap.rpartition(".")[2] == last] or list(self.taps)
        shown = near if len(near) <= 6 else [*near[:2], "…", near[-1]]
        raise ParameterError(
            f"Layer {name!r} does not exist in {self.spec.title}; choose one of {', '.join(shown)}."
        )

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        """Names of the probes that have to record so that `read` can give ``taps``."""
        return frozenset(taps)

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        """A tap's tensor, with the axes of the table, from what the probes recorded."""
        return tensors[tap]

    def read_gradient(self, gradient: Tensor, tap: str) -> Tensor:
        """Gradient at a tap, with the axes of the table, from the gradient at its probe."""
        return gradient

    @abstractmethod
    def grid_of(self, tap: str, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a tap's places for an input of (height, width) pixels."""

    @abstractmethod
    def on_grid(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> Tensor:
        """A tap's tensor as (batch, features, rows, columns), prefix tokens left out."""

    @abstractmethod
    def check_layout(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> None:
        """Raise `UnsupportedModel` if a tap's tensor is not laid out as the table says."""

    def _refuse_layout(self, tensor: Tensor, tap: str, wanted: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != wanted:
            axes = ", ".join(self.taps[tap].axes)
            raise UnsupportedModel(
                f"{tap} of {self.spec.title} is {tuple(tensor.shape)} where ({axes}) = {wanted} "
                "was expected, so its map would be wrong; choose another layer or model."
            )

    @abstractmethod
    def footprint(
        self, size: tuple[int, int], gradients: bool = False, leaf: str | None = None
    ) -> int:
        """Bytes that a pass over one picture of (height, width) pixels takes, roughly.

        Parameters
        ----------
        gradients
            Whether it leaves a graph behind.
        leaf
            Tap at which the graph begins; ``None`` for the pixels.
        """

    # -- facts -------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @property
    def classes(self) -> int:
        """Number of classes; 0 for a model without a class head."""
        return len(self.labels)

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the weights: of their file, of two files' digests, else of all tensors."""
        if self._digest:
            return self._digest
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def shape(self, framing: Framing | None = None) -> tuple[int, int]:
        """Height and width in pixels of a square view under ``framing``."""
        side = (framing.size if framing else None) or self.preprocessing.size
        side = max(self.multiple, round(side / self.multiple) * self.multiple)
        return side, side

    def view(self, image: Image.Image, framing: Framing | None = None) -> Image.Image:
        """What the model sees of a picture, as a picture.

        Parameters
        ----------
        image
            Mode RGB.
        framing
            How it is fitted; by default as the model was evaluated.

        Raises
        ------
        ImageError
            The model cannot take a picture of that shape.
        """
        framing = framing or Framing()
        native = framing.fit == "native"
        view = fit_image(
            image.convert("RGB"),
            framing.fit,
            self.shape(framing),
            multiple=self.multiple,
            crop_fraction=self.preprocessing.crop_fraction if native else 1.0,
            resample=self.preprocessing.resample,
            squash=self.preprocessing.squash,
            crop_rounds_down=self.preprocessing.crop_rounds_down,
        )
        self.check_shape(view)
        return view

    def check_shape(self, view: Image.Image) -> None:
        """Raise `ImageError` if the model cannot take a view of this shape."""
        if view.width % self.multiple or view.height % self.multiple:
            raise ImageError(
                f"{self.spec.title} takes multiples of {self.multiple} pixels, not "
                f"{view.width} × {view.height}; choose another fit or size."
            )
        fixed = self.preprocessing.size
        if not self.flexible and view.size != (fixed, fixed):
            raise ImageError(
                f"{self.spec.title} takes only {fixed} × {fixed} pixels, not "
                f"{view.width} × {view.height}; choose the fit crop, pad or stretch."
            )

    def pixels(self, image: Image.Image, framing: Framing | None = None) -> Tensor:
        """Model input for a picture: (1, 3, height, width), normalized, on the model's device."""
        return self.normalize(self.view(image, framing))

    @own_state()
    def normalize(self, view: Image.Image) -> Tensor:
        """Model input for a view that is fitted already: (1, 3, height, width)."""
        values = torch.from_numpy(np.asarray(view.convert("RGB")).copy())
        unit = values.permute(2, 0, 1).unsqueeze(0).float().div(255)
        return self.standardize(unit).to(self.device)

    @own_state(gradients=None)
    def standardize(self, unit: Tensor) -> Tensor:
        """Subtract the mean and divide by the deviation of (batch, 3, height, width) in [0, 1]."""
        mean, std = (
            torch.tensor(values, device=unit.device, dtype=torch.float32).view(1, 3, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return (unit - mean) / std

    def label(self, target: int) -> str:
        """Name of a class."""
        return self.labels[target]

    def check_target(self, target: TargetLike) -> Target:
        """What is asked, with the indices that its classes have here.

        Parameters
        ----------
        target
            Index or name of a class, or a target such as `core.rather_than` gives.

        Raises
        ------
        UnsupportedMethod
            The model has no classes at all.
        ParameterError
            It is no target, or the model has no such class.
        """
        asked = as_target(target)
        if not self.classes:
            raise UnsupportedMethod(
                f"{self.spec.title} was trained without classes, so nothing can be said about one; "
                "choose a model with a class head, or look at its attention."
            )
        return asked.resolved(self.labels, self.spec.title)

    def check_targets(
        self, target: TargetLike | Sequence[TargetLike | None] | None, count: int
    ) -> list[Target | None]:
        """What is asked of each of ``count`` pictures; ``None`` for the most probable class.

        Raises
        ------
        UnsupportedMethod, ParameterError
            As `check_target`, or there is not one for each picture.
        """
        each: list[Any] = [target] * count
        if np.ndim(target):  # type: ignore[arg-type]
            each = list(target)  # type: ignore[arg-type]
        if len(each) != count:
            raise ParameterError(f"{len(each)} classes were given for {count} pictures.")
        return [None if one is None else self.check_target(one) for one in each]

    @own_state()
    def rebuilt(self, module: nn.Module, digest: str = "") -> Self:
        """The same model around another network of the same build, with probes of its own.

        Parameters
        ----------
        module
            A network that no probe is attached to; see `core.probes.copied`.
        digest
            What its weights are to be called; by default they are summed when asked for.
        """
        again = type(self)(self.spec, module, self.labels, self.preprocessing, digest)
        again.answer = self.answer
        return again


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
        The same for people, to follow "read at".
    """

    prefix: tuple[float, ...] = ()
    patches: float = 0.0
    attended: bool = False
    text: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it is the class token alone, as most readers take for granted."""
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
    """What a linear layer reads of the class token beside the mean of the patches.

    Parameters
    ----------
    weight
        (classes, 2 · width); a half of zeros reads nothing.
    """
    of_class, of_mean = (bool(half.any()) for half in weight.detach().chunk(2, dim=1))
    if of_class == of_mean:
        return CLASS_BESIDE_MEAN
    return CLASS_TOKEN if of_class else MEAN_OF_PATCHES


class VisionTransformer(Model):
    """A transformer over patches: what methods may ask of any of them.

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
        """What products of queries and keys are multiplied by before the softmax."""
        return float(self.head_width**-0.5)

    @property
    def reads_class_token(self) -> bool:
        """Whether the class token takes part in what the classifier reads."""
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
        taps.append(Tap(HEAD_INPUT, TOKENS, self.width, "tokens that the pooling reads"))
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
        # A graph keeps what every operation of a block needs again: about 18 tensors of tokens.
        kept = (3 + 15 * gradients) * self.depth * tokens * self.width
        matrices = 3 * tokens * tokens  # one head's scores and softmax, and the fused heads
        return 4 * (kept + matrices)

    def check_shape(self, view: Image.Image) -> None:
        super().check_shape(view)
        cost, budget = self.footprint((view.height, view.width)), capacity.memory_budget()
        if cost > budget:
            rows, cols = self.grid((view.height, view.width))
            raise ImageError(
                f"The picture makes {rows} × {cols} patches, whose attention takes about "
                f"{cost / 2**30:.1f} GB where {budget / 2**30:.1f} GB are allowed; choose a "
                "smaller size, or the fit crop."
            )

    # -- families say ------------------------------------------------------------------------

    @abstractmethod
    def head_readout(self, tokens: Tensor) -> Tensor:
        """Logits (batch, classes) of the final norm and head applied to (batch, width)."""

    def pooling_attention(self, tokens: Tensor) -> Tensor:
        """Weights (batch, tokens) of an attention pooling over what enters the head.

        Parameters
        ----------
        tokens : (batch, tokens, width)
            The tap ``head.input``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no attention pooling")

    def project(self, context: Tensor, layer: int) -> Tensor:
        """What the probe ``block.i.context`` records where each head gathered ``context``.

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

    # -- proof at opening --------------------------------------------------------------------

    @own_state()
    def verify(self) -> None:
        """Compare what is rebuilt with what the network does, in one small pass.

        In a block of every build ``softmax(q·kᵀ)·v`` must be what enters the projection, and the
        classifier must read the tokens that `readout` names, and no others.

        Raises
        ------
        UnsupportedModel
            It is not so, and no map of this network would be true.
        """
        side = self.preprocessing.size
        size = (2 * self.patch, 3 * self.patch) if self.flexible else (side, side)
        rows, cols = self.grid(size)
        tokens = self.prefix + rows * cols
        parts: tuple[Part, ...] = ("query", "key", "value")
        noise = torch.randn(
            (1, 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )
        modules = [self.module.get_submodule(layer.module) for layer in self.layers]
        count = leading_builds(modules)
        short = copy.copy(self)
        short.module = shortened(self.module, self.layers[0].module.rpartition(".")[0], count)
        names = [block_tap(i, part) for i in range(count) for part in parts]
        contexts = [block_tap(i, "context") for i in range(count)]
        kept = {*self.probes_for([*names, HEAD_INPUT]), *contexts}
        recorder = probes.Recorder(kept, leaf=HEAD_INPUT)
        with own_state(gradients=True):
            with probes.recording(recorder):
                answers = short.score(noise.to(self.device))
            self._verify_readout(recorder.tensors[HEAD_INPUT], answers)
        with own_state():
            for layer in range(count):
                q, k, v = (self.read(recorder.tensors, block_tap(layer, p)) for p in parts)
                if q.shape[::2] != (1, tokens):
                    self._refuse(
                        f"its blocks hold {len(q)} × {q.shape[2]} tokens where {self.prefix} and "
                        f"{rows} × {cols} patches were expected"
                    )
                rebuilt = self.project(softmax_attention(q, k, self.scale) @ v, layer)
                context = recorder.tensors[block_tap(layer, "context")]
                if rebuilt.shape != context.shape or not torch.allclose(
                    rebuilt, context, rtol=1e-3, atol=1e-3 * float(context.abs().max())
                ):
                    self._refuse(
                        f"the attention of block {layer} is not the softmax of its queries and "
                        "keys alone (a bias, a window, a gate or a rotation takes part)"
                    )

    def _verify_readout(self, tokens: Tensor, answers: Tensor) -> None:
        """Compare `readout` with the tokens that the answers have a gradient at."""
        if self.classes and answers.shape != (1, self.classes):
            self._refuse(
                f"it answers with {tuple(answers.shape[1:])} where {self.classes} classes were "
                "expected"
            )
        (gradient,) = torch.autograd.grad(answers.square().sum(), tokens)
        size = gradient[0].abs().amax(dim=-1)
        read = size > 1e-6 * size.max()
        if not read.any():
            return  # a head of zeros reads nothing yet
        readout, named = self.readout, torch.zeros_like(read)
        if readout.attended:
            with own_state():
                named = self.pooling_attention(tokens)[0] > 0
        else:
            named[: len(readout.prefix)] = gradient.new_tensor(readout.prefix) > 0
            named[self.prefix :] = readout.patches > 0
        patches = gradient[0, self.prefix :]
        equal = torch.allclose(
            patches, patches[:1], rtol=1e-3, atol=1e-3 * float(gradient.abs().max())
        )
        missed = named & ~read & (not readout.attended)  # a pooling may look away from a token
        if (read & ~named | missed).any() or (readout.patches and not equal):
            self._refuse(f"its classifier reads something else than {readout.text}")

    def _refuse(self, reason: str) -> NoReturn:
        raise UnsupportedModel(
            f"{self.spec.title} cannot be shown: {reason}; choose a plain vision transformer."
        )


@own_state(gradients=None)
def softmax_attention(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """``softmax(scale · q kᵀ)`` of (batch, heads, tokens, channels): (…, query, key)."""
    scores = torch.baddbmm(
        query.new_empty(1, 1, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        beta=0,
        alpha=scale,
    )
    # In place where no graph wants the scores: fresh memory costs more than the softmax itself.
    weights = torch.softmax(scores, dim=-1, out=None if scores.requires_grad else scores)
    return weights.reshape(*query.shape[:3], key.shape[2])


def shared_view(
    models: Sequence[Model], image: Image.Image, framing: Framing | None = None
) -> Image.Image:
    """Fit a picture once for several models, so that all of them see the very same pixels.

    Parameters
    ----------
    models
        The first with patches decides the size where ``framing`` names none, and the filter.
    image
        Mode RGB.
    framing
        By default the largest centered square.

    Returns
    -------
    PIL.Image.Image
        To be given to each model with ``Framing("given")``.

    Raises
    ------
    ImageError
        One of the models cannot take such a view.
    """
    framing = framing or Framing("crop")
    lead = next((model for model in models if model.multiple > 1), models[0])
    multiple = math.lcm(*(model.multiple for model in models))
    side = framing.size or lead.preprocessing.size
    side = max(multiple, round(side / multiple) * multiple)
    resample = lead.preprocessing.resample
    view = fit_image(
        image.convert("RGB"), framing.fit, (side, side), multiple=multiple, resample=resample
    )
    for model in models:
        model.check_shape(view)
    return view
