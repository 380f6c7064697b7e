"""The registry of explanation methods: one file each, found by importing this package's files."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_args

from torch import Tensor

from core.errors import NoZero, UnknownMethod, UnsupportedMethod
from core.methods.parameters import Parameter, Parameters, describe
from core.models import Model, VisionTransformer
from core.models.taps import HEADS_MAP, MAP
from core.recording.run import Needs
from core.targets import Target

Kind = Literal["cnn", "vit", "windows", "pixels"]
"""What a method needs: maps of stages, attention of all tokens, attention within windows, or only
pixels and answers."""

_KINDS: Mapping[Kind, str] = {
    "cnn": "convolutional networks",
    "vit": "vision transformers",
    "windows": "transformers with windows, such as Swin",
    "pixels": "all others",
}


@dataclass(frozen=True, eq=False)
class Relevance:
    """What a method returns for a batch.

    Attributes
    ----------
    maps : Tensor
        (batch, rows, cols), raw and signed.
    prefix_mass : Tensor or None
        (batch,), share of the method's total mass that fell on prefix tokens, in [0, 1].
    if_zero : str
        Why a correct map may be zero everywhere, in one sentence.
    remarks : tuple of str
        What a reader must know about the map of each picture, at most one sentence for each;
        empty if there is none.
    """

    maps: Tensor
    prefix_mass: Tensor | None = None
    if_zero: str = ""
    remarks: tuple[str, ...] = ()


Run = Callable[[Any, Sequence[Target], Any], Relevance]


GRADIENT = 3
"""Forward passes that take about as long as one pass forward and backward."""


@dataclass(frozen=True)
class Method:
    """A registered explanation method.

    Attributes
    ----------
    name, title : str
    order : int
        Position in lists of methods, in the field's usual order; smaller comes first.
    serves : tuple of str
        Supported kinds of model: ``"cnn"``, ``"vit"``, ``"windows"``, and ``"pixels"`` if it
        uses only pixels and answers, so that it supports networks with unknown internals.
    class_specific : bool
        Whether the map depends on the target class.
    signed : bool
        Whether negative values have a meaning, so that zero is the middle of the scale; never
        with parameters for which the map has no meaningful zero.
    has_zero : callable
        ``has_zero(parameters)``: whether zero means no influence. Only in such maps
        may positive parts be summed, as shares and densities do; see `Explanation.positive`.
    Parameters whose default has changed, with the earlier default: the value that a stored request
    without them means; see `written`.
    meaning, caveat : str
        What the map shows and what it does not, for the reader.
    source : str
        Source of the definition.
    parameters : type
        Dataclass of parameters.
    needs : callable
        ``needs(model, parameters) -> Needs``: the tensors that it reads from the recording.
    run : callable
        ``run(recording, targets, parameters) -> Relevance``. The recording has the kind that the
        method supports: `ConvolutionRecording`, `TransformerRecording`, or either.
    unsupported : callable
        ``unsupported(model)``: why a model of its kind is not supported, or ``None``.
    passes : callable
        ``passes(recording, parameters)``: forward passes that a map of one picture takes beyond
        those of its recording; a pass with its gradient counts as `GRADIENT`.
    """

    name: str
    title: str
    order: int
    serves: tuple[Kind, ...]
    class_specific: bool
    signed: bool
    has_zero: Callable[[Any], bool]
    earlier: Mapping[str, str]
    meaning: str
    caveat: str
    source: str
    parameters: type[Parameters]
    needs: Callable[[Any, Any], Needs]
    run: Run
    unsupported: Callable[[Any], str | None]
    passes: Callable[[Any, Any], int]

    @property
    def draws(self) -> bool:
        """Whether the method uses random draws, that is, has a parameter ``seed``."""
        return any(field.name == "seed" for field in fields(self.parameters))

    @property
    def is_quick(self) -> bool:
        """Whether a recording and at most one gradient serve a map."""
        return self.passes is _none

    @property
    def current(self) -> dict[str, str]:
        """The current defaults of the parameters in `earlier`."""
        return {
            field.name: str(field.default)
            for field in fields(self.parameters)
            if field.name in self.earlier
        }

    def written(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a stored request, of this or an earlier version.

        Every version since writes the parameters in `earlier` out, so where they are missing an
        earlier version wrote the request, and its default holds.
        """
        return {**self.earlier, **given}

    def why_not(self, model: Model) -> str | None:
        """Why a model is not supported; ``None`` if it is. Never raises."""
        if not _kinds(model) & set(self.serves):
            served = " and ".join(_KINDS[known] for known in self.serves)
            if model.limits:
                return f"{self.title} works on {served}. {model.limits}"
            return f"{self.title} works on {served}; {model.spec.title} is not one."
        if self.class_specific and not model.classes:
            return (
                f"{self.title} needs a class, and {model.spec.title} was trained without classes; "
                "choose attention or rollout, or a model with a class head."
            )
        return self.unsupported(model)

    def parameters_for(self, model: Model) -> tuple[Parameter, ...]:
        """The parameters with their ranges and defaults on this model."""
        return describe(self.parameters, model, self.name)


