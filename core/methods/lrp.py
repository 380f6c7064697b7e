"""Layer-wise relevance propagation (Bach et al. 2015; AttnLRP, Achtibat et al. 2024)."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from core import capacity
from core.errors import UnsupportedMethod
from core.lrp.relevance import NoRule, RelevancePass, Step
from core.methods import cells
from core.methods.parameters import choice, number
from core.methods.registry import Relevance, method
from core.models import Model, VisionTransformer
from core.models.tried import without_weights
from core.numerics import own_state
from core.recording.batches import portions
from core.recording.recording import Recording
from core.recording.run import Needs, run
from core.targets import Target, of_each

TRANSFORMER_GAMMA, PATCH_EMBEDDING_GAMMA = 0.01, 0.25
CONVOLUTION_GAMMAS = (0.5, 0.1)
"""The schedule; in a convolutional network γ falls evenly from layer to layer."""

AGREEMENT = 1e-5
"""How far the logits of the pass with rules may be from the model's, as a share of the largest."""


@dataclass(frozen=True)
class LrpParameters:
    """How relevance is shared out, and how it is summed."""

    patch: int = cells.patch_parameter()
    gamma: float | None = number(
        None,
        0.0,
        1.0,
        0.005,
        "Gamma",
        "How much more contributions of the output's own sign count in the linear layers (of a "
        "convolutional network in all layers but the first and the last). Automatic: 0.01 in a "
        "transformer; in a convolutional network 0.5 in early layers, falling to 0.1.",
    )
    level: str = choice(
        "patches",
        ("patches", "pixels"),
        "Level",
        "Patches: relevance summed over each cell. Pixels: of each pixel.",
    )


@dataclass(frozen=True)
class _Tried:
    """What a pass over shapes has shown of a model.

    Attributes
    ----------
    refusal : str or None
        What has no rule.
    layers : int
        Linear layers and convolutions.
    """

    refusal: str | None
    layers: int


_tried: weakref.WeakKeyDictionary[Model, _Tried] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _try(model: Model) -> _Tried:
    """Try the rules on shapes alone, once for each model."""
    with _lock, own_state(gradients=True):  # what the caller's mode makes may not be derived
        if model not in _tried:
            twin = copy.copy(model)
            twin.module = without_weights(model.module)
            pixels = torch.zeros((1, 3, *model.shape()), device="meta", dtype=torch.float32)
            first = 0.0 if isinstance(model, VisionTransformer) else None
            refusal, layers = None, 0
            try:
                layers = _scored(
                    twin, pixels, lambda step: first if step.is_first else 0.0, type(model).score
                )[2]
            except NoRule as error:
                refusal = str(error)
            except (
                RuntimeError,
                ArithmeticError,
                AssertionError,
                AttributeError,
                LookupError,
                TypeError,
                ValueError,
            ):
                refusal = "it cannot be followed operation by operation"
            _tried[model] = _Tried(refusal, layers)
        return _tried[model]


def _scored(
    model: Model,
    pixels: Tensor,
    gamma: Callable[[Step], float | None],
    score: Callable[[Model, Tensor], Tensor],
) -> tuple[Tensor, Tensor, int]:
    """Logits whose backward gives relevance, the leaf where it arrives, and how many layers."""
    with own_state(gradients=True):
        leaf = pixels.detach().clone().requires_grad_()
        low, high = (
            model.standardize(torch.full((1, 3, 1, 1), value, dtype=torch.float32))
            .to(leaf.device)
            .expand_as(leaf)
            for value in (0.0, 1.0)
        )
        rules = RelevancePass(leaf, low, high, model.classes, gamma)
        with rules:
            logits = score(model, leaf)
    return logits, leaf, rules.count


def _schedule(model: Model, gamma: float | None) -> Callable[[Step], float | None]:
    """γ of each layer; ``None`` for the z^B rule."""
    if isinstance(model, VisionTransformer):
        linear = TRANSFORMER_GAMMA if gamma is None else gamma

        def of_transformer(step: Step) -> float:
            if step.is_head:
                return 0.0
            return PATCH_EMBEDDING_GAMMA if step.is_convolution else linear

        return of_transformer
    last = max(1, _try(model).layers - 1)
    first, final = CONVOLUTION_GAMMAS if gamma is None else (gamma, gamma)

    def of_convolutions(step: Step) -> float | None:
        if step.is_first:
            return None
        return 0.0 if step.is_head else first + (final - first) * step.place / last

    return of_convolutions


def _unsupported(model: Model) -> str | None:
    reason = _try(model).refusal
    return None if reason is None else _refused(model, reason)


