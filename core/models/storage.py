"""Whether the weights of a model lie on this machine, asked without loading them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core.paths import WEIGHTS

Source = Literal["embedded", "timm", "torchvision", "hub", "local"]
"""Where weights come from: this repository, a library's own store, the hub, a checkpoint."""


def is_stored(source: Source, architecture: str, weights: str) -> bool:
    """Whether no download is needed to open a model.

    Only the library of this very source is imported, and only when the question is asked.

    Parameters
    ----------
    source
        Where the weights come from.
    architecture
        Name in timm or torchvision, or repository on the Hugging Face hub.
    weights
        File name (embedded), enum member (torchvision) or path (local); not used otherwise.
    """
    if source == "embedded":
        return (WEIGHTS / weights).is_file()
    if source == "local":
        return Path(weights).is_file()
    if source == "torchvision":
        import torch
        import torchvision

        url: str = torchvision.models.get_model_weights(architecture)[weights].url
        return (Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]).is_file()
    from huggingface_hub import try_to_load_from_cache

    repository = f"timm/{architecture}" if source == "timm" else architecture
    return isinstance(try_to_load_from_cache(repository, "model.safetensors"), str)