def no_zero(title: str) -> NoZero:
    """The error for sums of positive parts of a map of this method."""
    return NoZero(
        f"{title} with these parameters has no meaningful zero: its values include a constant, "
        "so shares of positive relevance mean nothing; choose another definition or method."
    )


def _kinds(model: Model) -> set[Kind]:
    """The kinds of a model, as methods need them."""
    if isinstance(model, VisionTransformer):
        return {"vit"}
    axes = {tap.axes for tap in model.taps.values()}
    found: set[Kind] = {"cnn"} if MAP in axes else {"pixels"}
    return found | {"windows"} if HEADS_MAP in axes else found


def _none(recording: Any, parameters: Any) -> int:
    """No further passes."""
    return 0


_registry: dict[str, Method] = {}


def method(
    name: str,
    *,
    title: str,
    order: int,
    serves: Sequence[Kind],
    class_specific: bool,
    meaning: str,
    caveat: str,
    source: str,
    parameters: type[Parameters],
    needs: Callable[[Any, Any], Needs],
    signed: bool = False,
    has_zero: Callable[[Any], bool] = lambda parameters: True,
    earlier: Mapping[str, str] = MappingProxyType({}),
    unsupported: Callable[[Any], str | None] = lambda model: None,
    passes: Callable[[Any, Any], int] = _none,
) -> Callable[[Run], Run]:
    """Register the decorated function as a method; see `Method` for the arguments."""
    assert set(serves) <= set(get_args(Kind)), f"{name} serves {serves!r}"

    def register(run: Run) -> Run:
        _registry[name] = Method(
            name,
            title,
            order,
            tuple(serves),
            class_specific,
            signed,
            has_zero,
            earlier,
            meaning,
            caveat,
            source,
            parameters,
            needs,
            run,
            unsupported,
            passes,
        )
        return run

    return register


@cache
def all_methods() -> dict[str, Method]:
    """Every method by name, in the order of lists."""
    package = importlib.import_module(str(__package__))
    files = {f"{package.__name__}.{file.name}" for file in pkgutil.iter_modules(package.__path__)}
    for name in sorted(files):
        importlib.import_module(name)
    found = [entry for entry in _registry.values() if entry.run.__module__ in files]
    return {entry.name: entry for entry in sorted(found, key=lambda m: (m.order, m.name))}


def changed_methods() -> dict[str, Method]:
    """The methods with parameters whose default has changed; see `Method.earlier`."""
    return {name: entry for name, entry in all_methods().items() if entry.earlier}


def find_method(name: str) -> Method:
    """The method of this name; otherwise `UnknownMethod` with all names."""
    methods = all_methods()
    if name not in methods:
        raise UnknownMethod(f"The method {name!r} is unknown; choose one of {', '.join(methods)}.")
    return methods[name]


def methods(model: Model) -> tuple[Method, ...]:
    """The methods that support a model."""
    return tuple(m for m in all_methods().values() if m.why_not(model) is None)


def supported(name: str, model: Model) -> Method:
    """The method of this name, if it supports the model.

    Raises
    ------
    UnknownMethod, UnsupportedMethod
    """
    found = find_method(name)
    if reason := found.why_not(model):
        raise UnsupportedMethod(reason)
    return found
