"""The embedded models' weight files: their names, what of them is fitted, how they are written."""

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
REFERENCE_FILE = "dinov2-small.reference.npz"
CNN_ARCHITECTURE = "tf_efficientnet_lite0"
VIT_ARCHITECTURE = "vit_small_patch14_dinov2"
DEPTH = 12
CLASSES = 1000
LAST = f"blocks.{DEPTH - 1}."
FITTED = (f"{LAST}attn.", f"{LAST}ls", f"{LAST}norm2.", f"{LAST}mlp.", "norm.", "head.")
"""Beginnings of the names that ``distill_head`` fits. Of ``attn.qkv`` these are the values only:
queries and keys stay, and with them every layer's attention."""

Weights = dict[str, Tensor]


def vit_model(classes: int = 0) -> torch.nn.Module:
    """Return the transformer's architecture as the weight file expects it.

    Parameters
    ----------
    classes : int
        Width of the class head; 0 leaves it out.
    """
    return timm.create_model(
        VIT_ARCHITECTURE, img_size=518, num_classes=classes, dynamic_img_size=True
    ).eval()


def to_half(weights: Weights) -> Weights:
    """Round floating-point tensors to half precision, refusing values that it cannot hold.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
        State dict; integer tensors are passed on unchanged.
    """
    out: Weights = {}
    for name, tensor in weights.items():
        rounded = tensor.half() if tensor.is_floating_point() else tensor
        if rounded.is_floating_point() and not bool(torch.isfinite(rounded).all()):
            raise ValueError(f"{name} does not fit half precision")
        out[name] = rounded.contiguous()
    return out


def source_rows(name: str, tensor: Tensor) -> int:
    """Return how many first rows of a tensor are those of the source, whatever was fitted."""
    if name.startswith(f"{LAST}attn.qkv."):
        return 2 * len(tensor) // 3
    return 0 if name.startswith(FITTED) else len(tensor)


def add_fitted(backbone: Weights, path: Path) -> Weights:
    """Replace what is fitted by what a weight file that was written before has there.

    Parameters
    ----------
    backbone : dict of str to torch.Tensor
        State dict without a head, in half precision.
    path : pathlib.Path
        The transformer's safetensors file. Where there is none, the head is zero, which gives
        every class the same probability until ``distill_head`` has run.
    """
    out = dict(backbone)
    if not path.exists():
        out["head.weight"] = torch.zeros(CLASSES, 384, dtype=torch.float16)
        out["head.bias"] = torch.zeros(CLASSES, dtype=torch.float16)
        return out
    for name, tensor in load_file(path).items():
        if name.startswith(FITTED):
            rows = source_rows(name, tensor)
            out[name] = torch.cat([out[name][:rows], tensor[rows:]]) if rows else tensor
    return out


def check_fitted(backbone: Weights, shipped: Weights) -> None:
    """Refuse weights that differ from their source in more than what is fitted.

    Parameters
    ----------
    backbone : dict of str to torch.Tensor
        State dict without a head, as it was read from the graph, in half precision.
    shipped : dict of str to torch.Tensor
        State dict as it is shipped.
    """
    for name, tensor in backbone.items():
        rows = source_rows(name, tensor)
        if not torch.equal(shipped[name][:rows], tensor[:rows]):
            raise SystemExit(f"{name} differs from its source and is not among what is fitted")


def write_checksums(folder: Path = WEIGHTS) -> None:
    """Write ``SHA256SUMS`` over every other file of the folder, as ``sha256sum -c`` reads it.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the weight files.
    """
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "SHA256SUMS" and not path.name.startswith(".")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def save_weights(weights: Weights, path: Path) -> None:
    """Write a weight file that everyone may read.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
        State dict in half precision.
    path : pathlib.Path
        Where to write; the name says which of the two architectures it is.
    """
    architecture = CNN_ARCHITECTURE if path.name == CNN_FILE else VIT_ARCHITECTURE
    save_file(weights, path, metadata={"architecture": architecture})
    path.chmod(0o644)
