"""What the student is fitted to: pictures, the teacher's scores of them, the student's features.

The teacher runs in onnxruntime, which is three times as fast on a processor as PyTorch is with its
depthwise convolutions; the scores agree to 1e-5.
"""

from __future__ import annotations

import hashlib
import io
import time
import warnings
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from core import files
from core.paths import WEIGHTS
from data.recipes.build_weights import VIT_SOURCE, convert_vit, read_source
from data.recipes.distill_pictures import draw
from data.recipes.head_fit import SURE, Table
from data.recipes.last_block import block_inputs
from data.recipes.picture_sources import CUTOUT, NATURAL, SIDE, SPLITS, Source, collect, split
from data.recipes.weight_files import CNN_ARCHITECTURE, CNN_FILE, to_half, vit_model

SEED = 21
CHUNK = 512
BATCH = 16
KEEP_UNSURE = 0.3
MOST_OF_A_CLASS = 6
MIDDLE = 0.875
SPLIT_SHARES = (0.88, 0.05, 0.07)
NATURAL_SHARE = 0.62
SCRIPTS = ("picture_sources", "distill_pictures", "head_features", "last_block")
RECIPE = (*(Path(__file__).with_name(f"{name}.py") for name in SCRIPTS), WEIGHTS / CNN_FILE)
"""Files that decide the features; pictures, backbone and `SURE` do so too."""


def normalized(images: list[Image.Image], model: nn.Module) -> Tensor:
    """Stack pictures with the mean and deviation that the model's own configuration names.

    Parameters
    ----------
    images : list of PIL.Image.Image
        RGB pictures of one size.
    model : torch.nn.Module
        A timm model.
    """
    config = timm.data.resolve_data_config({}, model=model)
    values = torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    return ((values - mean) / std).permute(0, 3, 1, 2)


class Teacher:
    """The convolutional network in onnxruntime.

    Parameters
    ----------
    folder : pathlib.Path
        The weights folder.
    threads : int
        Processor threads.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime

        self._model = timm.create_model(CNN_ARCHITECTURE).eval()
        self._model.load_state_dict(load_file(folder / CNN_FILE), strict=True)
        graph = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter that needs no further package is old
            torch.onnx.export(
                self._model,
                (torch.zeros(2, 3, SIDE, SIDE),),
                graph,
                dynamo=False,
                input_names=["pictures"],
                dynamic_axes={"pictures": {0: "batch"}},
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            graph.getvalue(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: list[Image.Image]) -> Tensor:
        """Return the class scores of RGB pictures of 224 by 224 pixels, (pictures, 1000)."""
        found = [
            self._session.run(None, {"pictures": normalized(part, self._model).numpy()})[0]
            for part in batches(images)
        ]
        return torch.from_numpy(np.concatenate(found))

    def averaged(self, images: list[Image.Image], plain: Tensor) -> Tensor:
        """Average the class scores over a picture, its mirror image and its middle.

        Parameters
        ----------
        images : list of PIL.Image.Image
            RGB pictures of 224 by 224 pixels.
        plain : torch.Tensor
            The class scores of the pictures as they are.
        """
        edge = round(SIDE * (1 - MIDDLE) / 2)
        box = (edge, edge, SIDE - edge, SIDE - edge)
        middles = [image.resize(image.size, Image.Resampling.BICUBIC, box=box) for image in images]
        mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
        return (plain + self(mirrored) + self(middles)) / 3


def batches(images: list[Image.Image]) -> list[list[Image.Image]]:
    """Divide pictures into batches."""
    return [images[at : at + BATCH] for at in range(0, len(images), BATCH)]


def open_backbone(wheels: Path | None) -> nn.Module:
    """Read the transformer as its package has it, rounded as it is shipped.

    Not from the shipped file, whose last block is fitted.

    Parameters
    ----------
    wheels : pathlib.Path or None
        Folder of downloaded wheels; with None the installed package is used.
    """
    backbone = vit_model()
    backbone.load_state_dict(to_half(convert_vit(read_source(VIT_SOURCE, wheels))), strict=True)
    return backbone


def student_inputs(backbone: nn.Module, images: list[Image.Image]) -> Tensor:
    """Return what the student sees of pictures of 224 by 224 pixels."""
    return torch.cat([block_inputs(backbone, normalized(p, backbone)) for p in batches(images)])


def chosen_rows(logits: Tensor, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose which candidates of a chunk get features.

    Held-out pictures of which the teacher is sure are all kept: the agreement is measured on them.
    Of pictures to fit to, a class that many candidates show is thinned out, which spares time for
    rare ones. Of the pictures of which the teacher is not sure some are kept, in every split alike.

    Parameters
    ----------
    logits : torch.Tensor
        The teacher's class scores, (candidates, 1000).
    train : numpy.ndarray
        Whether a candidate is one to fit to.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    numpy.ndarray
        Rows that are kept, rising.
    """
    best, first = logits.softmax(-1).max(-1)
    sure = best.numpy() > SURE
    crowd = np.bincount(first.numpy()[sure & train], minlength=logits.shape[1])
    chance = np.where(train, np.minimum(1.0, MOST_OF_A_CLASS / np.maximum(crowd, 1))[first], 1.0)
    chance = np.where(sure, chance, KEEP_UNSURE)
    return np.flatnonzero(rng.random(len(chance)) < chance)


