"""What every opened model is, and what every vision transformer shares."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core.errors import ImageError, ParameterError, UnsupportedMethod
from core.images import Framing, fit_image
from core.models.spec import ModelSpec

Projection = Literal["query", "key", "value"]

MAX_TOKENS = 4096
"""Most patches a transformer is given at once; keeps one request from taking all memory."""


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
        Whether it is evaluated on the whole picture squeezed into the square, not on a crop.
    """

    size: int = 224
    crop_fraction: float = 1.0
    resample: Image.Resampling = Image.Resampling.BICUBIC
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    squash: bool = False


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
    """

    multiple: int = 1
    """Both sides of the input must be multiples of this (a patch size)."""

    flexible: bool = True
    """Whether inputs of other sizes than the evaluation size are possible."""

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        labels: Sequence[str],
        preprocessing: Preprocessing,
    ) -> None:
        self.spec = spec
        self.module = module.eval().requires_grad_(False)
        self.labels = tuple(labels)
        self.preprocessing = preprocessing

    @classmethod
    @abstractmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether this family knows how to look inside ``module``."""

    @abstractmethod
    def score(self, pixels: Tensor) -> Tensor:
        """Logits (batch, classes), or features where there are no classes, for model input."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @property
    def classes(self) -> int:
        """Number of classes; 0 for a model without a class head."""
        return len(self.labels)

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
            "stretch" if native and self.preprocessing.squash else framing.fit,
            self.shape(framing),
            multiple=self.multiple,
            crop_fraction=self.preprocessing.crop_fraction if native else 1.0,
            resample=self.preprocessing.resample,
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

    def normalize(self, view: Image.Image) -> Tensor:
        """Model input for a view that is fitted already: (1, 3, height, width)."""
        values = torch.from_numpy(np.asarray(view.convert("RGB")).copy())
        unit = values.permute(2, 0, 1).unsqueeze(0).float().div(255)
        return self.standardize(unit).to(self.device)

    def standardize(self, unit: Tensor) -> Tensor:
        """Subtract the mean and divide by the deviation of (batch, 3, height, width) in [0, 1]."""
        mean = torch.tensor(self.preprocessing.mean, device=unit.device).view(1, 3, 1, 1)
        std = torch.tensor(self.preprocessing.std, device=unit.device).view(1, 3, 1, 1)
        return (unit - mean) / std

    def label(self, target: int) -> str:
        """Name of a class."""
        return self.labels[target]

    def check_target(self, target: int) -> int:
        """Return ``target`` if it is one of the classes.

        Raises
        ------
        UnsupportedMethod
            The model has no classes at all.
        ParameterError
            The index is out of range.
        """
        if not self.classes:
            raise UnsupportedMethod(
                f"{self.spec.title} was trained without classes, so nothing can be said about one; "
                "choose a model with a class head, or look at its attention."
            )
        if not 0 <= int(target) < self.classes:
            raise ParameterError(
                f"Class {target} is unknown to {self.spec.title}; "
                f"choose an index from 0 to {self.classes - 1}."
            )
        return int(target)


class VisionTransformer(Model):
    """A transformer over patches: what methods may ask of any of them.

    Tensors of one layer come as (batch, heads, tokens, channels of the head).

    Attributes
    ----------
    depth, heads, width : int
        Layers, heads per layer, channels per token.
    prefix : int
        Tokens before the patches: class token, distillation token, registers.
    patch : int
        Side of a patch in pixels.
    reads_class_token : bool
        Whether the class head reads the class token (else the mean of the patches).
    """

    CONTEXT: ClassVar[str] = "blocks.{}.context"
    OUTPUT: ClassVar[str] = "blocks.{}.output"
    HIDDEN: ClassVar[str] = "blocks.{}.hidden"

    depth: int
    heads: int
    width: int
    prefix: int
    patch: int
    reads_class_token: bool

    def check_shape(self, view: Image.Image) -> None:
        super().check_shape(view)
        rows, cols = self.grid((view.height, view.width))
        if rows * cols > MAX_TOKENS:
            raise ImageError(
                f"The picture makes {rows} × {cols} patches, more than the {MAX_TOKENS} this "
                "application allows; choose a smaller size, or the fit crop."
            )

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Inputs are whole patches."""
        return self.patch

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches for an input of (height, width) pixels."""
        return size[0] // self.patch, size[1] // self.patch

    @abstractmethod
    def attention_names(self, layer: int, values: bool = True) -> tuple[str, ...]:
        """Probes whose tensors `queries_keys` needs, and `values` where they are wanted."""

    @abstractmethod
    def queries_keys(self, tensors: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Queries and keys as they enter the attention of one layer."""

    @abstractmethod
    def values(self, tensors: Mapping[str, Tensor], layer: int) -> Tensor:
        """Values as they enter the attention of one layer."""

    def projection(self, tensors: Mapping[str, Tensor], layer: int, kind: Projection) -> Tensor:
        """Queries, keys or values as they enter the attention of one layer."""
        if kind == "value":
            return self.values(tensors, layer)
        queries, keys = self.queries_keys(tensors, layer)
        return queries if kind == "query" else keys

    @abstractmethod
    def readout(self, tokens: Tensor) -> Tensor:
        """Logits (batch, classes) of the final norm and head applied to (batch, width)."""

    def context_gradient(self, gradient: Tensor, layer: int) -> Tensor:
        """Gradient at the ``CONTEXT`` probe, per head: ∂y/∂O of definitions ``O = A·V``."""
        return self.split_heads(gradient)

    def split_heads(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, heads · channels) to (batch, heads, tokens, channels)."""
        batch, count, _ = tokens.shape
        return tokens.reshape(batch, count, self.heads, -1).transpose(1, 2)


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
