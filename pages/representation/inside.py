"""Lengths of tokens, early answers, and what heads and blocks do. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import core
from core import Ablation, LogitLens, Model, TokenNorms, VisionTransformer
from dashboard.scene import Picture
from dashboard.text import in_figure
from dashboard.view import Figure, Maker
from pages.representation import charts
from pages.representation.asked import GIVEN, Asked, focus, percent, short
from pages.representation.options import Options


@dataclass(frozen=True, eq=False)
class Lengths:
    """Lengths of the tokens of one model.

    Attributes
    ----------
    said
        Which layer has the most outliers.
    places
        Where they lie; ``None`` without any.
    """

    title: str
    figure: Figure
    said: str
    places: Figure | None


@dataclass(frozen=True, eq=False)
class Found:
    """Results of each model.

    Attributes
    ----------
    sides
        One for each model that has a result.
    without
        Why there is none, one sentence each.
    asks
        Whether one has not been asked for.
    """

    sides: tuple[Lengths | Early | Removed, ...]
    without: tuple[str, ...]
    asks: bool
    chart: Figure | None = None


def _of_each(
    of: Asked,
    what: tuple[Any, ...],
    title: str,
    compute: Callable[..., Any],
    shown: Callable[[int, Any, Any], Any],
    refused: Callable[[Model], str] = lambda model: "",
) -> Found:
    """A result of each model, in turn.

    Parameters
    ----------
    what
        Which result, as a key.
    title
        Of the progress, with the model's title to be filled in.
    compute
        ``compute(model, views, framing=…)``.
    shown
        ``shown(number, model, result)``: what is shown of it.
    refused
        Why a model has no such result; empty if it has.
    """
    sides, without, asks = [], [], False
    for number, model in enumerate(of.models):
        if reason := refused(model):
            without.append(reason)
            continue
        progress = title.format(model.spec.title)
        found = of.found([model], what, progress, partial(compute, model, framing=GIVEN))
        if found is None:
            asks = True
        elif isinstance(found, str):
            without.append(found)
        else:
            sides.append(shown(number, model, found))
    return Found(tuple(sides), tuple(without), asks)


def lengths(make: Maker, of: Asked) -> Found:
    """Token norms of each model."""
    shown = partial(_lengths, make, of)
    return _of_each(of, ("token norms",), "Lengths of tokens in {}", core.token_norms, shown)


def _lengths(make: Maker, of: Asked, number: int, model: Model, found: TokenNorms) -> Lengths:
    names = [short(tap) for tap in found.layers]
    code = f"core.token_norms(models[{model.spec.id!r}], {of.code()}, given)"
    make.array(f"norms of patches {model.spec.id}", found.quantiles, f"{code}.quantiles")
    if found.prefix.size:
        make.array(f"norms of prefix {model.spec.id}", found.prefix, f"{code}.prefix")
    prefix = prefix_names(model)
    figure = charts.norms(found, names, prefix, charts.colors(of.models)[model.spec.title])
    alt = f"Lengths of the tokens of {model.spec.title} over its layers"
    kept = make.show(Figure(f"norms-{number}", figure, alt, "420px"))
    layer = int(found.outliers.argmax())
    if not found.outliers[layer]:
        said = "No patch is longer than three times the median of its picture and layer."
        return Lengths(model.spec.title, kept, said, None)
    places = found.places[layer]
    make.array(f"outliers {model.spec.id}", places, f"{code}.places[{layer}]")
    said = (
        f"Most outliers in {names[layer]}: {percent(found.outliers[layer], 1)} of the patches are "
        "longer than three times the median of their picture. Their places, as share of the "
        "pictures:"
    )
    shown = charts.places(places, float(places.max()))
    where = f"Where outliers of {names[layer]} of {model.spec.title} lie"
    return Lengths(
        model.spec.title,
        kept,
        said,
        make.show(Figure(f"outliers-{number}", shown, where, "300px", "420px")),
    )


def prefix_names(model: Model) -> list[str]:
    """A name for each token before the patches."""
    if not isinstance(model, VisionTransformer):
        return []
    if model.prefix == 1 and model.reads_class_token:
        return ["class token"]
    return [f"token {i + 1} before the patches" for i in range(model.prefix)]


# -- logit lens -----------------------------------------------------------------------------------

FITTED_LAST = 0.1
"""Share of pictures with the final answer before the last block, below which only the last block
and the classifier were fitted to the classes, as far as can be seen."""


@dataclass(frozen=True, eq=False)
class Early:
    """What a model would answer at each layer.

    Attributes
    ----------
    rows
        For each layer its name, answer and probability for the picture that is looked at; empty
        where they would be noise.
    said
        How many pictures have their final answer when, or why that says nothing.
    """

    title: str
    rows: tuple[tuple[str, str, float], ...]
    said: str


def early(make: Maker, of: Asked) -> Found:
    """The logit lens of each model."""
    lines = {}
    at = focus(make, of)

    def shown(number: int, model: VisionTransformer, found: LogitLens) -> Early:
        names = [short(tap) for tap in found.layers]
        lines[model.spec.title] = (names, found.agreement)
        make.array(
            f"early answers {model.spec.id}",
            found.answers,
            f"core.logit_lens(models[{model.spec.id!r}], {of.code()}, given).answers",
        )
        return _early(model, found, names, at)

    title = "Answers of the layers of {}"
    found = _of_each(of, ("logit lens",), title, core.logit_lens, shown, _no_class_token)
    if not lines:
        return found
    alt = "Share of pictures with the final answer over layers"
    figure = charts.agreement(lines, charts.colors(of.models))
    return replace(found, chart=make.show(Figure("agreement", figure, alt, "320px")))


def _no_class_token(model: Model) -> str:
    if isinstance(model, VisionTransformer):
        return ""
    return model.limits or (
        f"{model.spec.title} is a convolutional network: its stages have other channels than its "
        "classifier reads, so only a classifier fitted to each stage could read them."
    )


def _early(model: VisionTransformer, found: LogitLens, names: Sequence[str], at: int) -> Early:
    agreement = found.agreement
    before = float(agreement[:-1].max())
    if before < FITTED_LAST:
        many = f"at most {percent(before, 1)}" if before else "none"
        said = (
            f"Before the last block, {many} of the pictures have their final answer: the "
            "classifier was fitted to the last block alone, and what it reads in earlier blocks "
            "is noise, which is not shown."
        )
        return Early(model.spec.title, (), said)
    rows = tuple(
        (name, model.label(int(answer)), float(share))
        for name, answer, share in zip(
            names, found.answers[:, at], found.probabilities[:, at], strict=True
        )
    )
    half = int(np.argmax(agreement >= 0.5))
    said = f"Half of the pictures have their final answer after {names[half]}."
    return Early(model.spec.title, rows, said)


# -- ablation -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Changed:
    """A picture whose first answer is another one without a part."""

    picture: Picture
    before: str
    after: str


@dataclass(frozen=True, eq=False)
class Removed:
    """What changes without each head or block of a model.

    Attributes
    ----------
    part
        Number of the part that is looked at, and its name.
    changed
        The pictures whose first answer changes without it.
    lost
        How much less probable the first answers are without it, on average.
    """

    title: str
    figure: Figure
    part: int
    name: str
    changed: tuple[Changed, ...]
    lost: float


def removed(make: Maker, of: Asked) -> Found:
    """Every head, or every block, taken away in turn."""
    options = make.screen.of(Options)
    parts, fill = options.ablated, options.ablated_by
    return _of_each(
        of,
        ("ablation", parts, fill),
        f"{{}} without each of its {parts}",
        partial(core.ablate, parts=parts, fill=fill),
        partial(_removed, make, of),
        _no_heads,
    )


def _no_heads(model: Model) -> str:
    if isinstance(model, VisionTransformer):
        return ""
    return model.limits or (
        f"{model.spec.title} is a convolutional network: it has no heads, and a stage changes the "
        "shape of what passes, so that none can be left out."
    )


def _removed(make: Maker, of: Asked, number: int, model: Model, found: Ablation) -> Removed:
    options = make.screen.of(Options)
    make.array(
        f"answers without {options.ablated} {model.spec.id}",
        found.answers,
        f"core.ablate(models[{model.spec.id!r}], {of.code()}, {options.ablated!r}, "
        f"{options.ablated_by!r}, given).answers",
    )
    share = np.atleast_2d(found.share_changed) if found.shape[1:] else found.share_changed[:, None]
    drop = found.drop.reshape(share.shape)
    rows = [f"block {i}" for i in range(share.shape[0])]
    columns = [f"head {i}" for i in range(share.shape[1])] if found.shape[1:] else ["whole"]
    texts = [
        [
            f"{in_figure(model.spec.title)}, {row}, {column}<br><b>{percent(share[i, j])} of the "
            f"answers change</b><br>the first answer loses {percent(drop[i, j], 1)}"
            for j, column in enumerate(columns)
        ]
        for i, row in enumerate(rows)
    ]
    figure = charts.table(share, rows, columns, texts, float(share.max()))
    figure.update_xaxes(title="head" if found.shape[1:] else "")
    height = f"{24 * len(rows) + 90}px"
    width = f"{min(760, 90 * len(columns) + 160)}px"
    alt = f"Share of answers of {model.spec.title} that change without each part"
    kept = make.show(Figure(f"ablation-{number}", figure, alt, height, width))
    part = options.ablated_part
    if part is None or part >= share.size:
        part = int(share.ravel().argmax())
    pictures = tuple(
        Changed(
            of.pictures[i],
            model.label(int(found.intact[i])),
            model.label(int(found.answers[part, i])),
        )
        for i in np.flatnonzero(found.changed[part])
    )
    return Removed(
        model.spec.title,
        kept,
        part,
        found.parts[part].replace(".", " "),
        pictures,
        float(drop.ravel()[part]),
    )
