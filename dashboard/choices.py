"""What a screen chooses, resolved against what its models offer. Knows no Streamlit.

Whatever the screen wants and cannot have is told as a sentence; the default stands in its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import core
from core import Method, Model, Parameter, ParameterError, Prediction, Target
from dashboard import columns
from dashboard.looks import Look
from dashboard.screen import Screen

Tell = Callable[[str], None]
"""Takes a sentence on what cannot be shown as the screen wants it."""

FIRST = "gradient_rollout"
"""The method that a model begins with where it serves it; else the first that it has."""

AUTOMATIC_INDEX = -1
"""The same in a list of indices; ``None`` would read as "nothing chosen"."""

# -- single fields --------------------------------------------------------------------------------


def one_of(now: Screen, field: str, options: Sequence[Any], default: Any, tell: Tell) -> Any:
    """The value of a field, if it is one of ``options``; else the default."""
    wanted = now.value(field)
    if wanted is None or wanted in options:
        return default if wanted is None else wanted
    tell(f"{field} is {wanted!r}, which is not to be had here; shown instead: {default}.")
    return default


def within(
    now: Screen, field: str, low: float, high: float, tell: Tell, default: Any = None
) -> Any:
    """The number of a field, or the default where it has none; what is beyond its ends is cut."""
    value = now.value(field)
    value = default if value is None else value
    if not low <= value <= high:
        given, first, last = map(_digits, (value, low, high))
        tell(f"{field} is {given}, expected {first} to {last}; shown at the end.")
        value = min(max(value, low), high)
    return value


def _digits(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


# -- looks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Slot:
    """A place of the screen that holds a look.

    Attributes
    ----------
    name
        What it is called in sentences and in keys of widgets, such as ``look-1``.
    put
        The screen with another look there.
    """

    name: str
    look: Look
    put: Callable[[Screen, Look], Screen]

    @property
    def parameters(self) -> dict[str, str]:
        """What was chosen of the method's parameters."""
        return dict(self.look.parameters)

    def with_parameter(self, now: Screen, parameter: str, text: str) -> Screen:
        """The screen with one parameter chosen."""
        texts = {**self.parameters, parameter: text}
        return self.put(now, replace(self.look, parameters=tuple(sorted(texts.items()))))


def column_slots(now: Screen) -> list[Slot]:
    """The columns of a screen, from left to right."""

    def put(number: int) -> Callable[[Screen, Look], Screen]:
        return lambda then, look: columns.with_look(then, number, look)

    found = columns.columns(now)
    return [Slot(f"look-{number}", look, put(number)) for number, look in enumerate(found)]


@dataclass(frozen=True, eq=False)
class Choice:
    """A look that a page shows: a method with its parameters for one model, or why there is none.

    Attributes
    ----------
    offered
        The methods that can be chosen in its place, by name.
    name
        What tells it from the other looks of the page.
    own
        Parameters that tell it from the other looks with its model and method; may be empty.
    """

    slot: Slot
    model: Model
    method: Method | None = None
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    refusal: str = ""
    offered: dict[str, Method] = dataclasses.field(default_factory=dict)
    name: str = ""
    own: str = ""

    @property
    def needs(self) -> core.Needs:
        """What a pass has to keep for it."""
        if self.method is None:
            return core.Needs()
        return core.needs(self.model, self.method.name, **self.values)


def choice(slot: Slot, model: Model, tell: Tell, *, class_specific: bool = False) -> Choice:
    """The method and parameters of a slot, as far as the model has them.

    Parameters
    ----------
    class_specific
        Whether only methods that know the class are offered.
    """
    served = {
        method.name: method
        for method in core.methods(model)
        if method.class_specific or not class_specific
    }
    if not served:
        refusal = (
            f"None of the maps of this page can be made for {model.spec.title}, which was trained "
            "without classes; choose another model, or look at the Attention page."
        )
        return Choice(slot, model, refusal=refusal)
    first = FIRST if FIRST in served else next(iter(served))
    wanted = slot.look.method
    name, chosen = wanted or first, slot.parameters
    if name not in served:
        tell(
            f"{slot.name} is {name!r}, which is not to be had for {model.spec.title}; shown "
            f"instead: {first}."
        )
        name = first
        if wanted in core.changed_methods():
            chosen = {}  # they belong to the method that is not to be had here
    values = look_values(slot.name, served[name], model, chosen, tell)
    return Choice(slot, model, served[name], values, offered=served)


def look_values(
    name: str, method: Method, model: Model, chosen: dict[str, str], tell: Tell
) -> dict[str, Any]:
    """Values of a method's parameters; what is not to be had is told and has its default.

    Parameters
    ----------
    name
        What the look is called in sentences.
    chosen
        Texts by parameter.
    """
    left = dict(chosen)
    values = {}
    for parameter in method.parameters_for(model):
        value = parameter.default
        if parameter.name in left:
            text = left.pop(parameter.name)
            value = _parsed(parameter, text)
            if not parameter.accepts(value):
                tell(
                    f"{name}.{parameter.name} is {text!r}, which {method.title} does not take; "
                    f"shown instead: {value_text(parameter.default)}."
                )
                value = parameter.default
            elif not parameter.shown and value != parameter.default:
                tell(
                    f"{name}.{parameter.name} is {text!r}, which pages do not draw; shown instead: "
                    f"{value_text(parameter.default)}. In Python core.explain gives it."
                )
                value = parameter.default
        values[parameter.name] = value
    for text in left:
        tell(f"{method.title} has no parameter {text!r}; {name}.{text} is ignored.")
    return values


