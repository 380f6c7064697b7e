"""Fit the last block's path to the class token and a linear head to the photographs.

The target of each view combines the teacher's scores with the label of the photograph: classes
that its folder names are raised above all others, and the teacher's scores of the others are kept,
because they are the only information on similar classes.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from core.paths import LABELS
from data.recipes.last_block import Student
from data.recipes.photographs import LABELED, photograph
from data.recipes.weight_files import CLASSES, Weights

KNOWN = Path(__file__).with_name("photograph_classes.toml")
BATCH = 512
EPOCHS = 10
RATE, RATE_OF_BLOCK = 3e-4, 2e-5
WEIGHT_DECAY = 1.0
RIDGE = 0.03
WARM_UP = 0.1
LIFT = 1.0
"""How far a class named by a folder is raised above the teacher's first."""
CROWDING = 0.4
"""A folder of n views counts as n to the power of one minus this."""
PART = 4096
OWN_FEATURES = 2
"""Vectors before those used in the fit of the last block."""


@dataclass
class Views:
    """Views of photographs, one row for each.

    Attributes
    ----------
    names
        Name of the photograph.
    view
        Number of the view.
    inputs
        Inputs of the last block's class token, (views, 1 + heads, channels).
    logits
        The teacher's class scores of the same pixels, (views, 1000).
    own
        Its scores of its own view of the photograph; not a number where they were not computed.
    """

    names: NDArray[np.str_]
    view: NDArray[np.int64]
    inputs: NDArray[np.float16]
    logits: NDArray[np.float16]
    own: NDArray[np.float16]

    def __len__(self) -> int:
        """The number of views."""
        return len(self.names)

    def rows(self, chosen: NDArray[np.bool_]) -> Views:
        """Some of the views."""
        return Views(*(getattr(self, field.name)[chosen] for field in fields(self)))


