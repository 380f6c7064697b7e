"""Answers of teacher and student for the shipped pictures of one object."""

from __future__ import annotations

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from core.paths import LABELS, SAMPLES, WEIGHTS
from data.recipes.photographs import SIDE
from data.recipes.weight_files import CNN_ARCHITECTURE, CNN_FILE

PAIRS = ("cat-beside-cup.jpg", "cup-beside-tripod.jpg")


def names_of_samples() -> list[str]:
    """The files of the pictures of one object."""
    return [path.name for path in sorted(SAMPLES.glob("*.jpg")) if path.name not in PAIRS]


def single_samples(model: nn.Module) -> Tensor:
    """The central squares of these pictures, normalized for a timm model.

    Parameters
    ----------
    model
        Its configuration states mean and deviation.

    Returns
    -------
    torch.Tensor
        (pictures, 3, 224, 224).
    """
    config = timm.data.resolve_data_config({}, model=model)
    squares = []
    for name in names_of_samples():
        image = Image.open(SAMPLES / name).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        squares.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)))
    values = torch.from_numpy(np.stack(squares)).float() / 255
    return ((values - torch.tensor(config["mean"])) / torch.tensor(config["std"])).permute(
        0, 3, 1, 2
    )


@torch.inference_mode()
def on_samples(vit: nn.Module) -> dict[str, dict[str, object]]:
    """Compare student and teacher on the shipped pictures of one object.

    Parameters
    ----------
    vit
        The shipped transformer.
    """
    labels = (LABELS / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()
    cnn = timm.create_model(CNN_ARCHITECTURE).eval()
    cnn.load_state_dict(load_file(WEIGHTS / CNN_FILE), strict=True)
    answers = {
        "teacher": cnn(single_samples(cnn)).softmax(-1),
        "student": vit(single_samples(vit)).softmax(-1),
    }
    out: dict[str, dict[str, object]] = {}
    for row, name in enumerate(names_of_samples()):
        entry: dict[str, object] = {}
        for who, values in answers.items():
            best = values[row].topk(5)
            entry[who] = [
                {"index": index, "name": labels[index], "probability": round(value, 3)}
                for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        first = int(answers["teacher"][row].argmax())
        entry["top1"] = bool(int(answers["student"][row].argmax()) == first)
        entry["top5"] = bool(first in answers["student"][row].topk(5).indices)
        out[name] = entry
    return out