def _refused(model: Model, reason: object) -> str:
    return (
        f"Relevance needs a rule for every operation, and {model.spec.title} cannot be explained "
        f"by it because {reason}; choose integrated gradients."
    )


@method(
    "lrp",
    title="Layer-wise relevance",
    order=75,
    serves=("cnn", "vit"),
    class_specific=True,
    signed=True,
    meaning="How much each place contributed to the class's logit, handed back layer by layer in "
    "proportion to what was contributed.",
    caveat="Biases, position embeddings and attention's softmax keep a part, so the map does not "
    "sum to the logit; the rules and γ are a choice.",
    source="Bach et al. 2015, doi 10.1371/journal.pone.0130140; Achtibat et al. 2024, "
    "arXiv 2402.05602",
    parameters=LrpParameters,
    needs=lambda model, parameters: Needs(),
    unsupported=_unsupported,
)
def lrp(recording: Recording, targets: Sequence[Target], parameters: LrpParameters) -> Relevance:
    """Relevance of the pixels, summed over channels and, at the level of patches, over cells.

    The map of a class rather than another is the difference of the maps of the two, exactly: one
    pass, and a backward for each.

    Raises
    ------
    UnsupportedMethod
        The pass with rules does not give the model's own logits.
    """
    model = recording.model
    gamma = _schedule(model, parameters.gamma)
    pixels = recording.pixels
    sides = torch.zeros_like(pixels[:, :2])  # of the class, and of the one that it is compared to
    for places in portions(model, recording.size, len(recording), gradients=True):
        asked = [targets[place] for place in places.tolist()]
        with capacity.admitted(), own_state(gradients=True):
            try:
                logits, leaf, _ = _scored(model, pixels[places], gamma, _run)
            except NoRule as error:  # at another size than that of the try
                raise UnsupportedMethod(_refused(model, error)) from error
            _check(model, recording, places, logits.detach())
            for side in range(1 + any(target.is_difference for target in asked)):
                score = sum(_side(*pair, side) for pair in zip(asked, logits, strict=True))
                (arrived,) = torch.autograd.grad(cast(Tensor, score), leaf, retain_graph=True)
                sides[places, side] = arrived.detach().sum(dim=1)
    assert recording.logits is not None  # else the method was not offered
    if parameters.level == "patches":
        sides = cells.sums(sides, cells.grid_of(recording, parameters.patch))
    maps = sides[:, 0] - sides[:, 1]
    totals = maps.sum(dim=(1, 2)).tolist()
    answers = of_each(targets, recording.logits.float(), _value).tolist()
    shares = _in_words(model, parameters.gamma)
    return Relevance(
        maps,
        if_zero="No pixel contributed to this class's logit.",
        remarks=tuple(map(partial(_sum, shares=shares), targets, totals, answers)),
    )


def _side(target: Target, logits: Tensor, side: int) -> Tensor:
    """What is asked of one picture's logits: of a difference the logit of either class."""
    if target.is_difference:
        return logits[target.indices[side]]
    return target(logits) if side == 0 else 0.0 * logits[0]


def _run(model: Model, pixels: Tensor) -> Tensor:
    return run(model, pixels, Needs()).output


def _value(target: Target, logits: Tensor) -> Tensor:
    return target(logits)


def _check(model: Model, recording: Recording, places: Tensor, logits: Tensor) -> None:
    """Refuse where the pass with rules is not the model's."""
    assert recording.logits is not None
    wanted = recording.logits[places.to(recording.logits.device)]
    apart = float((logits.to(wanted) - wanted).abs().max())
    if not apart <= AGREEMENT * max(1.0, float(wanted.abs().max())):
        raise UnsupportedMethod(
            f"Relevance of {model.spec.title} would be wrong: with its rules the logits differ "
            f"from the model's by up to {apart:.2g}; choose integrated gradients."
        )


def _sum(target: Target, total: float, answer: float, shares: str) -> str:
    """What a map sums to, beside the number that it explains, and γ."""
    what = "the logit" if target.is_class else "the negated logit"
    what = "the difference of the logits" if target.is_difference else what
    return (
        f"The map sums to {total:.3g} and {what} is {answer:.3g}, which need not be equal; "
        f"{shares}."
    )


def _in_words(model: Model, gamma: float | None) -> str:
    """γ of the layers."""
    if isinstance(model, VisionTransformer):
        linear = TRANSFORMER_GAMMA if gamma is None else gamma
        return f"γ is {linear:g} in linear layers and {PATCH_EMBEDDING_GAMMA:g} in convolutions"
    if gamma is None:
        first, final = CONVOLUTION_GAMMAS
        return f"γ falls from {first:g} in early layers to {final:g}"
    return f"γ is {gamma:g}"
