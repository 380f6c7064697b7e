"""Fit the last block's way to the class token and a linear head to a teacher's soft labels."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data.recipes.last_block import Student
from data.recipes.picture_sources import SPLITS

BATCH = 128
EPOCHS = 12
LOOK_EVERY = 2
RIDGE = 0.01
RATE, WEIGHT_DECAY = 1e-3, 1.0
RATES_OF_BLOCK = (3e-5, 1e-4)
TEMPERATURES = (1.0, 3.0)
DROPOUTS = (0.0, 0.2)
PART = 4096
SURE = 0.3
"""Probability above which the teacher is sure of its first class."""

FACTORS = torch.linspace(0.4, 2.5, 43)


@dataclass
class Table:
    """Features and soft labels, one row for each picture.

    Attributes
    ----------
    inputs : numpy.ndarray
        What the last block's class token depends on, (pictures, 1 + heads, channels).
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
    family : numpy.ndarray
        Number of the family of files that resemble each other.
    """

    inputs: NDArray[np.float16]
    logits: NDArray[np.float16]
    averaged: NDArray[np.float16]
    source: NDArray[np.int64]
    split: NDArray[np.int64]
    natural: NDArray[np.bool_]
    family: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.source)

    def part(self, name: str) -> Table:
        """Return the rows of one split."""
        rows = self.split == SPLITS.index(name)
        return Table(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def probabilities(self) -> Tensor:
        """Return the teacher's probabilities."""
        return torch.from_numpy(self.logits).float().softmax(-1)


@torch.inference_mode()
def in_parts(module: Callable[[Tensor], Tensor], inputs: NDArray[np.float16]) -> Tensor:
    """Return what a module makes of every row of a table's inputs."""
    parts = torch.from_numpy(inputs).split(PART)
    return torch.cat([module(part.float()) for part in parts])


