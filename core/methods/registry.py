"""The registry of explanation methods: one file each, found by importing this package's files."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from core.errors import UnknownMethod, UnsupportedMethod
from core.methods.parameters import Parameter, Parameters, describe
from core.models import Model, VisionTransformer
from core.recordings import GradientRequest, Recording


@dataclass(frozen=True, eq=False)
class Relevance:
    """What a method returns for a batch.

    Attributes
    ----------
    maps : Tensor
        (batch, rows, cols), raw and signed.
    hidden : Tensor or None
        (batch,), share of the method's total mass that fell on prefix tokens, in [0, 1].
    if_zero : str
        Why a map may rightly be all zero, in one sentence.
    """

    maps: Tensor
    hidden: Tensor | None = None
    if_zero: str = ""


Run = Callable[[Recording, Sequence[int], Any], Relevance]


@dataclass(frozen=True)
class Method:
    """A registered explanation method.

    Attributes
    ----------
    name, title : str
    family : str
        ``"cnn"`` or ``"vit"``.
    class_specific : bool
        Whether the map depends on the target class.
    meaning, caveat : str
        What the map shows and what it does not, for the reader.
    source : str
        Where the definition comes from.
    parameters : type
        Dataclass of parameters.
    run : callable
        ``run(recording, targets, parameters) -> Relevance``.
    request : callable or None
        ``request(model, parameters)``: gradients it is going to ask for.
    unsupported : callable
        ``unsupported(model)``: why it cannot serve a model of its family, or ``None``.
    """

    name: str
    title: str
    family: Literal["cnn", "vit"]
    class_specific: bool
    meaning: str
    caveat: str
    source: str
    parameters: type[Parameters]
    run: Run
    request: Callable[[Model, Any], GradientRequest | None]
    unsupported: Callable[[Model], str | None]

    def why_not(self, model: Model) -> str | None:
        """Why this method cannot serve a model; ``None`` if it can."""
        family = "vit" if isinstance(model, VisionTransformer) else "cnn"
        if family != self.family:
            kinds = {"cnn": "convolutional networks", "vit": "vision transformers"}
            return f"{self.title} works on {kinds[self.family]}; {model.spec.title} is none."
        if self.class_specific and not model.classes:
            return (
                f"{self.title} needs a class, and {model.spec.title} was trained without classes; "
                "choose attention or rollout, or a model with a class head."
            )
        return self.unsupported(model)

    def parameters_for(self, model: Model) -> tuple[Parameter, ...]:
        """The parameters with the ranges they have on this model."""
        return describe(self.parameters, model)


_registry: dict[str, Method] = {}


def method(
    name: str,
    *,
    title: str,
    family: Literal["cnn", "vit"],
    class_specific: bool,
    meaning: str,
    caveat: str,
    source: str,
    parameters: type[Parameters],
    request: Callable[[Model, Any], GradientRequest | None] = lambda model, parameters: None,
    unsupported: Callable[[Model], str | None] = lambda model: None,
) -> Callable[[Run], Run]:
    """Register the decorated function as a method; see `Method` for the arguments."""

    def register(run: Run) -> Run:
        _registry[name] = Method(
            name,
            title,
            family,
            class_specific,
            meaning,
            caveat,
            source,
            parameters,
            run,
            request,
            unsupported,
        )
        return run

    return register


@cache
def all_methods() -> dict[str, Method]:
    """Every method by name, in the order of the field's own history (file order within)."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
    return dict(_registry)


def find_method(name: str) -> Method:
    """The method of this name, or `UnknownMethod` with the names there are."""
    methods = all_methods()
    if name not in methods:
        raise UnknownMethod(f"There is no method {name!r}; choose one of {', '.join(methods)}.")
    return methods[name]


def methods(model: Model) -> tuple[Method, ...]:
    """The methods a model can serve."""
    return tuple(m for m in all_methods().values() if m.why_not(model) is None)


def supported(name: str, model: Model) -> Method:
    """The method of this name if it can serve the model.

    Raises
    ------
    UnknownMethod, UnsupportedMethod
    """
    found = find_method(name)
    if reason := found.why_not(model):
        raise UnsupportedMethod(reason)
    return found