def make_chunk(
    number: int,
    sources: list[Source],
    families: dict[str, dict[str, list[list[int]]]],
    teacher: Teacher,
    backbone: nn.Module,
) -> dict[str, np.ndarray]:
    """Draw candidate pictures and compute the features of those that are kept.

    Parameters
    ----------
    number : int
        Number of the chunk; seed and number fix its pictures.
    sources : list of Source
        The source pictures.
    families : dict
        What :func:`picture_sources.split` returned.
    teacher : Teacher
        The convolutional network.
    backbone : torch.nn.Module
        The transformer.

    Returns
    -------
    dict of str to numpy.ndarray
        Rows of the table for this chunk.
    """
    rng = np.random.default_rng([SEED, number])
    drawn: list[tuple[Image.Image, int, int, int]] = []
    for _ in range(CHUNK):
        part = int(rng.choice(len(SPLITS), p=SPLIT_SHARES))
        natural = bool(rng.random() < NATURAL_SHARE)
        name = SPLITS[part]
        kind = NATURAL if natural else CUTOUT
        image, index = draw(sources, families[name], kind, rng, augment=name == "train")
        drawn.append((image, index, part, int(natural)))
    logits = teacher([item[0] for item in drawn])
    train = np.array([item[2] for item in drawn]) == SPLITS.index("train")
    kept = chosen_rows(logits, train, rng)
    images, logits = [drawn[row][0] for row in kept], logits[torch.from_numpy(kept)]
    columns = np.array([item[1:] for item in drawn])[kept]
    return {
        "inputs": student_inputs(backbone, images).numpy().astype(np.float16),
        "logits": logits.numpy().astype(np.float16),
        "averaged": teacher.averaged(images, logits).numpy().astype(np.float16),
        "source": columns[:, 0],
        "split": columns[:, 1],
        "natural": columns[:, 2].astype(bool),
    }


def check_recipe(sources: list[Source], backbone: nn.Module, path: Path) -> None:
    """Refuse a cache whose features were made of other pictures or in another way.

    Parameters
    ----------
    sources : list of Source
        The source pictures.
    backbone : torch.nn.Module
        The transformer.
    path : pathlib.Path
        File in the cache that holds the recipe's digest; written where there is none.
    """
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.name} {source.family} {source.image.size}\n".encode())
    for file in RECIPE:
        digest.update(file.read_bytes())
    for tensor in backbone.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    digest.update(f"sure above {SURE}".encode())
    if path.exists() and path.read_text(encoding="utf-8") != digest.hexdigest():
        raise SystemExit(f"{path.parent} holds features of another recipe; choose an empty folder.")
    path.write_text(digest.hexdigest(), encoding="utf-8")


def features(
    count: int, pictures: Path, cache: Path, teacher: Teacher, backbone: nn.Module
) -> Table:
    """Fill the cache up to the wanted number of pictures and read it.

    Parameters
    ----------
    count : int
        Pictures wanted, over all splits.
    pictures : pathlib.Path
        The unpacked packages.
    cache : pathlib.Path
        Folder of the chunks.
    teacher : Teacher
        The convolutional network.
    backbone : torch.nn.Module
        The transformer.

    Returns
    -------
    Table
        Features and soft labels.
    """
    cache.mkdir(parents=True, exist_ok=True)
    sources = collect(pictures)
    check_recipe(sources, backbone, cache / "recipe.sha256")
    families = split(sources)
    chunks: list[dict[str, np.ndarray]] = []
    total = 0
    started = time.perf_counter()
    while total < count:
        path = cache / f"chunk-{len(chunks):04d}.npz"
        if not path.exists():
            chunk = make_chunk(len(chunks), sources, families, teacher, backbone)
            with files.replacing(path) as part, part.open("wb") as file:
                np.savez(file, **chunk)
            print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)
        with np.load(path) as stored:
            chunks.append({key: stored[key] for key in stored.files})
        total += len(chunks[-1]["source"])
    columns = {key: np.concatenate([c[key] for c in chunks]) for key in chunks[0]}
    _, family = np.unique([source.family for source in sources], return_inverse=True)
    return Table(**columns, family=family[columns["source"]])
