"""The base class of all opened models."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core.answers import Reading
from core.errors import ImageError, ParameterError, UnsupportedMethod, UnsupportedModel
from core.images import Framing, fit_image
from core.models.preprocessing import Preprocessing
from core.models.spec import ModelSpec
from core.models.taps import Layer, Tap
from core.numerics import own_state
from core.targets import Target, TargetLike, as_target


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
        All tensors that a pass can record, in the order of computation.
    """

    multiple: int = 1
    """Both sides of the input must be multiples of this (a patch size)."""

    flexible: bool = True
    """Whether inputs of other sizes than the evaluation size are possible."""

    answer: Reading = "softmax"
    """How its logits become probabilities; see `core.answers`."""

    remarks: tuple[str, ...] = ()
    """Choices made in reading a user's checkpoint, each a sentence."""

    limits: str = ""
    """Why some methods of its kind are not available for this model, as a sentence."""

    cheap_gradients: frozenset[str] = frozenset()
    """Taps so late that a graph from there on is cheap."""

    usual_taps: tuple[str, ...] = ()
    """Taps sufficient for most maps without an expensive gradient."""

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
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Read the family's attributes from `module`, fill `layers` and `taps`, attach probes.

        The last step of the constructor.

        Raises
        ------
        UnsupportedModel
            The architecture has a part that cannot be shown correctly.
        """

    @classmethod
    @abstractmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether this family supports ``module``."""

    def score(self, pixels: Tensor) -> Tensor:
        """Logits (batch, classes), or features where there are no classes, for model input."""
        logits: Tensor = self.module(pixels)
        return logits

    # -- what a pass can record --------------------------------------------------------------

    def tap(self, name: str) -> Tap:
        """The tap of this name.

        Raises
        ------
        ParameterError
            The model has no such tap.
        """
        if not isinstance(name, str):
            raise ParameterError(
                f"A layer is {name!r}, expected a name such as "
                f"{next(iter(self.taps), 'stage.3')!r}."
            )
        if name in self.taps:
            return self.taps[name]
        if not self.taps:
            raise ParameterError(f"Layer {name!r} cannot be shown. {self.limits}")
        last = name.rpartition(".")[2]
        near = [tap for tap in self.taps if tap.rpartition(".")[2] == last] or list(self.taps)
        shown = near if len(near) <= 6 else [*near[:2], "…", near[-1]]
        raise ParameterError(
            f"Layer {name!r} does not exist in {self.spec.title}; choose one of {', '.join(shown)}."
        )

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        """Names of the probes that `read` needs for ``taps``."""
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
        """Approximate bytes that a pass over one picture of (height, width) pixels takes.

        Parameters
        ----------
        gradients
            Whether the pass keeps a gradient graph.
        leaf
            Tap at which the graph begins; ``None`` for the pixels.
        """

    # -- facts -------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
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
        """The model's view of a picture, as a picture.

        Parameters
        ----------
        image
            Mode RGB.
        framing
            How it is fitted; by default as the model was evaluated.

        Raises
        ------
        ImageError
            The model does not accept a picture of that shape.
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
        """Raise `ImageError` if the model does not accept a view of this shape."""
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
        """Model input for a fitted view: (1, 3, height, width)."""
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
        """The target, with the indices of its classes in this model.

        Parameters
        ----------
        target
            Index or name of a class, or a target such as that of `core.rather_than`.

        Raises
        ------
        UnsupportedMethod
            The model has no classes at all.
        ParameterError
            It is not a target, or the model does not have the class, or not its negation.
        """
        asked = as_target(target)
        if not self.classes:
            raise UnsupportedMethod(
                f"{self.spec.title} was trained without classes, so none can be explained; "
                "choose a model with a class head, or show its attention."
            )
        if asked.of_labels and self.answer == "softmax":
            raise ParameterError(
                f"{asked!r} was requested of {self.spec.title}, whose class probabilities sum to "
                "1, so no class has a negation; choose core.rather_than and another class."
            )
        return asked.resolved(self.labels, self.spec.title)

    def check_targets(
        self, target: TargetLike | Sequence[TargetLike | None] | None, count: int
    ) -> list[Target | None]:
        """The target of each of ``count`` pictures; ``None`` for the most probable class.

        Raises
        ------
        UnsupportedMethod, ParameterError
            As `check_target`, or the number of targets differs from that of pictures.
        """
        each: list[Any] = [target] * count
        if np.ndim(target):  # type: ignore[arg-type]
            each = list(target)  # type: ignore[arg-type]
        if len(each) != count:
            raise ParameterError(f"{len(each)} classes were given for {count} pictures.")
        return [None if one is None else self.check_target(one) for one in each]

    @own_state()
    def rebuilt(self, module: nn.Module, digest: str = "") -> Self:
        """The same model with another network of the same architecture, with its own probes.

        Parameters
        ----------
        module
            A network without probes; see `core.probes.copied`.
        digest
            Digest of its weights; by default computed on request.
        """
        again = type(self)(self.spec, module, self.labels, self.preprocessing, digest)
        again.answer, again.limits, again.remarks = self.answer, self.limits, self.remarks
        return again


def shared_view(
    models: Sequence[Model], image: Image.Image, framing: Framing | None = None
) -> Image.Image:
    """Fit a picture once for several models, so that all of them get the same pixels.

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
        Pass it to each model with ``Framing("given")``.

    Raises
    ------
    ImageError
        One of the models does not accept such a view.
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
