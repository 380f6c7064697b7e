"""Opening a model: find its entry, load it, and wrap it in its family's class."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from core import probes
from core.errors import CatalogError, ModelError, UnsupportedModel, WeightsError
from core.models.biased_vit import BiasedVit
from core.models.convnet import ConvNet
from core.models.huggingface_vit import HuggingFaceVit
from core.models.loaded import Loaded
from core.models.model import Model
from core.models.pixels_only import PixelsOnly
from core.models.rotary_vit import RotaryVit
from core.models.sources import load
from core.models.spec import ModelSpec, find_spec
from core.models.stated import entry_for, is_place
from core.models.timm_vit import TimmVit
from core.models.torchvision_vit import TorchvisionVit
from core.models.transformer import VisionTransformer
from core.models.unsupported_architectures import unsupported_feature
from core.models.verify import verify
from core.models.windowed import WindowedNet
from core.numerics import own_state

FAMILIES: tuple[type[Model], ...] = (
    TimmVit,
    RotaryVit,
    BiasedVit,
    TorchvisionVit,
    HuggingFaceVit,
    WindowedNet,
    ConvNet,
)

__all__ = ["FAMILIES", "Model", "VisionTransformer", "best_device", "open_model", "opened", "wrap"]

logger = logging.getLogger(__name__)


def best_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@own_state()
def open_model(
    model: str | os.PathLike[str], device: str | torch.device | None = None, **stated: Any
) -> Model:
    """Load a model, frozen and ready to be shared between threads.

    Each call loads the model again; keep the result.

    Parameters
    ----------
    model
        An ``id`` of `core.catalog`, the path of a checkpoint or of a folder with one, or a
        repository on the hub, ``"hf-hub:owner/name"``.
    device
        Device of the model; by default `best_device`.
    **stated
        Facts about a checkpoint, by the keys of ``models.toml``: ``architecture``, ``labels``
        (also a list of names), ``mean``, ``std``, ``input_size``, … Missing values are taken
        from the file, from the files beside it, or from the shapes of its tensors;
        `Model.remarks` states what was chosen.

    Raises
    ------
    UnknownModel
        No such id.
    CatalogError
        A key or value that cannot be stated.
    WeightsError
        The weights are not available or do not fit.
    UnsupportedModel
        The network does not return one logit per class.
    """
    if is_place(model):
        spec, names = entry_for(model, stated)
        return opened(spec, device, names, any_family="family" not in stated)[0]
    spec = find_spec(str(model))
    if stated:
        raise CatalogError(
            f"{spec.title} is a model of the catalog, whose {min(stated)!r} is known; omit "
            "it, or give the path of a checkpoint."
        )
    return opened(spec, device)[0]


@own_state()
def opened(
    spec: ModelSpec,
    device: str | torch.device | None = None,
    names: Sequence[str] | None = None,
    any_family: bool = False,
) -> tuple[Model, Loaded]:
    """The model of an entry, and how its weights were read; see `open_model`.

    Parameters
    ----------
    names
        Class names of a checkpoint, in index order, if the entry has no list of them.
    any_family
        Whether the family in the entry is only a guess, to be replaced by the detected one.
    """
    loaded = load(spec, names)
    loaded.module.to(device or best_device())
    if spec.source == "local" or any_family:
        size = loaded.preprocessing.size
        spec = replace(spec, input_size=size, architecture=spec.architecture or loaded.architecture)
    if any_family:
        count = sum(parameter.numel() for parameter in loaded.module.parameters())
        spec = replace(spec, family=_family(loaded.module), parameters=round(count / 1e6, 1))
    model = wrap(spec, loaded)
    model.remarks = loaded.remarks
    return model, loaded


def _family(module: nn.Module) -> Literal["cnn", "vit"]:
    """The kind of a network."""
    found = next((family for family in FAMILIES if family.accepts(module)), None)
    return "vit" if found is not None and issubclass(found, VisionTransformer) else "cnn"


@own_state()
def wrap(spec: ModelSpec, loaded: Loaded) -> Model:
    """Wrap a network in the first family that supports its structure, and verify it.

    A network that no family supports, or whose check fails, is opened as `PixelsOnly`.

    Raises
    ------
    WeightsError
        The network is of another kind than its entry states.
    CatalogError
        The network has one logit, and its entry does not state ``answer = "sigmoid"``.
    UnsupportedModel
        The network does not return one logit per class.
    """
    _check_answer(spec, loaded)
    module = loaded.module
    families = [family for family in FAMILIES if family.accepts(module)]
    named = f"{spec.title} ({type(module).__name__})"
    if families and issubclass(families[0], VisionTransformer) and spec.family == "cnn":
        raise WeightsError(
            f"{named} is a vision transformer, but its entry says cnn; correct the entry's family "
            "or its architecture."
        )
    feature = unsupported_feature(module)
    try:
        model, reason = _first(families, spec, loaded)
    except ModelError:
        raise
    except Exception as error:  # such as when the output is not a tensor
        raise UnsupportedModel(
            f"{named} cannot be shown: it {feature or 'is built in an unknown way'}, and it does "
            "not answer a picture with one number for each class; choose another model."
        ) from error
    if type(model) is ConvNet and spec.family == "vit" and not feature:
        raise WeightsError(
            f"{named} is read as a cnn, but its entry says vit; correct the entry's family or its "
            "architecture."
        )
    because = f"it {feature}" if feature else reason or "it is built in an unknown way"
    if isinstance(model, PixelsOnly):
        model.limits = (
            f"{named} is explained from outside, by its pixels and answers alone: {because}."
        )
    elif isinstance(model, WindowedNet):
        model.limits = (
            f"{named} has attention within windows, which is shown layer by layer; it cannot be "
            "followed across layers."
        )
    elif isinstance(model, ConvNet) and feature:
        model.limits = f"Attention of {named} is not shown: {because}."
    model.answer = spec.answer or loaded.answer or model.answer
    return model


def _first(families: Sequence[type[Model]], spec: ModelSpec, loaded: Loaded) -> tuple[Model, str]:
    """The first family that supports a network, else `PixelsOnly`; and why earlier ones do not."""
    reason = ""
    for family in families:
        try:
            model = family(spec, loaded.module, loaded.labels, loaded.preprocessing, loaded.digest)
            if isinstance(model, VisionTransformer):
                verify(model)
            return model, reason
        except Exception as error:  # an unforeseen structure can fail in any way
            logger.debug("cannot look inside %s", spec.id, exc_info=True)
            reason = reason or (error.reason if isinstance(error, UnsupportedModel) else "")
            probes.remove(loaded.module)
    return PixelsOnly(
        spec, loaded.module, loaded.labels, loaded.preprocessing, loaded.digest
    ), reason


def _check_answer(spec: ModelSpec, loaded: Loaded) -> None:
    """Reject softmax over a single class, whose probability is 1 for any picture."""
    if len(loaded.labels) == 1 and (spec.answer or loaded.answer) != "sigmoid":
        raise CatalogError(
            f"{spec.title} answers with one number, and the softmax of one number is always 1; "
            'state answer = "sigmoid" (in its entry, or --answer sigmoid), which reads it as the '
            "probability of its one label."
        )
