"""What a sweep is to find out, as a frozen, checked value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from core.errors import ParameterError, UnsupportedMethod
from core.images import Framing
from core.methods.parameters import parse
from core.methods.registry import find_method
from core.models import Model
from core.models.spec import embedded_pair, find_spec
from core.recording.run import Needs

CNN, VIT = embedded_pair()

Family = Literal["cnn", "vit"]
Target = Literal["own", "shared"]
FITS = ("crop", "pad", "stretch", "whole")
"""Ways to fit a picture that give both models the same pixels."""

EVIDENCE_STEPS = 8
"""Steps of the deletion and insertion curves."""


@dataclass(frozen=True)
class Plan:
    """Which pictures, which pair of models, which maps.

    Attributes
    ----------
    pictures
        A folder, a Parquet file, or an address that fsspec knows; see `core.sweep.pictures`.
    cnn, vit
        Ids of `core.catalog`.
    maps
        Names of methods. Each is asked of the models of the pair that it serves; ``cnn:grad_cam``
        asks one of the two only.
    framing
        How pictures are fitted, once for both models; one of `FITS`.
    target
        Class that class-specific maps explain. ``"own"``: each model's first answer.
        ``"shared"``: the same for both models, the label's class where it is known, else the first
        answer of the CNN (of the ViT, if the CNN has no classes).
    evidence
        Whether deletion and insertion areas are measured, with `EVIDENCE_STEPS` steps.
    parameters
        Pairs of a parameter, such as ``rise.definition``, and its value; others are as the models
        have them by default. A sweep that is gone on with keeps those that it began with.
    exceptions
        Pairs of a label and the name of its class where they are not called the same; an empty name
        says that there is no such class.

    Raises
    ------
    ParameterError
        A value that is none of the offered ones.
    UnknownModel
        No such id.
    """

    pictures: str
    cnn: str = CNN
    vit: str = VIT
    maps: tuple[str, ...] = ("cam", "gradient_rollout")
    framing: Framing = dataclasses.field(default_factory=lambda: Framing("crop"))
    target: Target = "own"
    evidence: bool = False
    exceptions: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for model_id, family in ((self.cnn, "cnn"), (self.vit, "vit")):
            if find_spec(model_id).family != family:
                raise ParameterError(f"The model {model_id!r} is no {family}; swap the two.")
        if self.framing.fit not in FITS:
            raise ParameterError(
                f"The fit is {self.framing.fit!r}, expected one that gives both models the same "
                f"pixels: {', '.join(FITS)}."
            )
        if self.target not in get_args(Target):
            raise ParameterError(f"The target is {self.target!r}, expected own or shared.")
        if len(set(self.maps)) < len(self.maps):
            raise ParameterError(f"A map is named twice in {', '.join(self.maps)}; name it once.")

        methods = {name.rpartition(":")[2] for name in self.maps}
        for name, _ in self.parameters:
            if name.partition(".")[0] not in methods:
                raise ParameterError(
                    f"The parameter {name!r} is of none of the maps {', '.join(self.maps)}; name "
                    "it as method.parameter."
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, from which `from_dict` makes an equal plan."""
        return dataclasses.asdict(self) | {
            "maps": list(self.maps),
            "exceptions": dict(self.exceptions),
            "parameters": dict(self.parameters),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Plan:
        """The plan that `as_dict` wrote."""
        return cls(
            **{
                **content,
                "maps": tuple(content["maps"]),
                "framing": Framing(**content["framing"]),
                "exceptions": tuple(content["exceptions"].items()),
                "parameters": tuple(content["parameters"].items()),
            }
        )


@dataclass(frozen=True)
class Asked:
    """One map that is made of every picture.

    Attributes
    ----------
    family
        Of the model that is asked.
    method
        Name of the method.
    parameters
        All parameters of the method, as the plan or else this model has them.
    """

    family: Family
    method: str
    parameters: Mapping[str, Any] = dataclasses.field(hash=False)
    needs: Needs

    @property
    def key(self) -> str:
        """What columns call it: ``cnn_cam``."""
        return f"{self.family}_{self.method}"


def asked(plan: Plan, cnn: Model, vit: Model) -> tuple[Asked, ...]:
    """The maps of a plan for an opened pair.

    Raises
    ------
    UnknownMethod
        No method of this name.
    UnsupportedMethod
        Neither model can serve it, or evidence is wanted of one without classes.
    """
    models: dict[Family, Model] = {"cnn": cnn, "vit": vit}
    found = []
    for name in plan.maps:
        family, colon, method = name.rpartition(":")
        if colon and family not in models:
            raise ParameterError(f"The map {name!r} asks {family!r}, expected cnn or vit.")
        known = find_method(method)
        given = [key for key in models if not colon or key == family]
        serving = [key for key in given if known.why_not(models[key]) is None]
        if not serving:
            raise UnsupportedMethod(str(known.why_not(models[given[-1]])))
        own = {
            parameter.removeprefix(f"{method}."): value
            for parameter, value in plan.parameters
            if parameter.startswith(f"{method}.")
        }
        for key in serving:
            parameters = parse(known.parameters, models[key], method, own)
            needs = known.needs(models[key], parameters)
            found.append(Asked(key, method, dataclasses.asdict(parameters), needs))
    if plan.evidence:
        for key in {one.family for one in found}:
            models[key].check_target(0)  # without classes there is nothing to measure
    return tuple(dict.fromkeys(found))
