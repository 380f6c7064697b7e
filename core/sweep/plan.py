"""The plan of a sweep, as a frozen, checked value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from core.errors import ParameterError, UnsupportedMethod
from core.images import Framing
from core.methods.parameters import parse
from core.methods.registry import all_methods, find_method
from core.models import Model
from core.models.spec import default_models, find_spec
from core.recording.run import Needs

DEFAULT = default_models()
"""Ids of the default models."""

MOST_MODELS = 4

Target = Literal["own", "shared"]
FITS = ("crop", "pad", "stretch", "whole")
"""Fits that give all models the same pixels."""

USUAL = ("cam", "gradient_rollout", "rollout")
"""The default map of a model is the first of these that supports it."""

EVIDENCE_STEPS = 8
"""Steps of the deletion and insertion curves."""


@dataclass(frozen=True)
class Plan:
    """Pictures, models and maps of a sweep.

    Attributes
    ----------
    pictures
        A folder, a Parquet file, or an address supported by fsspec; see `core.sweep.pictures`.
    models
        Ids of `core.catalog`, one to `MOST_MODELS`, of any kind.
    maps
        Names of methods. Each is applied to the models that it supports; ``MODEL:METHOD`` to one
        model only, and ``cnn:METHOD`` or ``vit:METHOD`` to those of a family. Without any, the
        usual map of each model is computed, see `usual_map`.
    framing
        How pictures are fitted, once for all models; one of `FITS`.
    target
        Class that class-specific maps explain. ``"own"``: each model's first answer.
        ``"shared"``: the same for all models, the label's class where it is known, else the first
        answer of the first model that has classes.
    evidence
        Whether deletion and insertion areas are measured, with `EVIDENCE_STEPS` steps.
    parameters
        Pairs of a parameter, such as ``rise.definition``, and its value; others have the models'
        defaults. A continued sweep keeps its first parameters.
    exceptions
        Pairs of a label and the name of its class where they differ; an empty name
        means that there is no such class.

    Raises
    ------
    ParameterError
        A value is not allowed.
    UnknownModel
        An id is unknown.
    """

    pictures: str
    models: tuple[str, ...] = DEFAULT
    maps: tuple[str, ...] = ()
    framing: Framing = dataclasses.field(default_factory=lambda: Framing("crop"))
    target: Target = "own"
    evidence: bool = False
    exceptions: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.models) <= MOST_MODELS:
            raise ParameterError(
                f"{len(self.models)} models are given, expected 1 to {MOST_MODELS}."
            )
        for what, names in (("model", self.models), ("map", self.maps)):
            if len(set(names)) < len(names):
                raise ParameterError(
                    f"A {what} is named twice in {', '.join(names)}; name it once."
                )
        for model_id in self.models:
            find_spec(model_id)
        if self.framing.fit not in FITS:
            raise ParameterError(
                f"The fit is {self.framing.fit!r}, expected one that gives all models the same "
                f"pixels: {', '.join(FITS)}."
            )
        if self.target not in get_args(Target):
            raise ParameterError(f"The target is {self.target!r}, expected own or shared.")

        methods = {name.rpartition(":")[2] for name in self.maps}
        for name, _ in self.parameters:
            if name.partition(".")[0] not in methods:
                raise ParameterError(
                    f"The parameter {name!r} belongs to none of the maps {', '.join(self.maps)}; "
                    "write it as method.parameter."
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, from which `from_dict` creates an equal plan."""
        return dataclasses.asdict(self) | {
            "models": list(self.models),
            "maps": list(self.maps),
            "exceptions": dict(self.exceptions),
            "parameters": dict(self.parameters),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Plan:
        """The plan from the result of `as_dict`."""
        return cls(
            **{
                **content,
                "models": tuple(content["models"]),
                "maps": tuple(content["maps"]),
                "framing": Framing(**content["framing"]),
                "exceptions": tuple(content["exceptions"].items()),
                "parameters": tuple(content["parameters"].items()),
            }
        )


@dataclass(frozen=True)
class Asked:
    """One map that is computed for every picture.

    Attributes
    ----------
    model
        Number of the model in the plan.
    method
        Name of the method.
    parameters
        All parameters of the method, from the plan or else the model's defaults.
    needs
        What a pass must record for it.
    """

    model: int
    method: str
    parameters: Mapping[str, Any] = dataclasses.field(hash=False)
    needs: Needs


def usual_map(model: Model) -> str:
    """Name of a model's default method."""
    served = [method.name for method in all_methods().values() if method.why_not(model) is None]
    return next((name for name in USUAL if name in served), served[0])


def asked(plan: Plan, models: Sequence[Model]) -> tuple[Asked, ...]:
    """The maps of a plan for its opened models, in their order.

    Raises
    ------
    UnknownMethod
        A method is unknown.
    UnsupportedMethod
        No model supports it, or evidence is requested for a model without classes.
    """
    found: list[Asked] = []
    if not plan.maps:
        for number, model in enumerate(models):
            found.append(_asked(number, model, usual_map(model), {}))
    for name in plan.maps:
        of, colon, method = name.rpartition(":")
        known = find_method(method)
        given = [n for n, model in enumerate(models) if not colon or _is_called(model, of)]
        if not given:
            raise ParameterError(
                f"The map {name!r} is of {of!r}, expected one of {', '.join(plan.models)}."
            )
        serving = [number for number in given if known.why_not(models[number]) is None]
        if not serving:
            raise UnsupportedMethod(str(known.why_not(models[given[-1]])))
        own = {
            parameter.removeprefix(f"{method}."): value
            for parameter, value in plan.parameters
            if parameter.startswith(f"{method}.")
        }
        found += [_asked(number, models[number], method, own) for number in serving]
    if plan.evidence:
        for number in {one.model for one in found}:
            models[number].check_target(0)  # without classes there is nothing to measure
    return tuple(dict.fromkeys(found))


def _is_called(model: Model, name: str) -> bool:
    return name in (model.spec.id, model.spec.family)


def _asked(number: int, model: Model, method: str, given: Mapping[str, str]) -> Asked:
    known = find_method(method)
    parameters = parse(known.parameters, model, method, given)
    return Asked(number, method, dataclasses.asdict(parameters), known.needs(model, parameters))
