"""Declarations of a method's parameters, from which checks, widgets and help texts are derived."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from core.errors import ParameterError
from core.models import Model

Choices = Sequence[str] | Callable[[Any], Sequence[str]]
Default = str | Callable[[Any], str]
Number = float | Callable[[Any], float]


class Parameters(Protocol):
    """Any dataclass whose fields were made by `number`, `choice`, `index` or `span`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method on one model, ready for a widget.

    Attributes
    ----------
    kind
        ``"number"``, ``"choice"``, ``"index"`` (an integer or ``None``) or ``"span"``
        (a set of consecutive layers, ``None`` for all).
    low, high, step
        Range, in the parameter's own unit (numbers, indices, spans).
    options
        Allowed values (choices).
    optional
        Whether a number may be ``None`` as well, which means what the help text says.
    """

    name: str
    kind: str
    default: Any
    label: str
    help: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.05
    options: tuple[str, ...] = ()
    optional: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether a number must be an integer."""
        return isinstance(self.default, int)

    def accepts(self, value: Any) -> bool:
        """Whether `parse` would take this value."""
        try:
            _checked(self, value)
        except ParameterError:
            return False
        return True


def number(
    default: Number | None, low: float, high: float, step: float, label: str, help: str
) -> Any:
    """Declare a number in [low, high], an integer if the default is one.

    ``default`` may depend on the model; where it is ``None``, that is allowed as well and means
    what the help text says.
    """
    return dataclasses.field(
        default=0 if callable(default) else default,
        metadata={"kind": "number", "default": default, "low": low, "high": high, "step": step}
        | {"label": label, "help": help, "optional": default is None},
    )


def choice(default: Default, options: Choices, label: str, help: str) -> Any:
    """Declare one of several names; ``default`` and ``options`` may depend on the model."""
    return dataclasses.field(
        default="" if callable(default) else default,
        metadata={
            "kind": "choice",
            "default": default,
            "options": options,
            "label": label,
            "help": help,
        },
    )


def layers_of(model: Model) -> int:
    """Number of layers of a model, for `index` and `span`."""
    return len(model.layers)


def heads_of(model: Model) -> int:
    """Attention heads of each layer, for `index`."""
    return model.layers[-1].heads


def index(default: int | None, count: Callable[[Model], int], label: str, help: str) -> Any:
    """Declare an index below ``count(model)``; the help text explains ``None``."""
    return dataclasses.field(
        default=default, metadata={"kind": "index", "count": count, "label": label, "help": help}
    )


def span(count: Callable[[Model], int], label: str, help: str) -> Any:
    """Declare a set of layers below ``count(model)``, ``None`` for all."""
    return dataclasses.field(
        default=None, metadata={"kind": "span", "count": count, "label": label, "help": help}
    )


def describe(kind: type[Parameters], model: Model, method: str) -> tuple[Parameter, ...]:
    """The parameters of a method on one model; defaults in its catalog entry take precedence."""
    suits = model.spec.defaults.get(method, {})
    described = []
    for entry in dataclasses.fields(kind):
        meta = entry.metadata
        default = meta.get("default", entry.default)
        default = default(model) if callable(default) else default
        options = meta.get("options", ())
        high = meta["count"](model) - 1 if "count" in meta else meta.get("high", 1.0)
        parameter = Parameter(
            name=entry.name,
            kind=meta["kind"],
            default=default,
            label=meta["label"],
            help=meta["help"],
            low=meta.get("low", 0),
            high=high,
            step=meta.get("step", 1),
            options=tuple(options(model) if callable(options) else options),
            optional=meta.get("optional", False),
        )
        if entry.name in suits and parameter.accepts(suits[entry.name]):
            parameter = dataclasses.replace(parameter, default=suits[entry.name])
        described.append(parameter)
    return tuple(described)


def parse(
    kind: type[Parameters], model: Model, method: str, given: Mapping[str, Any]
) -> Parameters:
    """Check given parameters and build the method's parameter object.

    Missing values come from the model's catalog entry, then from the declaration.

    Raises
    ------
    ParameterError
        Unknown name, wrong type or out of range.
    """
    known = {parameter.name: parameter for parameter in describe(kind, model, method)}
    declared = {name: parameter.default for name, parameter in known.items()}
    merged = {**declared, **model.spec.defaults.get(method, {}), **given}
    for name in merged:
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise ParameterError(f"{method} has no parameter {name!r}; it has: {allowed}.")
    return kind(**{name: _checked(known[name], value) for name, value in merged.items()})


def _checked(parameter: Parameter, value: Any) -> Any:
    name, low, high = parameter.name, parameter.low, parameter.high
    if parameter.kind == "choice":
        if value not in parameter.options:
            options = ", ".join(parameter.options)
            raise ParameterError(f"{name} is {value!r}, expected one of: {options}.")
        return value
    if parameter.kind == "number":
        if parameter.optional and value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
            or (parameter.is_whole and value != int(value))
        ):
            what = "an integer" if parameter.is_whole else "a number"
            raise ParameterError(f"{name} is {value!r}, expected {what} from {low} to {high}.")
        return int(value) if parameter.is_whole else float(value)
    if value is None:
        return None
    try:
        indices = sorted({int(i) for i in (value if parameter.kind == "span" else [value])})
    except (TypeError, ValueError):
        indices = []
    if not indices or indices[0] < 0 or indices[-1] > high:
        what = "layers (integers)" if parameter.kind == "span" else "an integer"
        raise ParameterError(f"{name} is {value!r}, expected {what} from 0 to {int(high)}.")
    return tuple(indices) if parameter.kind == "span" else indices[0]
