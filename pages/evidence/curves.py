"""Deletion and insertion curves of maps, compared with chance. Independent of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

import core
from core import Faithfulness, Judgment, Model
from dashboard import measurements
from dashboard.choices import look_values, within
from dashboard.looks import Look
from dashboard.screen import Screen
from dashboard.view import Figure, Maker
from pages.evidence import charts
from pages.evidence.asked import Asked
from pages.evidence.options import Options

FAINT = 0.01
"""Probability for the intact picture below which shares are unreliable."""

FIGURES = (
    "deletion_area",
    "deletion_share",
    "insertion_area",
    "insertion_share",
    "difference",
)
"""Attributes of `core.Faithfulness` that are columns of a table."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The measured maps of a model.

    Attributes
    ----------
    number
        Of the model, as in `Asked.number`.
    offered
        Titles of its methods by name.
    methods
        Names of the chosen ones.
    maps
        Unique name, method and parameters of each map.
    """

    model: Model
    number: int
    offered: Mapping[str, str]
    methods: tuple[str, ...]
    maps: tuple[tuple[str, str, dict[str, Any]], ...]


@dataclass(frozen=True, eq=False)
class Side:
    """The curves of one model.

    Attributes
    ----------
    model_id, title
        Of the model.
    number
        As in `Asked.number`.
    table
        A row for each map and each kind of uninformative order: name, `FIGURES`, and how
        a map compares with chance.
    faint
        A warning if the intact picture's probability is below `FAINT`.
    """

    model_id: str
    title: str
    number: int
    figure: Figure
    table: tuple[Mapping[str, Any], ...]
    faint: str


@dataclass(frozen=True, eq=False)
class AtStep:
    """The picture at one step of a curve.

    Attributes
    ----------
    title, name
        Of the model and of the map.
    share
        Share of the patches removed or restored.
    probability
        Probability of the target.
    """

    title: str
    name: str
    curve: Literal["deletion", "insertion"]
    step: int
    steps: int
    picture: Image.Image
    share: float
    probability: float


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves of the chosen maps of every model.

    Attributes
    ----------
    label
        The target, as text.
    chosen
        One for each model with a look.
    measured
        Whether they were measured; otherwise the fields below are empty.
    without
        Why maps have no curves, one sentence each.
    orders
        Number of random orders.
    refusals
        Why models are excluded, one sentence each.
    """

    label: str
    chosen: tuple[Chosen, ...]
    measured: bool = False
    without: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()
    at_step: AtStep | None = None
    orders: int = 0
    refusals: tuple[str, ...] = ()


def curves(make: Maker, asked: Asked) -> Curves:
    """Measure the chosen maps of every model, on request."""
    chosen = {model: _chosen(make, asked, model) for model in asked.asked}
    if not make.screen.of(Options).measured:
        return Curves(asked.label, tuple(chosen.values()))
    without = []
    found: dict[Model, dict[str, Faithfulness]] = {}
    chance: dict[Model, dict[str, list[Faithfulness]]] = {}
    for model in asked.models:
        found[model], model_id, target = {}, model.spec.id, asked.target(model)
        for name, method, params in chosen[model].maps:
            one = measurements.curves(make, model_id, method, target, params, asked.fill)
            if isinstance(one, str):
                without.append(f"{model.spec.title}: {one}")
            else:
                found[model][name] = one
        chance[model] = measurements.chance(make, model_id, target, asked.fill)
    marked = _marked(make, asked, found)
    sides = tuple(
        _side(make, asked, model, found[model], chance[model], marked) for model in asked.models
    )
    return Curves(
        asked.label,
        tuple(chosen.values()),
        measured=True,
        without=tuple(without),
        sides=sides,
        at_step=_at_step(make.screen, found, marked) if marked else None,
        orders=len(measurements.SEEDS),
        refusals=asked.refusals(),
    )


def listed(now: Screen, model_id: str) -> list[Look]:
    """The maps of a model that the screen lists."""
    return [look for look in map(Look.read, now.of(Options).maps) if look.model == model_id]


