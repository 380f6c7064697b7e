"""Quality of the classes: accuracy, agreement with the teacher, coverage, calibration."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 10
REPLICATES = 2000
SEED = 3
CONFIDENCES = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
SURE = 0.3
"""Probability above which the teacher is sure of its first class."""
LEAST_FILES = 3
"""Fewest photographs of a class in the fit; below this it is marked as doubtful."""
FACTORS = torch.linspace(0.4, 2.5, 43)


def error_of_rate(hits: np.ndarray, family: np.ndarray) -> float:
    """The standard error of a rate, by a bootstrap over families of files.

    Crops of one photograph are correlated, so a hundred of them give little more than one.

    Parameters
    ----------
    hits
        (pictures,) booleans.
    family
        Number of each picture's family.
    """
    if not len(hits):
        return 0.0
    _, place, sizes = np.unique(family, return_inverse=True, return_counts=True)
    count = len(sizes)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(count, np.full(count, 1 / count), REPLICATES)
    return float(((drawn @ np.bincount(place, hits)) / (drawn @ sizes)).std())


def rates(ranked: Tensor, wanted: Tensor, family: np.ndarray) -> dict[str, float | int]:
    """Top-1 and top-5 rates of right classes.

    Parameters
    ----------
    ranked
        The five first classes, (pictures, 5).
    wanted
        Whether a class is right, (pictures, 1000) booleans.
    family
        Number or name of each picture's family.
    """
    hits = wanted.gather(1, ranked).numpy()
    out: dict[str, float | int] = {}
    for key, right in (("top1", hits[:, 0]), ("top5", hits.any(-1))):
        out[key] = round(float(right.mean()), 3) if len(right) else 0.0
        out[f"{key}_error"] = round(error_of_rate(right, family), 3)
    return out | {"n": len(hits)}


def first_of(logits: Tensor) -> Tensor:
    """The teacher's first class, (pictures, 1000) booleans."""
    return F.one_hot(logits.argmax(-1), logits.shape[1]).bool()


def agreement(
    scores: Tensor, logits: Tensor, natural: Tensor, family: np.ndarray, files: np.ndarray
) -> dict[str, Any]:
    """Measure how often the student names the teacher's class.

    Parameters
    ----------
    scores, logits
        The student's and the teacher's class scores of held-out pictures, (pictures, 1000).
    natural
        True for crops of photographs, False for cut-outs.
    family
        Number or name of each picture's family.
    files
        Number of photographs in the fit of each class, (1000,).

    Returns
    -------
    dict
        Rates for crops of photographs and for cut-outs where the teacher is sure; rates by the
        teacher's confidence (over all crops), and by the number of photographs of the class in the
        fit.
    """
    best, first = logits.softmax(-1).max(-1)
    ranked, wanted, sure = scores.topk(5).indices, first_of(logits), best > SURE
    taught_by = torch.from_numpy(files)[first]

    def of(rows: Tensor) -> dict[str, float | int]:
        return rates(ranked[rows], wanted[rows], family[rows.numpy()])

    out: dict[str, Any] = {"natural": of(sure & natural), "cutouts": of(sure & ~natural)}
    out["by_confidence"] = [
        {"above": low, "to": high, **of(natural & (best > low) & (best <= high))}
        for low, high in itertools.pairwise(CONFIDENCES)
    ]
    out["by_source_files"] = [
        {
            "files": "10 or more" if top is None else str(low) if top == low else f"{low} to {top}",
            **of(natural & sure & (taught_by >= low) & (taught_by <= (top or taught_by.max()))),
        }
        for low, top in ((1, 2), (3, 9), (10, None))
    ]
    return out


def best_scale(scores: Tensor, logits: Tensor) -> float:
    """The factor of scores that calibrates probabilities.

    Temperature scaling (Guo et al. 2017): the factor with the least cross-entropy against the
    teacher's first class.

    Parameters
    ----------
    scores, logits
        The student's and the teacher's class scores of held-out pictures, (pictures, 1000).
    """
    first = logits.argmax(-1)
    losses = torch.stack([F.cross_entropy(scores * factor, first) for factor in FACTORS])
    return float(FACTORS[int(losses.argmin())])


def calibration(scores: Tensor, logits: Tensor) -> dict[str, Any]:
    """Measure the calibration of the student's probabilities.

    "Right" means the teacher's first class. The expected calibration error is the mean
    difference between probability and agreement over ten equally wide bins (Guo et al. 2017).

    Parameters
    ----------
    scores, logits
        The student's and the teacher's class scores of held-out pictures, (pictures, 1000).

    Returns
    -------
    dict
        ``error``, and ``bins`` with bounds, share of pictures, mean probability and agreement.
    """
    confidence, guess = scores.softmax(-1).max(-1)
    right = (guess == logits.argmax(-1)).float()
    place = (confidence * BINS).long().clamp_max(BINS - 1)
    bins, error = [], 0.0
    for index in range(BINS):
        chosen = place == index
        share = float(chosen.float().mean())
        if not share:
            continue
        mean, hit = float(confidence[chosen].mean()), float(right[chosen].mean())
        error += share * abs(mean - hit)
        bins.append(
            {
                "from": index / BINS,
                "share": round(share, 3),
                "probability": round(mean, 3),
                "agreement": round(hit, 3),
                "n": int(chosen.sum()),
            }
        )
    return {"error": round(error, 3), "bins": bins}


def draw_reliability(before: dict[str, Any], after: dict[str, Any], path: Path) -> None:
    """Draw agreement over probability, before and after the temperature.

    Parameters
    ----------
    before, after
        Results of `calibration`.
    path
        SVG file to write.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "parallax"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.2, 4.2))
    figure.patch.set_facecolor("white")
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="as it should be")
    for measured, name, color in ((before, "as fitted", "#b0b0b0"), (after, "shipped", "#00679a")):
        axes.plot(
            [one["probability"] for one in measured["bins"]],
            [one["agreement"] for one in measured["bins"]],
            marker="o",
            color=color,
            label=f"{name}, error {measured['error']:.3f}",
        )
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="probability of the student's first class",
        ylabel="share in which it is the teacher's",
        title="DINOv2 ViT-S/14, distilled classes",
    )
    axes.legend(loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