def value_text(value: Any) -> str:
    """A parameter's value, for people."""
    return "automatic" if value in (None, AUTOMATIC_INDEX) else str(value)


def written(parameter: Parameter, held: Any) -> str:
    """The text of the address for what a widget holds."""
    if held is None or (parameter.kind == "index" and held == AUTOMATIC_INDEX):
        return "automatic"
    if parameter.kind == "span":
        return f"{held[0]}-{held[1]}"
    return f"{held:g}" if parameter.kind == "number" else str(held)


def _parsed(parameter: Parameter, text: str) -> Any:
    """What a text of the address means; the text itself if it means nothing."""
    if parameter.kind == "choice":
        return text
    if text == "automatic":
        return None
    try:
        if parameter.kind == "number":
            value = float(text)
            return int(value) if parameter.is_whole and value.is_integer() else value
        if parameter.kind == "index":
            return int(text)
        start, _, end = text.partition("-")
        first, final = int(start), int(end or start)
        if not 0 <= first <= final <= parameter.high:  # before a row as long as it says is made
            return text
        layers = tuple(range(first, final + 1))
        return None if layers == tuple(range(int(parameter.high) + 1)) else layers
    except ValueError:
        return text


def told_apart(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The same looks, each with a name that no other has.

    That is the model's title, followed by the method's where a model has several looks, and by the
    parameters that differ where it has several with one method.
    """
    found: list[Choice] = []
    for one in choices:
        of_model = [other for other in choices if other.model is one.model]
        alike = [other for other in of_model if other.method is one.method]
        own = ", ".join(
            f"{name} {value_text(value)}"
            for name, value in one.values.items()
            if any(other.values.get(name) != value for other in alike)
        )
        method = one.method.title if one.method and len(of_model) > 1 else ""
        name = ", ".join(filter(None, [one.model.spec.title, method, own]))
        same = sum(name == before.name.partition(" (")[0] for before in found)
        found.append(replace(one, name=f"{name} ({same + 1})" if same else name, own=own))
    return tuple(found)


def needs_of(choices: Sequence[Choice], model: Model) -> core.Needs:
    """What one pass of a model has to keep for all of its looks."""
    found = core.Needs()
    for one in choices:
        if one.model is model:
            found |= one.needs
    return found


# -- classes --------------------------------------------------------------------------------------

MOST_CLASSES = 4
"""Classes that are shown beside each other at most."""


@dataclass(frozen=True)
class Classes:
    """Which classes can be asked about, and which are.

    Attributes
    ----------
    shown
        Names of those that are looked at; empty where no model has classes.
    likely
        Classes in the order in which the program would choose them.
    names
        All that can be chosen, the likely ones first.
    picked
        Whether they were chosen, so that ``shown`` is not what the program would choose.
    rather_than
        Name of the class that the first is compared with; empty without.
    """

    shown: tuple[str, ...] = ()
    likely: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    picked: bool = False
    rather_than: str = ""

    @property
    def target(self) -> tuple[str, ...]:
        """The class that is looked at, and the one that it is compared with, if there is one."""
        return tuple(filter(None, [*self.shown[:1], self.rather_than]))


def automatic_classes(known: Sequence[str], labels: Sequence[str], *found: Prediction) -> list[str]:
    """Classes in the order in which the program would choose them.

    What the picture is known to show comes first, then the first answers of the models in turn.
    """
    answers = [prediction.labels for prediction in found]
    turns = [name for together in zip(*answers, strict=False) for name in together]
    wanted = [*known, *turns]
    return [name for name in dict.fromkeys(wanted) if name in set(labels)]


def classes(
    now: Screen,
    known: Sequence[str],
    models: Sequence[Model],
    answers: Sequence[Prediction],
    tell: Tell,
    *,
    automatic: int = 1,
) -> Classes:
    """The classes that a screen looks at.

    Parameters
    ----------
    known
        What the picture is known to show.
    models, answers
        The models that have classes, and what they answer.
    automatic
        How many the program chooses; more than one where a page looks at several.
    """
    if not models:
        return Classes()
    labels = [name for model in models for name in model.labels]
    likely = automatic_classes(known, labels, *answers)
    names = tuple(dict.fromkeys([*likely, *labels]))
    offered = set(names)
    wanted = now.shared.classes if automatic > 1 else now.shared.classes[:1]
    picked = tuple(name for name in wanted if name in offered)
    for name in wanted:
        if name not in offered:
            instead = "the others" if picked else ", ".join(likely[:automatic])
            tell(f"No model here knows the class {name!r}; shown instead: {instead}.")
    shown = picked or tuple(likely[:automatic])
    other = now.shared.rather_than or ""
    if other and (other not in offered or other in shown[:1]):
        what = "is the class itself" if other in shown[:1] else "no model here knows"
        tell(f"rather_than is {other!r}, which {what}; the class alone is shown.")
        other = ""
    return Classes(shown, tuple(likely), names, bool(picked), other)


def index_of(model: Model, name: str) -> int:
    """Index of a class in a model's own labels.

    Raises
    ------
    ParameterError
        The model does not know a class of that name.
    """
    if name in model.labels:
        return model.labels.index(name)
    raise ParameterError(
        f"{model.spec.title} knows no class {name!r}, so it cannot be asked for one; choose "
        "rollout or attention, or two models with the same classes."
    )


def target_of(model: Model, names: Sequence[str]) -> int | Target:
    """What a model is asked: a class, or one rather than another.

    Parameters
    ----------
    names
        Of one class or two.

    Raises
    ------
    ParameterError
        The model does not know a class of that name.
    """
    first, *others = [index_of(model, name) for name in names]
    return core.rather_than(first, others[0]) if others else first
