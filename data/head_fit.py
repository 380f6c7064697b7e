"""Fit a linear class head to a teacher's soft labels, choose its settings, and measure it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from picture_sources import SPLITS
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 256
EPOCHS = 40
LOOK_EVERY = 5
RIDGE = 0.01
TEMPERATURES = (1.0, 2.0, 4.0)
LEARNING_RATES = (3e-3, 1e-2)
WEIGHT_DECAYS = (0.3, 1.0)
SURE = 0.3


@dataclass
class Table:
    """Features and soft labels, one row for each picture.

    Attributes
    ----------
    tokens : numpy.ndarray
        Class tokens, (pictures, 384).
    logits : numpy.ndarray
        The teacher's class scores, (pictures, 1000).
    averaged : numpy.ndarray
        The same, averaged over the picture, its mirror image and its middle.
    source : numpy.ndarray
        Number of the picture's main source file.
    split : numpy.ndarray
        Position in ``SPLITS``.
    natural : numpy.ndarray
        True for crops of photographs, False for cut-outs.
    """

    tokens: NDArray[np.float32]
    logits: NDArray[np.float16]
    averaged: NDArray[np.float16]
    source: NDArray[np.int64]
    split: NDArray[np.int64]
    natural: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.source)

    def part(self, name: str) -> Table:
        """Return the rows of one split."""
        rows = self.split == SPLITS.index(name)
        return Table(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def probabilities(self, temperature: float = 1.0) -> Tensor:
        """Return the teacher's probabilities, softened by a temperature."""
        return (torch.from_numpy(self.logits).float() / temperature).softmax(-1)

    def inputs(self) -> Tensor:
        """Return the class tokens."""
        return torch.from_numpy(self.tokens)


@torch.inference_mode()
def probabilities(head: nn.Linear, tokens: Tensor) -> Tensor:
    """Return the student's class probabilities."""
    return head(tokens).softmax(-1)


def sure_loss(head: nn.Linear, table: Table) -> float:
    """Return the cross-entropy against the teacher's soft labels where the teacher is sure.

    Parameters
    ----------
    head : torch.nn.Linear
        The student's head.
    table : Table
        Pictures to measure on.
    """
    target = table.probabilities()
    rows = target.amax(-1) > SURE
    with torch.inference_mode():
        scores = head(table.inputs()[rows]).log_softmax(-1)
    return float(-(target[rows] * scores).sum(-1).mean())


