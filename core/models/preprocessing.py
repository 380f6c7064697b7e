"""Preprocessing: from pixels to model input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image
from torch import nn

from core.errors import UnsupportedModel
from core.models.libraries import ensure_imported
from core.models.spec import ModelSpec

RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
"""Filters of Pillow by their names in libraries and entries."""

Origin = Literal["weights", "file", "default"]
"""Source of values that an entry does not state: published with the
weights, a file beside the checkpoint, or only a library's default for a name."""


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing, from the model's own configuration or its entry.

    Attributes
    ----------
    size
        Side in pixels of the square at which the model is evaluated.
    crop_fraction
        Share of the resized short side that the evaluation crop keeps.
    resample
        Pillow filter of the resize.
    mean, std
        Per channel, for values in [0, 1].
    squash
        Whether the whole picture is resized to a square, from which the crop is
        taken, instead of keeping the aspect ratio.
    crop_rounds_down
        Whether a crop that cannot be centered exactly is placed up and left of the center. By
        default it is rounded to the even pixel, as in torchvision and timm.
    origin
        Source of the values that are not stated.
    stated
        Keys of the values stated in the entry.
    """

    size: int = 224
    crop_fraction: float = 1.0
    resample: Image.Resampling = Image.Resampling.BICUBIC
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    squash: bool = False
    crop_rounds_down: bool = False
    origin: Origin = "weights"
    stated: tuple[str, ...] = ()

    @property
    def is_assumed(self) -> bool:
        """Whether mean or deviation are only a library's default for the architecture."""
        return self.origin == "default" and not {"mean", "std"} <= set(self.stated)

    @property
    def text(self) -> str:
        """All values and their source, as a sentence."""
        across = "squeezed to" if self.squash else "cropped to"
        origin = {
            "weights": "as published with the weights",
            "file": "as stated in the file beside the checkpoint",
            "default": "only the library's default for this architecture",
        }[self.origin]
        if self.stated:
            origin = f"{', '.join(self.stated)} as stated in the entry, the rest {origin}"
        return (
            f"Pictures are {across} {self.size} pixels ({self.crop_fraction:.3g} of the resized "
            f"side, {self.resample.name.lower()}), mean {_triple(self.mean)}, deviation "
            f"{_triple(self.std)}: {origin}."
        )

    def content(self) -> dict[str, Any]:
        """The values as plain data, by the keys of an entry."""
        return {
            "input_size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_fraction": self.crop_fraction,
            "interpolation": self.resample.name.lower(),
            "squash": self.squash,
            "origin": self.origin,
            "stated": list(self.stated),
        }


def _triple(values: tuple[float, float, float]) -> str:
    each = [f"{value:.3g}" for value in values]
    return each[0] if len(set(each)) == 1 else " ".join(each)


def timm_preprocessing(module: nn.Module, spec: ModelSpec) -> Preprocessing:
    """The evaluation preprocessing of a timm network, from its own configuration."""
    ensure_imported("timm")
    from timm.data import resolve_data_config

    return from_timm_config(resolve_data_config(model=module), spec.title, spec.input_size)


def from_timm_config(
    config: Mapping[str, Any], title: str, size: int, origin: Origin = "weights"
) -> Preprocessing:
    """The preprocessing in a timm configuration.

    Parameters
    ----------
    config
        With the keys ``mean``, ``std``, ``crop_pct``, ``crop_mode`` and ``interpolation``.
    title
        Name of the model in messages.
    size
        Side in pixels at which the model is evaluated.
    origin
        Source of the configuration.

    Raises
    ------
    UnsupportedModel
        Its preprocessing is not supported.
    """
    if config["crop_mode"] not in ("center", "squash") or config["interpolation"] not in RESAMPLE:
        raise UnsupportedModel(
            f"{title} cannot be shown: it is evaluated on pictures that are resized by "
            f"{config['interpolation']!r} and cropped by {config['crop_mode']!r}, which is not "
            "supported; choose another model."
        )
    return Preprocessing(
        size=size,
        crop_fraction=float(config["crop_pct"]),
        resample=RESAMPLE[config["interpolation"]],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        squash=config["crop_mode"] == "squash",
        origin=origin,
    )


def as_stated(found: Preprocessing, spec: ModelSpec) -> Preprocessing:
    """The same with the values stated in an entry."""
    values: dict[str, Any] = {
        "size": spec.input_size if "input_size" in spec.stated else found.size,
        "mean": spec.mean or found.mean,
        "std": spec.std or found.std,
        "crop_fraction": found.crop_fraction if spec.crop_fraction is None else spec.crop_fraction,
        "resample": RESAMPLE[spec.interpolation] if spec.interpolation else found.resample,
        "squash": found.squash if spec.squash is None else spec.squash,
    }
    return Preprocessing(
        **values,
        crop_rounds_down=found.crop_rounds_down,
        origin=found.origin,
        stated=spec.stated,
    )
