"""How good the distilled classes are: agreement with the teacher, coverage, calibration."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.recipes.head_fit import SURE, Table, in_parts

BINS = 10
REPLICATES = 2000
SEED = 3
CONFIDENCES = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
LEAST_FILES = 3
"""Source files that must show a class to learn from, or else it is doubtful."""


def error_of_rate(hits: np.ndarray, family: np.ndarray) -> float:
    """Return the standard error of a rate, by a bootstrap over families of files.

    Crops of one photograph resemble each other, so a hundred of them say little more than one.

    Parameters
    ----------
    hits : numpy.ndarray
        (pictures,) booleans.
    family : numpy.ndarray
        Number of each picture's family.
    """
    if not len(hits):
        return 0.0
    _, place, sizes = np.unique(family, return_inverse=True, return_counts=True)
    count = len(sizes)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(count, np.full(count, 1 / count), REPLICATES)
    return float(((drawn @ np.bincount(place, hits)) / (drawn @ sizes)).std())


def rates(ranked: Tensor, wanted: Tensor) -> dict[str, float | int]:
    """Return how often the wanted class is the first, and is among the five.

    Parameters
    ----------
    ranked : torch.Tensor
        The student's five first classes, (pictures, 5).
    wanted : torch.Tensor
        The teacher's first class, (pictures,).
    """
    hits = ranked == wanted[:, None]
    return {
        "top1": round(float(hits[:, 0].float().mean()), 3) if len(hits) else 0.0,
        "top5": round(float(hits.any(-1).float().mean()), 3) if len(hits) else 0.0,
        "n": len(hits),
    }


def taught(table: Table) -> np.ndarray:
    """Count, for each class, the source files in which the teacher was sure of it.

    Parameters
    ----------
    table : Table
        The pictures to fit to.

    Returns
    -------
    numpy.ndarray
        (1000,) numbers of different source files.
    """
    best, first = table.probabilities().max(-1)
    rows = np.flatnonzero((best > SURE).numpy())
    pairs = np.unique(np.stack([first.numpy()[rows], table.source[rows]]), axis=1)
    return np.bincount(pairs[0], minlength=table.logits.shape[1])


def agreement(student: nn.Module, table: Table, sources: np.ndarray) -> dict[str, Any]:
    """Measure how often the student names the teacher's class.

    Parameters
    ----------
    student : torch.nn.Module
        Gives class scores.
    table : Table
        Held-out pictures.
    sources : numpy.ndarray
        What :func:`taught` returned for the pictures to fit to.

    Returns
    -------
    dict
        Rates for crops of photographs and for cut-outs where the teacher is sure, with standard
        errors and the number of files; rates by the teacher's confidence (over all crops), and by
        how many source files taught the class.
    """
    best, first = table.probabilities().max(-1)
    ranked = in_parts(student, table.inputs).topk(5).indices
    natural, sure = torch.from_numpy(table.natural), best > SURE
    taught_by = torch.from_numpy(sources)[first]
    out: dict[str, Any] = {}
    for name, rows in (("natural", sure & natural), ("cutouts", sure & ~natural)):
        out[name] = rates(ranked[rows], first[rows])
        hits, chosen = (ranked == first[:, None])[rows].numpy(), rows.numpy()
        out[name]["top1_error"] = round(error_of_rate(hits[:, 0], table.family[chosen]), 3)
        out[name]["top5_error"] = round(error_of_rate(hits.any(-1), table.family[chosen]), 3)
        out[name]["files"] = int(np.unique(table.source[chosen]).size)
    out |= {"by_confidence": [], "by_source_files": []}
    for low, high in itertools.pairwise(CONFIDENCES):
        rows = natural & (best > low) & (best <= high)
        out["by_confidence"].append({"above": low, "to": high, **rates(ranked[rows], first[rows])})
    for low, top in ((0, 0), (1, 2), (3, 9), (10, 10**6)):
        rows = natural & sure & (taught_by >= low) & (taught_by <= top)
        label = "10 or more" if low == 10 else "none" if low == 0 else f"{low} to {top}"
        out["by_source_files"].append({"files": label, **rates(ranked[rows], first[rows])})
    return out


def weights(table: Table, weight_of_unsure: float) -> Tensor:
    """Return what each picture counts, so that the table is like the pictures that were drawn.

    Parameters
    ----------
    table : Table
        Pictures; crops of photographs count, cut-outs do not.
    weight_of_unsure : float
        How many pictures each one stands for of which the teacher is not sure.
    """
    sure = table.probabilities().amax(-1) > SURE
    return torch.where(sure, 1.0, weight_of_unsure) * torch.from_numpy(table.natural)


def calibration(student: nn.Module, table: Table, weight: Tensor) -> dict[str, Any]:
    """Measure whether the student is as often right as its probability says.

    "Right" is to name the teacher's first class. The expected calibration error is the mean
    difference between probability and agreement over ten equally wide bins (Guo et al. 2017).

    Parameters
    ----------
    student : torch.nn.Module
        Gives class scores.
    table : Table
        Held-out pictures.
    weight : torch.Tensor
        What each picture counts, (pictures,).

    Returns
    -------
    dict
        ``error``, and ``bins`` with bounds, share of pictures, mean probability and agreement.
    """
    confidence, guess = in_parts(student, table.inputs).softmax(-1).max(-1)
    right = (guess == table.probabilities().argmax(-1)).float()
    weight = weight / weight.sum()
    place = (confidence * BINS).long().clamp_max(BINS - 1)
    bins, error = [], 0.0
    for index in range(BINS):
        chosen = place == index
        share = float(weight[chosen].sum())
        if not share:
            continue
        mean = float((weight * confidence)[chosen].sum()) / share
        hit = float((weight * right)[chosen].sum()) / share
        error += share * abs(mean - hit)
        bins.append(
            {
                "from": index / BINS,
                "share": round(share, 3),
                "probability": round(mean, 3),
                "agreement": round(hit, 3),
                "n": int((chosen & (weight > 0)).sum()),
            }
        )
    return {"error": round(error, 3), "bins": bins}


def draw_reliability(before: dict[str, Any], after: dict[str, Any], path: Path) -> None:
    """Draw agreement over probability, before and after the temperature.

    Parameters
    ----------
    before, after : dict
        What :func:`calibration` returned.
    path : pathlib.Path
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