def scaled_losses(scores: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy against a target for each of `FACTORS`.

    Parameters
    ----------
    scores : torch.Tensor
        The student's class scores, (pictures, 1000), to be multiplied by the factor.
    target : torch.Tensor
        Probabilities that are wanted, (pictures, 1000).
    weight : torch.Tensor
        What each picture counts, (pictures,).
    """
    weight = weight / weight.sum()
    return torch.stack(
        [-(weight @ (target * (scores * f).log_softmax(-1)).sum(-1)) for f in FACTORS]
    )


def sure_loss(student: nn.Module, table: Table) -> float:
    """Return the loss where the teacher is sure, at the scale that suits the student best.

    Parameters
    ----------
    student : torch.nn.Module
        Gives class scores.
    table : Table
        Pictures to measure on.
    """
    target = table.probabilities()
    sure = target.amax(-1) > SURE
    return float(scaled_losses(in_parts(student, table.inputs), target, sure.float()).min())


def ridge(tokens: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Regress the teacher's centered class scores on standardized tokens.

    Parameters
    ----------
    tokens : torch.Tensor
        Standardized class tokens, (pictures, 384).
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
    """How one student is fitted.

    Attributes
    ----------
    rate_of_block : float
        Learning rate of the last block and the norm after it; zero leaves them as they are.
    temperature : float
        Softens both sides of the loss.
    dropout : float
        Share of the class token's channels that are left out in a step.
    """

    rate_of_block: float
    temperature: float
    dropout: float


def fit(
    backbone: nn.Module,
    train: Table,
    validation: Table,
    classes: Tensor,
    settings: Settings,
    seed: int,
) -> tuple[Student, int, float]:
    """Fit one student and keep its best epoch.

    The teacher's scores are those averaged over a picture and two variants of it. The head starts
    from their regression, which holds what the teacher says about classes that are never first.
    What is added to it is ``classes @ change``: the student learns the teacher's features, and the
    teacher's own class vectors turn them into classes, so that what a picture teaches about one
    class reaches those that resemble it. The last block starts from its own weights.

    Parameters
    ----------
    backbone : torch.nn.Module
        The vision transformer; not changed.
    train, validation : Table
        Pictures to fit to, and to choose the epoch on.
    classes : torch.Tensor
        The teacher's class vectors, (1000, channels).
    settings : Settings
        What is chosen by validation.
    seed : int
        Seed of order and dropout.

    Returns
    -------
    tuple
        The student, its epoch, and its loss on the validation pictures.
    """
    torch.manual_seed(seed)
    temperature = settings.temperature
    logits = torch.from_numpy(train.averaged).float()
    target = (logits / temperature).softmax(-1)
    student = Student(backbone, len(classes))
    tokens = in_parts(student.tokens, train.inputs)
    mean, deviation = tokens.mean(0), tokens.std(0)
    start, bias = ridge((tokens - mean) / deviation, logits)
    basis = classes - classes.mean(0)
    basis = basis / basis.norm(dim=1).mean()
    change = nn.Parameter(torch.zeros(basis.shape[1], tokens.shape[1]))
    bias = nn.Parameter(bias)
    groups: list[dict[str, object]] = [
        {"params": [change], "weight_decay": WEIGHT_DECAY},
        {"params": [bias], "weight_decay": 0.0},
    ]
    if settings.rate_of_block:
        block = [*student.block.parameters(), *student.norm.parameters()]
        groups.append({"params": block, "lr": settings.rate_of_block, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, EPOCHS * -(-len(tokens) // BATCH)
    )
    inputs = torch.from_numpy(train.inputs)
    best: tuple[Student, int, float] | None = None
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(tokens)).split(BATCH):
            seen = student.tokens(inputs[rows].float()) if settings.rate_of_block else tokens[rows]
            seen = F.dropout((seen - mean) / deviation, settings.dropout)
            scores = F.linear(seen, start + basis @ change, bias) / temperature
            loss = F.kl_div(scores.log_softmax(-1), target[rows], reduction="batchmean")
            optimizer.zero_grad()
            (loss * temperature**2).backward()
            optimizer.step()
            schedule.step()
        if epoch % LOOK_EVERY == 0:
            with torch.no_grad():
                student.head.weight.copy_((start + basis @ change) / deviation)
                student.head.bias.copy_(bias - student.head.weight @ mean)
            measured = sure_loss(student, validation)
            if best is None or measured < best[2]:
                best = (copy.deepcopy(student), epoch, measured)
    assert best is not None
    return best


def calibrate(student: nn.Module, head: nn.Linear, table: Table, weight: Tensor) -> float:
    """Scale a head so that its probability tells how often it names the teacher's class.

    Temperature scaling (Guo et al. 2017): the factor with the least cross-entropy against the
    teacher's first class is returned.

    Parameters
    ----------
    student : torch.nn.Module
        Gives class scores.
    head : torch.nn.Linear
        The student's last layer, changed in place.
    table : Table
        Pictures that the student was not fitted to.
    weight : torch.Tensor
        What each picture counts, (pictures,).
    """
    target = F.one_hot(table.probabilities().argmax(-1), table.logits.shape[1]).float()
    losses = scaled_losses(in_parts(student, table.inputs), target, weight)
    factor = float(FACTORS[int(losses.argmin())])
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    return factor


def fit_best(
    backbone: nn.Module, table: Table, classes: Tensor, seed: int
) -> list[tuple[float, Student, dict[str, float]]]:
    """Fit students with several settings, with the last block as it is and with it fitted.

    Parameters
    ----------
    backbone : torch.nn.Module
        The vision transformer; not changed.
    table : Table
        All pictures; the test part is not looked at.
    classes : torch.Tensor
        The teacher's class vectors, (1000, channels).
    seed : int
        Seed of every fit.

    Returns
    -------
    list of tuple
        For the block as it is, then for the fitted one: loss on the validation pictures, the best
        student, not yet calibrated, and its settings.
    """
    train, validation = table.part("train"), table.part("validation")
    found: list[tuple[float, Student, dict[str, float]]] = []
    for rates in ((0.0,), RATES_OF_BLOCK):
        tries = []
        for values in itertools.product(rates, TEMPERATURES, DROPOUTS):
            settings = Settings(*values)
            student, epoch, loss = fit(backbone, train, validation, classes, settings, seed)
            entry = {"validation_loss": round(loss, 3), **asdict(settings), "epoch": epoch}
            entry |= {"rate": RATE, "decay": WEIGHT_DECAY, "ridge": RIDGE, "epochs_planned": EPOCHS}
            print(entry, flush=True)
            tries.append((loss, student, entry))
        found.append(min(tries, key=lambda item: item[0]))
    return found
