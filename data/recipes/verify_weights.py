"""Compare the built weight files with the sources that they were read from.

Called by ``python -m data.recipes.build_weights --verify``; needs onnx and onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from core.paths import SAMPLES
from data.recipes.weight_files import (
    CNN_ARCHITECTURE,
    CNN_FILE,
    DEPTH,
    HEAD_FILE,
    REFERENCE_FILE,
    VIT_FILE,
    check_fitted,
    to_half,
    vit_model,
)

SIDE = 518
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LIMIT = 1e-4
KEPT_PATCHES = 24
LAST_LAYER = f"backbone.encoder.layer.{DEPTH - 1}"
REFERENCES = {
    "tokens": f"{LAST_LAYER}.norm1.bias",
    "queries": f"{LAST_LAYER}.attention.attention.query.bias",
    "keys": f"{LAST_LAYER}.attention.attention.key.bias",
    "final": "backbone.layernorm.bias",
}
"""Compared tensors, and the constant that the graph adds last for each."""
EXPECTED = {"chelsea.jpg": (281, 282, 285), "coffee.jpg": (967,), "camera.jpg": (872,)}


def load_float(path: Path) -> dict[str, Tensor]:
    """Read a weight file as float32.

    Parameters
    ----------
    path
        A safetensors file.
    """
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_file(path).items()
    }


def picture(side: int) -> Tensor:
    """The cat sample, stretched to a square and normalized for the transformer.

    Parameters
    ----------
    side
        Width and height in pixels.
    """
    image = Image.open(SAMPLES / "chelsea.jpg").convert("RGB")
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
    return ((values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]


def run_graph(graph_bytes: bytes, inputs: Tensor) -> dict[str, Tensor]:
    """Run the ONNX graph up to the backbone's last layer norm.

    The graph declares a square of 224 pixels but computes its shapes from the input; the declared
    size is lifted so that the graph also runs at 518 pixels, where the position embedding is used
    as stored.

    Parameters
    ----------
    graph_bytes
        The serialized ONNX model.
    inputs
        Normalized picture, (1, 3, height, width).

    Returns
    -------
    dict of str to torch.Tensor
        By the keys of `REFERENCES`, each (1, 1 + patches, 384).
    """
    import onnx
    import onnxruntime

    model = onnx.load_from_string(graph_bytes)
    sums = [node for node in model.graph.node if node.op_type == "Add"]
    names = [
        next(node.output[0] for node in sums if constant in node.input)
        for constant in REFERENCES.values()
    ]
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(names, {model.graph.input[0].name: inputs.numpy()})
    return {key: torch.from_numpy(value) for key, value in zip(REFERENCES, found, strict=True)}


def tokens(
    weights: dict[str, Tensor], inputs: Tensor, plain_resize: bool = False
) -> dict[str, Tensor]:
    """Run the rebuilt backbone up to its last norm.

    Parameters
    ----------
    weights
        State dict; a class head in it is left aside.
    inputs
        Normalized picture, (1, 3, height, width).
    plain_resize
        Resize the position embedding beforehand, as the graph does: bicubic without antialiasing.
        timm by itself resizes with antialiasing.

    Returns
    -------
    dict of str to torch.Tensor
        By the keys of `REFERENCES`, each (1, 1 + patches, 384).
    """
    weights = {key: value for key, value in weights.items() if not key.startswith("head.")}
    if plain_resize:
        side = inputs.shape[-1] // 14
        grid = weights["pos_embed"][:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic")
        grid = grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)
        weights["pos_embed"] = torch.cat([weights["pos_embed"][:, :1], grid], dim=1)
        model = timm.create_model(
            "vit_small_patch14_dinov2", img_size=inputs.shape[-1], num_classes=0
        ).eval()
    else:
        model = vit_model()
    model.load_state_dict(weights, strict=True)
    return observed(model, inputs)


def observed(model: torch.nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """The input of a transformer's last attention, and its final tokens.

    Parameters
    ----------
    model
        A timm vision transformer.
    inputs
        Normalized picture, (1, 3, height, width).

    Returns
    -------
    dict of str to torch.Tensor
        By the keys of `REFERENCES`, each (1, 1 + patches, 384).
    """
    block, kept = model.blocks[-1], {}
    hooks = [
        block.norm1.register_forward_hook(lambda *call: kept.update(tokens=call[-1])),
        block.attn.qkv.register_forward_hook(lambda *call: kept.update(qkv=call[-1])),
    ]
    try:
        with torch.inference_mode():
            final = model.forward_features(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    queries, keys, _ = kept["qkv"].chunk(3, dim=-1)
    return {"tokens": kept["tokens"], "queries": queries, "keys": keys, "final": final}


def compare(name: str, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Print the largest absolute differences of all tables, and return the greatest of them.

    Parameters
    ----------
    name
        Name of the comparison.
    ours, theirs
        By the keys of `REFERENCES`.
    """
    errors = []
    for key, reference in theirs.items():
        errors.append(float((ours[key] - reference).abs().max()))
        cosine = torch.nn.functional.cosine_similarity(ours[key], reference, dim=-1)
        print(
            f"{name}, {key}: largest difference {errors[-1]:.2e}, values up to "
            f"{float(reference.abs().max()):.1f}, least cosine {float(cosine.min()):.7f}"
        )
    return max(errors)


