"""The embedded models' weight files: names, fitted tensors, and writing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.paths import WEIGHTS

CNN_FILE = "efficientnet-lite0.safetensors"
VIT_FILE = "dinov2-small.safetensors"
HEAD_FILE = "dinov2-small.head.safetensors"
REFERENCE_FILE = "dinov2-small.reference.npz"
CNN_ARCHITECTURE = "tf_efficientnet_lite0"
VIT_ARCHITECTURE = "vit_small_patch14_dinov2"
DEPTH = 12
CLASSES = 1000
LAST = f"blocks.{DEPTH - 1}."
FITTED = (f"{LAST}attn.", f"{LAST}ls", f"{LAST}norm2.", f"{LAST}mlp.", "norm.", "head.")
"""Prefixes of the tensors that ``fit_head`` fits. Of ``attn.qkv`` only the values are fitted:
queries and keys, and so every layer's attention, do not change."""

Weights = dict[str, Tensor]


def vit_model(classes: int = 0) -> torch.nn.Module:
    """The transformer's architecture for the weight file.

    Parameters
    ----------
    classes
        Width of the class head; 0 leaves it out.
    """
    return timm.create_model(
        VIT_ARCHITECTURE, img_size=518, num_classes=classes, dynamic_img_size=True
    ).eval()


def to_half(weights: Weights) -> Weights:
    """Round floating-point tensors to half precision, rejecting values out of its range.

    Parameters
    ----------
    weights
        State dict; integer tensors are passed on unchanged.
    """
    out: Weights = {}
    for name, tensor in weights.items():
        rounded = tensor.half() if tensor.is_floating_point() else tensor
        if rounded.is_floating_point() and not bool(torch.isfinite(rounded).all()):
            raise ValueError(f"{name} does not fit half precision")
        out[name] = rounded.contiguous()
    return out


def check_fitted(backbone: Weights, fitted: Weights) -> None:
    """Reject a file of fitted tensors with other tensors, or with another attention.

    Parameters
    ----------
    backbone
        State dict without a head, as it was read from the graph, in half precision.
    fitted
        The tensors that replace those of the backbone, and the head.
    """
    for name, tensor in fitted.items():
        if not name.startswith(FITTED):
            raise SystemExit(f"{name} is not among what is fitted")
        if name.startswith(f"{LAST}attn.qkv."):
            rows = 2 * len(tensor) // 3
            if not torch.equal(tensor[:rows], backbone[name][:rows]):
                raise SystemExit(f"queries and keys in {name} differ from the backbone's")


def whole_vit(folder: Path = WEIGHTS) -> Weights:
    """Read both files of the transformer, as the application does.

    Parameters
    ----------
    folder
        Folder of the weight files.
    """
    return load_file(folder / VIT_FILE) | load_file(folder / HEAD_FILE)


def write_checksums(folder: Path = WEIGHTS) -> None:
    """Write ``SHA256SUMS`` over every other file of the folder, as ``sha256sum -c`` reads it.

    Parameters
    ----------
    folder
        Folder of the weight files.
    """
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "SHA256SUMS" and not path.name.startswith(".")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def save_weights(weights: Weights, path: Path) -> None:
    """Write a weight file that all users of the system may read.

    Parameters
    ----------
    weights
        State dict in half precision.
    path
        Destination; the name determines which of the two architectures it is.
    """
    architecture = CNN_ARCHITECTURE if path.name == CNN_FILE else VIT_ARCHITECTURE
    save_file(weights, path, metadata={"architecture": architecture})
    path.chmod(0o644)