def ridge(tokens: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Regress the teacher's centred class scores on standardised tokens.

    Parameters
    ----------
    tokens : torch.Tensor
        Standardised class tokens, (pictures, 384).
    scores : torch.Tensor
        The teacher's class scores, (pictures, 1000).

    Returns
    -------
    tuple of torch.Tensor
        Weight (1000, 384) and bias (1000,).
    """
    scores = scores - scores.mean(-1, keepdim=True)
    bias = scores.mean(0)
    moments = tokens.T @ tokens + RIDGE * len(tokens) * torch.eye(tokens.shape[1])
    return torch.linalg.solve(moments, tokens.T @ (scores - bias)).T, bias


def fit(
    train: Table, validation: Table, temperature: float, rate: float, decay: float, seed: int
) -> tuple[nn.Linear, int, float]:
    """Fit one head and keep its best epoch.

    The head starts from the regression of the teacher's class scores, which holds what the teacher
    says about classes that are never first, and weight decay pulls it back there.

    Parameters
    ----------
    train, validation : Table
        Pictures to fit to, and to choose the epoch on.
    temperature : float
        Softens both sides of the loss.
    rate : float
        Learning rate of AdamW, falling to zero along a cosine.
    decay : float
        Weight decay of the difference from the start.
    seed : int
        Seed of the order.

    Returns
    -------
    tuple
        The head for plain tokens, its epoch, and its loss on the validation pictures.
    """
    torch.manual_seed(seed)
    tokens, target = train.inputs(), train.probabilities(temperature)
    mean, deviation = tokens.mean(0), tokens.std(0)
    tokens = (tokens - mean) / deviation
    start, bias = ridge(tokens, torch.from_numpy(train.logits).float())
    change = nn.Parameter(torch.zeros_like(start))
    bias = nn.Parameter(bias)
    optimiser = torch.optim.AdamW([change, bias], lr=rate, weight_decay=decay)
    steps = EPOCHS * -(-len(tokens) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best: tuple[nn.Linear, int, float] | None = None
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(tokens)).split(BATCH):
            scores = F.linear(tokens[rows], start + change, bias) / temperature
            loss = F.kl_div(scores.log_softmax(-1), target[rows], reduction="batchmean")
            optimiser.zero_grad()
            (loss * temperature**2).backward()
            optimiser.step()
            schedule.step()
        if epoch % LOOK_EVERY == 0:
            head = nn.Linear(start.shape[1], start.shape[0])
            with torch.no_grad():
                head.weight.copy_((start + change) / deviation)
                head.bias.copy_(bias - head.weight @ mean)
            measured = sure_loss(head, validation)
            if best is None or measured < best[2]:
                best = (head, epoch, measured)
    assert best is not None
    return best


def calibrate(head: nn.Linear, table: Table) -> float:
    """Scale the head so that its probabilities fit the teacher's best, and return the factor.

    Parameters
    ----------
    head : torch.nn.Linear
        Changed in place.
    table : Table
        Pictures that the head was not fitted to.
    """
    target = table.probabilities()
    factors = torch.linspace(0.4, 2.5, 106)
    with torch.inference_mode():
        scores = head(table.inputs())
        losses = [float(-(target * (scores * f).log_softmax(-1)).sum(-1).mean()) for f in factors]
    factor = float(factors[int(np.argmin(losses))])
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    return factor


def fit_best(table: Table, seed: int) -> tuple[nn.Linear, dict[str, float]]:
    """Fit heads with several settings and return the one that does best on validation pictures.

    Parameters
    ----------
    table : Table
        All pictures; the test part is not looked at.
    seed : int
        Seed of every fit.

    Returns
    -------
    tuple
        The calibrated head, and its settings.
    """
    train, validation = table.part("train"), table.part("validation")
    best: tuple[float, nn.Linear, dict[str, float]] | None = None
    for temperature, rate, decay in itertools.product(TEMPERATURES, LEARNING_RATES, WEIGHT_DECAYS):
        head, epoch, loss = fit(train, validation, temperature, rate, decay, seed)
        settings = {
            "temperature": temperature,
            "learning_rate": rate,
            "weight_decay": decay,
            "ridge": RIDGE,
            "epoch": epoch,
            "epochs_planned": EPOCHS,
        }
        print(f"validation {loss:.4f} with {settings}", flush=True)
        if best is None or loss < best[0]:
            best = (loss, head, settings)
    assert best is not None
    _, head, settings = best
    settings["scale"] = round(calibrate(head, validation), 2)
    return head, settings


def agreement(
    head: nn.Linear, table: Table, natural: bool, confident: float
) -> dict[str, float | int]:
    """Measure how often the student names the class of which the teacher is sure.

    Parameters
    ----------
    head : torch.nn.Linear
        The student's head.
    table : Table
        Held-out pictures.
    natural : bool
        Crops of photographs, or cut-outs.
    confident : float
        Least probability of the teacher's first class.

    Returns
    -------
    dict
        Agreement of the first class, share of pictures with the teacher's first class among the
        student's five, and the number of pictures.
    """
    theirs = table.probabilities()
    rows = (theirs.amax(-1) > confident) & torch.from_numpy(table.natural == natural)
    wanted = theirs[rows].argmax(-1, keepdim=True)
    ranked = probabilities(head, table.inputs()[rows]).topk(5).indices
    return {
        "top1": round(float((ranked[:, :1] == wanted).any(-1).float().mean()), 3),
        "top5": round(float((ranked == wanted).any(-1).float().mean()), 3),
        "n": int(rows.sum()),
    }