def report(
    cnn: dict[str, Tensor], vit: dict[str, Tensor], graph_bytes: bytes, folder: Path
) -> None:
    """Print every comparison, store the reference for the tests, and reject a bad build.

    Parameters
    ----------
    cnn, vit
        The state dicts in float32, before rounding.
    graph_bytes
        The ONNX model that the transformer was read from.
    folder
        Folder of the weight files and the reference.
    """
    halved = to_half(vit)
    shipped = load_file(folder / VIT_FILE)
    if shipped.keys() != halved.keys() or not all(
        torch.equal(tensor, halved[name]) for name, tensor in shipped.items()
    ):
        raise SystemExit(f"{VIT_FILE} is not what its source gives")
    if (folder / HEAD_FILE).exists():
        check_fitted(halved, load_file(folder / HEAD_FILE))
        print("what was fitted leaves queries, keys and all layers before the last as they were")
    halved = {key: value.float() for key, value in halved.items()}
    for side in (SIDE, 224):
        inputs = picture(side)
        theirs = run_graph(graph_bytes, inputs)
        plain = side != SIDE
        error = compare(f"float32 at {side}", tokens(vit, inputs, plain), theirs)
        compare(f"half at {side}", tokens(halved, inputs, plain), theirs)
        if error > LIMIT:
            raise SystemExit(f"the rebuilt backbone differs from its graph by {error:.2e}")
        if plain:
            compare(f"half at {side}, timm's own resize", tokens(halved, inputs), theirs)
        else:
            store_reference(theirs, folder)
    check_cnn(cnn, folder)


def store_reference(theirs: dict[str, Tensor], folder: Path) -> None:
    """Store the graph's class token and some patches, for tests without the graph.

    Parameters
    ----------
    theirs
        Outputs of the graph at 518 pixels. The final tokens are left out: the shipped last block
        is fitted.
    folder
        Folder of the file.
    """
    count = theirs["tokens"].shape[1]
    chosen = np.linspace(1, count - 1, KEPT_PATCHES).round().astype(np.int64)
    chosen = np.concatenate([np.zeros(1, dtype=np.int64), chosen])
    kept = {key: theirs[key][0, chosen].numpy() for key in theirs if key != "final"}
    np.savez_compressed(folder / REFERENCE_FILE, positions=chosen, side=SIDE, **kept)


def check_cnn(cnn: dict[str, Tensor], folder: Path) -> None:
    """Check the convolutional network's predictions before and after rounding.

    Parameters
    ----------
    cnn
        State dict in float32, before rounding.
    folder
        Folder of the weight file.
    """
    model = timm.create_model(CNN_ARCHITECTURE).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    for file, wanted in EXPECTED.items():
        inputs = transform(Image.open(SAMPLES / file).convert("RGB"))[None]
        results = []
        for weights in (cnn, load_float(folder / CNN_FILE)):
            model.load_state_dict(weights, strict=True)
            with torch.inference_mode():
                results.append(model(inputs).softmax(-1)[0])
        top = results[1].topk(3)
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        shown = ", ".join(f"{index} {value:.3f}" for index, value in pairs)
        error = float((results[0] - results[1]).abs().max())
        print(f"{file}: {shown}; rounding changes a probability by at most {error:.4f}")
        if int(top.indices[0]) not in wanted:
            raise SystemExit(f"{file}: expected one of {wanted}")
