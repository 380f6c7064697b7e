"""Fit a linear class head to a teacher's soft labels and choose its settings."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from picture_sources import SPLITS
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 256
EPOCHS = 12
LOOK_EVERY = 2
RIDGE = 0.01
TEMPERATURES = (1.0, 2.0)
LEARNING_RATES = (5e-4, 1e-3)
WEIGHT_DECAYS = (0.1, 1.0)
SURE = 0.3
"""Probability above which the teacher is sure of its first class."""

FACTORS = torch.linspace(0.4, 2.5, 43)


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


def scaled_losses(head: nn.Linear, table: Table, target: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy against a target for each of `FACTORS`.

    Parameters
    ----------
    head : torch.nn.Linear
        The student's head, whose scores are multiplied by the factor.
    table : Table
        Pictures to measure on.
    target : torch.Tensor
        Probabilities that are wanted, (pictures, 1000).
    weight : torch.Tensor
        What each picture counts, (pictures,).
    """
    weight = weight / weight.sum()
    with torch.inference_mode():
        scores = head(table.inputs())
        return torch.stack(
            [-(weight @ (target * (scores * f).log_softmax(-1)).sum(-1)) for f in FACTORS]
        )


def sure_loss(head: nn.Linear, table: Table) -> float:
    """Return the loss where the teacher is sure, at the scale that suits the head best.

    Parameters
    ----------
    head : torch.nn.Linear
        The student's head.
    table : Table
        Pictures to measure on.
    """
    target = table.probabilities()
    sure = target.amax(-1) > SURE
    return float(scaled_losses(head, table, target, sure.float()).min())


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


@dataclass(frozen=True)
class Settings:
    """How one head is fitted.

    Attributes
    ----------
    temperature : float
        Softens both sides of the loss.
    rate : float
        Learning rate of AdamW, falling to zero along a cosine.
    decay : float
        Weight decay of the difference from the start.
    averaged : bool
        Whether the teacher's scores are those averaged over a picture and two variants of it.
    """

    temperature: float
    rate: float
    decay: float
    averaged: bool


def fit(
    train: Table, validation: Table, classes: Tensor, settings: Settings, seed: int
) -> tuple[nn.Linear, int, float]:
    """Fit one head and keep its best epoch.

    The head starts from the regression of the teacher's class scores, which holds what the teacher
    says about classes that are never first. What is added to it is ``classes @ change``: the
    student learns the teacher's features, and the teacher's own class vectors turn them into
    classes, so that what a picture teaches about one class reaches those that resemble it.

    Parameters
    ----------
    train, validation : Table
        Pictures to fit to, and to choose the epoch on.
    classes : torch.Tensor
        The teacher's class vectors, (1000, channels).
    settings : Settings
        What is chosen by validation.
    seed : int
        Seed of the order.

    Returns
    -------
    tuple
        The head for plain tokens, its epoch, and its loss on the validation pictures.
    """
    torch.manual_seed(seed)
    logits = torch.from_numpy(train.averaged if settings.averaged else train.logits).float()
    temperature = settings.temperature
    target = (logits / temperature).softmax(-1)
    mean, deviation = train.inputs().mean(0), train.inputs().std(0)
    tokens = (train.inputs() - mean) / deviation
    start, bias = ridge(tokens, logits)
    basis = classes - classes.mean(0)
    basis = basis / basis.norm(dim=1).mean()
    change = nn.Parameter(torch.zeros(basis.shape[1], tokens.shape[1]))
    bias = nn.Parameter(bias)
    groups = [{"params": [change]}, {"params": [bias], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.decay)
    steps = EPOCHS * -(-len(tokens) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best: tuple[nn.Linear, int, float] | None = None
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(tokens)).split(BATCH):
            scores = F.linear(tokens[rows], start + basis @ change, bias) / temperature
            loss = F.kl_div(scores.log_softmax(-1), target[rows], reduction="batchmean")
            optimiser.zero_grad()
            (loss * temperature**2).backward()
            optimiser.step()
            schedule.step()
        if epoch % LOOK_EVERY == 0:
            head = nn.Linear(start.shape[1], start.shape[0])
            with torch.no_grad():
                head.weight.copy_((start + basis @ change) / deviation)
                head.bias.copy_(bias - head.weight @ mean)
            measured = sure_loss(head, validation)
            if best is None or measured < best[2]:
                best = (head, epoch, measured)
    assert best is not None
    return best


def calibrate(head: nn.Linear, table: Table, weight: Tensor) -> float:
    """Scale the head so that its probability tells how often it names the teacher's class.

    Temperature scaling (Guo et al. 2017): the factor with the least cross-entropy against the
    teacher's first class is returned.

    Parameters
    ----------
    head : torch.nn.Linear
        Changed in place.
    table : Table
        Pictures that the head was not fitted to.
    weight : torch.Tensor
        What each picture counts, (pictures,).
    """
    target = F.one_hot(table.probabilities().argmax(-1), table.logits.shape[1]).float()
    factor = float(FACTORS[int(scaled_losses(head, table, target, weight).argmin())])
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    return factor


def fit_best(table: Table, classes: Tensor, seed: int) -> tuple[nn.Linear, dict[str, float | bool]]:
    """Fit heads with several settings and return the one that does best on validation pictures.

    Parameters
    ----------
    table : Table
        All pictures; the test part is not looked at.
    classes : torch.Tensor
        The teacher's class vectors, (1000, channels).
    seed : int
        Seed of every fit.

    Returns
    -------
    tuple
        The head, not yet calibrated, and its settings.
    """
    train, validation = table.part("train"), table.part("validation")
    best: tuple[float, nn.Linear, dict[str, float | bool]] | None = None
    grid = itertools.product(TEMPERATURES, LEARNING_RATES, WEIGHT_DECAYS, (False, True))
    for settings in itertools.starmap(Settings, grid):
        head, epoch, loss = fit(train, validation, classes, settings, seed)
        found = {**asdict(settings), "ridge": RIDGE, "epoch": epoch, "epochs_planned": EPOCHS}
        print(f"validation {loss:.4f} with {found}", flush=True)
        if best is None or loss < best[0]:
            best = (loss, head, found)
    assert best is not None
    return best[1], best[2]
