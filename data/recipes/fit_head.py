r"""Fit the transformer's classes to photographs, and write the fitted tensors to their own file.

Run by hand, never by the application; `data/README.md` has the commands and says where the
photographs come from. Features come first, then a fit for each fold and one to all photographs,
then the file, its card and its figures::

    python -m data.recipes.photograph_features --photographs FOLDER --cache features
    python -m data.recipes.held_out --pictures pictures --cache features
    python -m data.recipes.fit_head --cache features --earlier earlier.safetensors --folds
    python -m data.recipes.fit_head --cache features --earlier earlier.safetensors

Results are kept in the cache, so that a stopped run continues where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.paths import DATA, WEIGHTS
from data.recipes.head_card import read_details, write_card
from data.recipes.head_measures import (
    LEAST_FILES,
    SURE,
    agreement,
    best_scale,
    calibration,
    draw_reliability,
    rates,
)
from data.recipes.head_samples import single_samples
from data.recipes.held_out import FILE as HELD_OUT
from data.recipes.last_block import Student, differences
from data.recipes.photograph_fit import (
    EPOCHS,
    LIFT,
    OWN_FEATURES,
    Views,
    classes_of,
    fit,
    in_parts,
    known_classes,
    lifted,
    read_views,
)
from data.recipes.photographs import COLLECTIONS, LABELED, SIDE, photograph
from data.recipes.picture_sources import NATURAL
from data.recipes.weight_files import (
    CLASSES,
    CNN_FILE,
    FITTED,
    HEAD_FILE,
    LAST,
    VIT_FILE,
    Weights,
    check_fitted,
    save_weights,
    to_half,
    vit_model,
    write_checksums,
)

SEED = 21
FOLDS = 5
FINAL = "fitted.safetensors"
RELIABILITY = DATA / "reliability.svg"


def open_backbone() -> nn.Module:
    """Open the shipped backbone."""
    backbone = vit_model()
    backbone.load_state_dict(load_file(WEIGHTS / VIT_FILE), strict=True)
    return backbone


def fold_of(name: str) -> int:
    """The fold in which a photograph is held out; -1 for those always used in the fit.

    A labeled sample is the only one of its class, so its class is left out with it. For Caltech a
    family goes as a whole.
    """
    one = photograph(name)
    if one.collection not in (LABELED, "caltech101"):
        return -1
    key = f"fold {one.collection} {one.folder if one.collection == LABELED else one.family}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") * FOLDS >> 64


def earlier_fit(path: Path, backbone: nn.Module) -> Weights:
    """Read the last block and the head of a weight file as the state of a student.

    Parameters
    ----------
    path
        A whole transformer, or its fitted tensors.
    backbone
        Provides the tensors missing in the file.
    """
    state = Student(backbone, CLASSES).state_dict()
    stored = load_file(path)
    for name in state:
        whole = name.replace("block.", LAST, 1) if name.startswith("block.") else name
        if whole in stored:
            state[name] = stored[whole].float()
    return state


def fitted(
    backbone: nn.Module,
    views: Views,
    known: Tensor,
    path: Path,
    epochs: int,
    earlier: Weights | None,
) -> Student:
    """Fit a student, or read it if it was fitted before."""
    student = Student(backbone, known.shape[1])
    if not path.exists():
        classes = load_file(WEIGHTS / CNN_FILE)["classifier.weight"].float()
        done = fit(backbone, views, known, classes, SEED, epochs, earlier).state_dict()
        partial = path.with_suffix(".part")
        save_file({name: tensor.contiguous() for name, tensor in done.items()}, partial)
        partial.rename(path)
    student.load_state_dict(load_file(path), strict=True)
    return student


def fit_fold(
    number: int,
    backbone: nn.Module,
    views: Views,
    known: Tensor,
    cache: Path,
    epochs: int,
    earlier: Weights | None,
) -> None:
    """Fit without the photographs of a fold, and keep the scores of their central squares."""
    path = cache / f"fold-{number}.npz"
    if path.exists():
        return
    folds = np.array([fold_of(name) for name in views.names.tolist()])
    rows = folds != number
    student = fitted(
        backbone,
        views.rows(rows),
        known[torch.from_numpy(rows)],
        cache / f"fold-{number}.safetensors",
        epochs,
        earlier,
    )
    held = views.rows(~rows & (views.view == 0))
    scores = in_parts(student, held.inputs).numpy().astype(np.float16)
    np.savez(path, names=held.names, scores=scores, logits=held.logits, own=held.own)


def right_answers(cache: Path) -> dict[str, Any]:
    """Measure top-1 and top-5 accuracy on the held-out pictures of the folds.

    Returns
    -------
    dict
        For the labeled samples (each the only one of its class, which the fold left out) and for
        those of Caltech whose folder names classes: rates of the student, and of the teacher on the
        same pixels and on its own view of the photographs.
    """
    parts = []
    for number in range(FOLDS):
        with np.load(cache / f"fold-{number}.npz") as stored:
            parts.append([stored[key] for key in ("names", "scores", "logits", "own")])
    names, *tables = (np.concatenate(column) for column in zip(*parts, strict=True))
    classes = classes_of([name for name in names.tolist() if name.startswith(f"{LABELED}/")])
    found = [(photograph(name), classes(name)) for name in names.tolist()]
    wanted = torch.zeros(len(names), CLASSES, dtype=torch.bool)
    for row, (_, indices) in enumerate(found):
        wanted[row, indices] = True
    family = np.array([one.family for one, _ in found])
    out: dict[str, Any] = {}
    for collection in (LABELED, "caltech101"):
        rows = np.array([one.collection == collection and bool(known) for one, known in found])
        chosen = torch.from_numpy(rows)
        out[collection] = {"families": len(set(family[rows]))} | {
            who: rates(torch.from_numpy(table[rows]).topk(5).indices, wanted[chosen], family[rows])
            for who, table in zip(("student", "teacher", "teacher_own_view"), tables, strict=True)
        }
    return out


def taught(views: Views, known: Tensor) -> np.ndarray:
    """Count the photographs of each class.

    These are the photographs of which a view's target has the class first, if their folder names
    it or the teacher is sure of it.
    """
    best, first = lifted(torch.from_numpy(views.logits).float(), known).softmax(-1).max(-1)
    shown = (known.any(-1) | (best > SURE)).numpy()
    pairs = set(zip(first.numpy()[shown].tolist(), views.names[shown].tolist(), strict=True))
    return np.bincount([index for index, _ in pairs], minlength=CLASSES)


def measured(
    student: Student, views: Views, known: Tensor, cache: Path, epochs: int
) -> dict[str, Any]:
    """Calibrate and round a student, and measure it on the held-out pictures.

    Returns
    -------
    dict
        The card's details, without what needs the whole network.
    """
    with np.load(cache / HELD_OUT) as stored:
        held = {key: stored[key] for key in stored.files}
    inputs, logits = held["features"][:, OWN_FEATURES:], torch.from_numpy(held["logits"]).float()
    natural = held["kind"] == NATURAL
    test = held["split"] == "test"
    choose, judge = ~test & natural, test & natural
    before = calibration(in_parts(student, inputs[judge]), logits[torch.from_numpy(judge)])
    scale = best_scale(in_parts(student, inputs[choose]), logits[torch.from_numpy(choose)])
    with torch.no_grad():
        student.head.weight.mul_(scale)
        student.head.bias.mul_(scale)
    student.load_state_dict(to_half(student.state_dict()))
    after = calibration(in_parts(student, inputs[judge]), logits[torch.from_numpy(judge)])
    files = taught(views, known)
    found = [photograph(name) for name in sorted(set(views.names.tolist()))]
    counts = Counter(photograph(name).collection for name in views.names.tolist())
    return {
        "model": "dinov2-small",
        "head": "linear layer on the class token after the last norm",
        "teacher": "efficientnet-lite0",
        "last_block": "values, projection, MLP with its norm, layer scales and the norm at the "
        "end fitted",
        "tensors": {
            VIT_FILE: "the backbone's, all of them",
            HEAD_FILE: "fitted, in place of the backbone's: " + ", ".join(FITTED),
        },
        "picture_size": SIDE,
        "seed": SEED,
        "photographs": {
            name: {
                "files": sum(one.collection == name for one in found),
                "families": len({one.family for one in found if one.collection == name}),
                "views": counts[name],
            }
            for name in COLLECTIONS
            if counts[name]
        },
        "views": len(views),
        "settings": {"epochs": epochs, "lift": LIFT, "scale": round(scale, 2)},
        "confident": SURE,
        "least_files": LEAST_FILES,
        "true": right_answers(cache),
        "held_out_files": len(set(held["names"][test].tolist())),
        **agreement(
            in_parts(student, inputs[test]),
            logits[torch.from_numpy(test)],
            torch.from_numpy(natural[test]),
            held["family"][test],
            files,
        ),
        "classes_taught": int((files > 0).sum()),
        "classes_taught_well": int((files >= LEAST_FILES).sum()),
        "source_files_of_class": files.tolist(),
        "calibration": {"as_fitted": before, "shipped": after},
    }


def main() -> None:
    """Fit, and write the file, its card and its figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder of the features")
    parser.add_argument(
        "--folds", type=int, nargs="*", metavar="NUMBER", help="fit these folds (all without one)"
    )
    parser.add_argument("--earlier", type=Path, help="weight file of an earlier fit to go on from")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cache: Path = arguments.cache
    views = read_views(cache)
    known = known_classes(views)
    backbone = open_backbone()
    earlier = earlier_fit(arguments.earlier, backbone) if arguments.earlier else None
    if arguments.folds is not None:
        for number in arguments.folds or range(FOLDS):
            fit_fold(number, backbone, views, known, cache, arguments.epochs, earlier)
        return
    student = fitted(backbone, views, known, cache / FINAL, arguments.epochs, earlier)
    details = measured(student, views, known, cache, arguments.epochs)

    own = load_file(WEIGHTS / VIT_FILE)
    file = {
        name: tensor
        for name, tensor in to_half(student.weights()).items()
        if name.startswith(FITTED)
    }
    check_fitted(own, file)
    shipped = vit_model(CLASSES)
    shipped.load_state_dict(own | file, strict=True)
    details["last_layer"] = differences(backbone, shipped, single_samples(shipped))
    # Measured by another recipe, valid for these weights only after it has run again.
    details |= {name: read_details()[name] for name in ("samples", "composites")}

    save_weights(file, WEIGHTS / HEAD_FILE)
    write_card(details)
    write_checksums()
    drawn = details["calibration"]
    draw_reliability(drawn["as_fitted"], drawn["shipped"], RELIABILITY)
    left_out = ("samples", "source_files_of_class", "calibration", "composites")
    print(json.dumps({k: v for k, v in details.items() if k not in left_out}, indent=2))


if __name__ == "__main__":
    main()