def _chosen(make: Maker, asked: Asked, model: Model) -> Chosen:
    """The maps listed in the screen, as far as available; else those of the looks."""
    offered = {one.name: one.title for one in core.methods(model)}
    looks = [one for one in asked.choices if one.model is model and one.method is not None]
    wanted = {}
    for look in listed(make.screen, model.spec.id):
        if look.method in offered:
            wanted[look.method] = dict(look.parameters)
        else:
            make.problem(f"maps has {look.text!r}, which {model.spec.title} does not offer.")
    methods = tuple(wanted) or tuple(dict.fromkeys(one.method.name for one in looks if one.method))
    found: list[tuple[str, str, dict[str, Any]]] = []
    for name in methods:
        own = [one for one in looks if one.method and one.method.name == name]
        for one in own:
            title = f"{offered[name]}, {one.own}" if one.own and len(own) > 1 else offered[name]
            found.append((title, name, one.values))
        if not own:
            method, texts = core.find_method(name), wanted.get(name, {})
            values = look_values(f"maps.{name}", method, model, texts, make.problem)
            found.append((offered[name], name, values))
    return Chosen(model, asked.number(model), offered, methods, tuple(found))


# -- one model ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marked:
    """The step of a curve whose picture is shown."""

    model: Model
    name: str
    step: int


def _side(
    make: Maker,
    asked: Asked,
    model: Model,
    found: Mapping[str, Faithfulness],
    chance: Mapping[str, list[Faithfulness]],
    marked: Marked | None,
) -> Side:
    figure = charts.both_curves(
        found,
        {name: ones for name, ones in chance.items() if ones},
        (marked.name, make.screen.of(Options).curve, marked.step)
        if marked and marked.model is model
        else None,
    )
    title = model.spec.title
    alt = f"Deletion and insertion curves of {title}"
    if not asked.is_class:
        alt += f" for {asked.label}"
    number = asked.number(model)
    rows = {name: [one] for name, one in found.items()} | dict(chance)
    intact = next((ones[0].intact for ones in rows.values() if ones), 1.0)
    return Side(
        model.spec.id,
        title,
        number,
        make.show(Figure(f"curves-{number}", figure, alt)),
        _table(found, chance),
        _faint(asked, intact) if intact < FAINT else "",
    )


def _faint(asked: Asked, intact: float) -> str:
    what = "this class" if asked.is_class else asked.label
    return f"The intact picture gives {what} only {intact:.1%}, so shares say little here."


def _table(
    found: Mapping[str, Faithfulness], chance: Mapping[str, list[Faithfulness]]
) -> tuple[Mapping[str, Any], ...]:
    rows: list[tuple[str, Sequence[Faithfulness], str]] = [
        (name, [one], _against_chance(core.judged(one, chance))) for name, one in found.items()
    ]
    rows += [(name, ones, "") for name, ones in chance.items()]
    return tuple(
        {"map": name}
        | {figure: float(np.mean([getattr(one, figure) for one in ones])) for figure in FIGURES}
        | {"chance": text}
        for name, ones, text in rows
        if ones
    )


def _against_chance(judged: Judgment) -> str:
    """Whether a map is better than chance, and its comparison with each uninformative order."""
    parts = [f"{one.title}: {one.verdict} (± {one.margin:.2f})" for one in judged.rivals]
    return f"{'yes' if judged.better else 'no'} · {' · '.join(parts)}"


# -- one step -------------------------------------------------------------------------------------


def _marked(
    make: Maker, asked: Asked, found: Mapping[Model, Mapping[str, Faithfulness]]
) -> Marked | None:
    """The step of the screen, by default of the last model's first map."""
    chosen = make.screen.of(Options)
    known = {
        f"{model.spec.id}.{name}": (model, name)
        for model in reversed(asked.models)
        for name in found[model]
    }
    if not known:
        return None
    now, first = make.screen, next(iter(known))
    if chosen.of is not None and chosen.of not in known:
        make.problem(f"of is {chosen.of!r}, which is not measured here; shown instead: {first}.")
    model, name = known.get(chosen.of or "", known[first])
    return Marked(model, name, within(now, "step", 0, found[model][name].steps, make.problem))


def _at_step(
    now: Screen, found: Mapping[Model, Mapping[str, Faithfulness]], marked: Marked
) -> AtStep:
    one, curve, step = found[marked.model][marked.name], now.of(Options).curve, marked.step
    return AtStep(
        marked.model.spec.title,
        marked.name,
        curve,
        step,
        one.steps,
        one.picture(step, curve),
        float(one.fractions[step]),
        float((one.deletion if curve == "deletion" else one.insertion)[step]),
    )