def read_views(cache: Path) -> Views:
    """Read every view that is in the cache."""
    parts: list[tuple[NDArray[np.generic], ...]] = []
    for path in sorted(cache.glob("view-*.npz")):
        with np.load(path) as stored:
            names, logits = stored["names"], stored["logits"]
            own = stored["own"] if "own" in stored.files else np.full_like(logits, np.nan)
            number = np.full(len(names), int(path.name.split("-")[1]))
            parts.append((names, number, stored["features"][:, OWN_FEATURES:], logits, own))
    return Views(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def classes_of(samples: list[str]) -> Callable[[str], list[int]]:
    """A function from photographs to their possible classes.

    Parameters
    ----------
    samples
        Names of the labeled samples, one for each class; sorted, they are in the classes' order.

    Returns
    -------
    callable
        From a photograph's name to indices of classes; empty if its folder names none.
    """
    stems = [Path(name).stem for name in sorted(samples)]
    if len(stems) != CLASSES:
        raise ValueError(f"{len(stems)} labeled samples, {CLASSES} expected")
    index = {stem: place for place, stem in enumerate(stems)}
    names = (LABELS / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()
    place_of = {name: place for place, name in enumerate(names)}
    known: dict[str, dict[str, list[str]]] = tomllib.loads(KNOWN.read_text(encoding="utf-8"))

    def classes(name: str) -> list[int]:
        one = photograph(name)
        if one.collection == LABELED:
            return [index[one.folder]]
        return [place_of[label] for label in known.get(one.collection, {}).get(one.folder, ())]

    return classes


def known_classes(views: Views) -> Tensor:
    """The possible classes, (views, 1000) booleans; none if unknown."""
    samples = sorted({name for name in views.names.tolist() if name.startswith(f"{LABELED}/")})
    classes = classes_of(samples)
    out = torch.zeros(len(views), CLASSES, dtype=torch.bool)
    for row, name in enumerate(views.names.tolist()):
        out[row, classes(name)] = True
    return out


def lifted(logits: Tensor, known: Tensor) -> Tensor:
    """Raise the possible classes above all others.

    Parameters
    ----------
    logits
        The teacher's class scores, (views, 1000).
    known
        Booleans of the same shape.

    Returns
    -------
    torch.Tensor
        The scores, with the best of the known classes `LIFT` above the former first. The
        other known classes keep their distance to it unless their scores would fall.
    """
    first = logits.amax(1, keepdim=True)
    best = logits.masked_fill(~known, -torch.inf).amax(1, keepdim=True)
    raised = torch.maximum(logits, logits + (first + LIFT - best))
    return torch.where(known, raised, logits)


def counts_of(views: Views) -> Tensor:
    """The weight of each view in the fit, (views,)."""
    found = [photograph(name) for name in views.names.tolist()]
    sizes = Counter((one.collection, one.folder) for one in found)
    return torch.tensor([sizes[one.collection, one.folder] ** -CROWDING for one in found])


@torch.inference_mode()
def in_parts(module: Callable[[Tensor], Tensor], inputs: NDArray[np.float16]) -> Tensor:
    """The output of a module for every row."""
    parts = torch.from_numpy(inputs).split(PART)
    return torch.cat([module(part.float()) for part in parts])


def ridge(tokens: Tensor, scores: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Regress the teacher's centered class scores on standardized tokens.

    Parameters
    ----------
    tokens
        Standardized class tokens, (views, channels).
    scores
        Class scores, (views, 1000).
    counts
        Weight of each view, (views,).

    Returns
    -------
    tuple of torch.Tensor
        Weight (1000, channels) and bias (1000,).
    """
    share = (counts / counts.sum())[:, None]
    scores = scores - scores.mean(1, keepdim=True)
    center, middle = (share * scores).sum(0), (share * tokens).sum(0)
    spread = tokens - middle
    moments = (share * spread).T @ spread + RIDGE * torch.eye(tokens.shape[1])
    weight = torch.linalg.solve(moments, (share * spread).T @ (scores - center)).T
    return weight, center - weight @ middle


def fit(
    backbone: nn.Module,
    views: Views,
    known: Tensor,
    classes: Tensor,
    seed: int,
    epochs: int,
    earlier: Weights | None = None,
) -> Student:
    """Fit a student to views of photographs.

    Without an earlier fit, the head starts from a regression of the teacher's scores and the last
    block from its own weights; queries and keys stay. The addition to the head is ``classes @
    change``: the teacher's own class vectors map the student's features to classes, so that
    a picture of one class also trains similar classes.

    Parameters
    ----------
    backbone
        The transformer; not changed.
    views
        The views.
    known
        Result of `known_classes` for them.
    classes
        The teacher's class vectors, (1000, channels).
    seed
        Seed of the order.
    epochs
        Number of epochs; each draws as many views as there are.
    earlier
        State of a student from an earlier fit, as start.

    Returns
    -------
    Student
        Not yet calibrated.
    """
    torch.manual_seed(seed)
    logits, counts = torch.from_numpy(views.logits).float(), counts_of(views)
    target = lifted(logits, known).softmax(-1)
    student = Student(backbone, CLASSES)
    if earlier is not None:
        student.load_state_dict(earlier, strict=True)
    tokens = in_parts(student.tokens, views.inputs)
    mean, deviation = tokens.mean(0), tokens.std(0)
    if earlier is None:
        start, first = ridge((tokens - mean) / deviation, logits, counts)
    else:
        start = earlier["head.weight"] * deviation
        first = earlier["head.bias"] + earlier["head.weight"] @ mean
    basis = classes - classes.mean(0)
    basis = (basis / basis.norm(dim=1).mean()).bfloat16()
    change = nn.Parameter(torch.zeros(basis.shape[1], tokens.shape[1]))
    bias = nn.Parameter(first)
    block = [*student.block.parameters(), *student.norm.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [change], "weight_decay": WEIGHT_DECAY},
            {"params": [bias], "weight_decay": 0.0},
            {"params": block, "weight_decay": 0.0},
        ]
    )
    steps = max(1, epochs * -(-len(views) // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [RATE, RATE, RATE_OF_BLOCK], total_steps=steps, pct_start=WARM_UP
    )
    inputs = torch.from_numpy(views.inputs)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.multinomial(counts, len(views), replacement=True).split(BATCH):
            # Products in bfloat16, which processors with such units compute four times as fast.
            with torch.autocast("cpu", torch.bfloat16):
                weight = start + (basis @ change.bfloat16()).float()
                scores = F.linear(
                    (student.tokens(inputs[rows].float()) - mean) / deviation, weight, bias
                )
            loss = -(target[rows] * scores.float().log_softmax(-1)).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1} of {epochs}: loss {total / len(views):.3f}", flush=True)
    with torch.no_grad():
        weight = (start + (basis @ change.bfloat16()).float()) / deviation
        student.head.weight.copy_(weight)
        student.head.bias.copy_(bias - weight @ mean)
    return student
