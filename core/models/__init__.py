"""Opening a model: find its entry, load it, hand it to the family that can look inside it."""

from __future__ import annotations

import torch
from torch import nn

from core.errors import WeightsError
from core.models.base import Model, VisionTransformer
from core.models.convnet import ConvNet
from core.models.huggingface_vit import HuggingFaceVit
from core.models.sources import Loaded, load
from core.models.spec import ModelSpec, find_spec
from core.models.timm_vit import TimmVit
from core.models.torchvision_vit import TorchvisionVit

FAMILIES: tuple[type[Model], ...] = (TimmVit, TorchvisionVit, HuggingFaceVit, ConvNet)

__all__ = ["FAMILIES", "Model", "VisionTransformer", "best_device", "open_model", "wrap"]


def best_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def open_model(model_id: str, device: str | torch.device | None = None) -> Model:
    """Load a model of the catalog, frozen and ready to be shared between threads.

    Each call loads anew; keep the result.

    Parameters
    ----------
    model_id
        An ``id`` of `core.catalog`.
    device
        Where it is to run; by default `best_device`.

    Raises
    ------
    UnknownModel
        No such id.
    WeightsError
        The weights cannot be had or do not fit.
    """
    spec = find_spec(model_id)
    loaded = load(spec)
    loaded.module.to(device or best_device())
    return wrap(spec, loaded)


def wrap(spec: ModelSpec, loaded: Loaded) -> Model:
    """Hand a network to the first family that knows its build."""
    module: nn.Module = loaded.module
    for family in FAMILIES:
        if family.accepts(module):
            kind = "vit" if issubclass(family, VisionTransformer) else "cnn"
            if kind != spec.family:
                raise WeightsError(
                    f"{spec.title} ({type(module).__name__}) is read as a {kind}, but its entry "
                    f"says {spec.family}; correct the entry's family or its architecture."
                )
            return family(spec, module, loaded.labels, loaded.preprocessing)
    raise WeightsError(
        f"{spec.title} ({type(module).__name__}) is built like none of the supported families: "
        + ", ".join(family.__name__ for family in FAMILIES)
        + "."
    )
