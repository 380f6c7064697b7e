"""Opening a model: find its entry, load it, hand it to the family that can look inside it."""

from __future__ import annotations

import logging

import torch
from torch import nn

from core.errors import CatalogError, ModelError, UnsupportedModel, WeightsError
from core.models.convnet import ConvNet
from core.models.huggingface_vit import HuggingFaceVit
from core.models.model import Model
from core.models.rotary_vit import RotaryVit
from core.models.sources import Loaded, load
from core.models.spec import ModelSpec, find_spec
from core.models.timm_vit import TimmVit
from core.models.torchvision_vit import TorchvisionVit
from core.models.transformer import VisionTransformer
from core.models.unsupported_architectures import unsupported_feature
from core.models.verify import verify
from core.numerics import own_state

FAMILIES: tuple[type[Model], ...] = (TimmVit, RotaryVit, TorchvisionVit, HuggingFaceVit, ConvNet)

__all__ = ["FAMILIES", "Model", "VisionTransformer", "best_device", "open_model", "wrap"]

logger = logging.getLogger(__name__)


def best_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@own_state()
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
    UnsupportedModel
        The architecture has something that cannot be shown truthfully.
    """
    spec = find_spec(model_id)
    loaded = load(spec)
    loaded.module.to(device or best_device())
    return wrap(spec, loaded)


@own_state()
def wrap(spec: ModelSpec, loaded: Loaded) -> Model:
    """Hand a network to the first family that knows its build, and prove what it rebuilds.

    Raises
    ------
    WeightsError
        It is of the other kind than its entry says.
    CatalogError
        It answers with one number, and its entry does not say that this is a label's.
    UnsupportedModel
        No family knows its build, or what one rebuilds is not what the network computes.
    """
    module = loaded.module
    _check_answer(spec, loaded)
    family = next((family for family in FAMILIES if family.accepts(module)), None)
    kind = "vit" if family is not None and issubclass(family, VisionTransformer) else "cnn"
    named = f"{spec.title} ({type(module).__name__})"
    if kind == "vit" and spec.family == "cnn":
        raise WeightsError(
            f"{named} is a vision transformer, but its entry says cnn; correct the entry's family "
            "or its architecture."
        )
    unlike = kind != spec.family and unsupported_feature(
        module
    )  # a transformer that returns maps as well
    if family is None or unlike:
        raise _refusal(spec, module)
    try:
        model = family(spec, module, loaded.labels, loaded.preprocessing, loaded.digest)
        model.answer = spec.answer or loaded.answer or model.answer
        if isinstance(model, VisionTransformer):
            verify(model)
    except Exception as error:  # a build that no family foresaw fails in its own way
        logger.debug("cannot look inside %s", spec.id, exc_info=True)
        told = isinstance(error, ModelError) and kind == spec.family
        if told and (kind == "cnn" or not unsupported_feature(module)):
            raise
        raise _refusal(spec, module) from error
    if kind != spec.family:
        raise WeightsError(
            f"{named} is read as a cnn, but its entry says vit; correct the entry's family or its "
            "architecture."
        )
    return model


def _check_answer(spec: ModelSpec, loaded: Loaded) -> None:
    """Refuse softmax over a single class, whose probability is 1 for any picture."""
    if len(loaded.labels) == 1 and (spec.answer or loaded.answer) != "sigmoid":
        raise CatalogError(
            f"{spec.title} answers with one number, and the softmax of one number is always 1; "
            'write answer = "sigmoid" into its entry, which reads it as the probability of its '
            "one label."
        )


def _refusal(spec: ModelSpec, module: nn.Module) -> UnsupportedModel:
    """Say what the architecture has that cannot be shown."""
    return UnsupportedModel(
        f"{spec.title} ({type(module).__name__}) cannot be shown: it "
        f"{unsupported_feature(module) or 'is built in an unknown way'}; choose a plain vision "
        "transformer or a convolutional network."
    )
