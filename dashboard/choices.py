"""The choices of a screen, resolved against what its models offer. Independent of Streamlit.

Each unavailable choice is reported in a sentence and replaced by the default.
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
"""Called with a sentence about each choice that is not available."""

FIRST = "gradient_rollout"
"""The default method if the model supports it; otherwise the first that it supports."""

AUTOMATIC_INDEX = -1
"""The same in a list of indices; ``None`` would read as "nothing chosen"."""

# -- single fields --------------------------------------------------------------------------------


def one_of(now: Screen, field: str, options: Sequence[Any], default: Any, tell: Tell) -> Any:
    """The value of a field, if it is one of ``options``; else the default."""
    wanted = now.value(field)
    if wanted is None or wanted in options:
        return default if wanted is None else wanted
    tell(f"{field} is {wanted!r}, which is not available here; shown instead: {default}.")
    return default


def within(
    now: Screen, field: str, low: float, high: float, tell: Tell, default: Any = None
) -> Any:
    """The number of a field, or the default without one; clipped to its range."""
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
    """A position of the screen that holds a look.

    Attributes
    ----------
    name
        Name in sentences and in keys of widgets, such as ``look-1``.
    put
        The screen with another look there.
    """

    name: str
    look: Look
    put: Callable[[Screen, Look], Screen]

    @property
    def parameters(self) -> dict[str, str]:
        """The chosen parameters of the method."""
        return dict(self.look.parameters)

    def with_parameter(self, now: Screen, parameter: str, text: str) -> Screen:
        """The screen with one parameter set."""
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
    """A resolved look: a method with its parameters for one model, or why there is none.

    Attributes
    ----------
    offered
        The methods that can be chosen in its place, by name.
    name
        Name that distinguishes it from the other looks of the page.
    own
        Parameters that distinguish it from looks with the same model and method; may be empty.
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
        """What a pass must record for it."""
        if self.method is None:
            return core.Needs()
        return core.needs(self.model, self.method.name, **self.values)


def choice(slot: Slot, model: Model, tell: Tell, *, class_specific: bool = False) -> Choice:
    """The method and parameters of a slot, as far as the model has them.

    Parameters
    ----------
    class_specific
        Whether only class-specific methods are offered.
    """
    served = {
        method.name: method
        for method in core.methods(model)
        if method.class_specific or not class_specific
    }
    if not served:
        refusal = (
            f"None of the maps of this page can be made for {model.spec.title}, which was trained "
            "without classes; choose another model or open the Attention page."
        )
        return Choice(slot, model, refusal=refusal)
    first = FIRST if FIRST in served else next(iter(served))
    wanted = slot.look.method
    name, chosen = wanted or first, slot.parameters
    if name not in served:
        tell(
            f"{slot.name} is {name!r}, which is not available for {model.spec.title}; shown "
            f"instead: {first}."
        )
        name = first
        if wanted in core.changed_methods():
            chosen = {}  # they belong to the unavailable method
    values = look_values(slot.name, served[name], model, chosen, tell)
    return Choice(slot, model, served[name], values, offered=served)


def look_values(
    name: str, method: Method, model: Model, chosen: dict[str, str], tell: Tell
) -> dict[str, Any]:
    """Values of a method's parameters; invalid ones are reported and replaced by the default.

    Parameters
    ----------
    name
        Name of the look in sentences.
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
                    f"{name}.{parameter.name} is {text!r}, which {method.title} does not accept; "
                    f"shown instead: {value_text(parameter.default)}."
                )
                value = parameter.default
        values[parameter.name] = value
    for text in left:
        tell(f"{method.title} has no parameter {text!r}; {name}.{text} is ignored.")
    return values


def value_text(value: Any) -> str:
    """A parameter's value as text."""
    return "automatic" if value in (None, AUTOMATIC_INDEX) else str(value)


def written(parameter: Parameter, held: Any) -> str:
    """The text in the address for a widget's value."""
    if held is None or (parameter.kind == "index" and held == AUTOMATIC_INDEX):
        return "automatic"
    if parameter.kind == "span":
        return f"{held[0]}-{held[1]}"
    return f"{held:g}" if parameter.kind == "number" else str(held)


def _parsed(parameter: Parameter, text: str) -> Any:
    """The value of a text in the address; the text itself if it is invalid."""
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
        if not 0 <= first <= final <= parameter.high:  # before a range of that length is created
            return text
        layers = tuple(range(first, final + 1))
        return None if layers == tuple(range(int(parameter.high) + 1)) else layers
    except ValueError:
        return text


def told_apart(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The same looks, each with a unique name.

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
    """What one pass of a model must record for all of its looks."""
    found = core.Needs()
    for one in choices:
        if one.model is model:
            found |= one.needs
    return found


# -- classes --------------------------------------------------------------------------------------

OPPOSITE = "\0not"
"""In the place of a second class: the opposite of the first, which is a label. No class is called
so."""

MOST_CLASSES = 4
"""Most classes shown side by side."""


@dataclass(frozen=True)
class Classes:
    """The available classes, and the chosen ones.

    Attributes
    ----------
    shown
        Names of the classes shown; empty if no model has classes.
    likely
        Classes in the order of automatic choice.
    names
        All available classes, the likely ones first.
    picked
        Whether the user chose them, so that ``shown`` is not the automatic choice.
    rather_than
        Name of the class that the first is compared with; `OPPOSITE` where the opposite of the
        first is asked for; empty without.
    of_labels
        Whether all models are asked about each label for itself, so that it has an opposite.
    """

    shown: tuple[str, ...] = ()
    likely: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    picked: bool = False
    rather_than: str = ""
    of_labels: bool = False

    @property
    def target(self) -> tuple[str, ...]:
        """The class that is looked at, and the one that it is compared with, if there is one.

        See `target_of`.
        """
        return tuple(filter(None, [*self.shown[:1], self.rather_than]))


def automatic_classes(known: Sequence[str], labels: Sequence[str], *found: Prediction) -> list[str]:
    """Classes in the order of automatic choice.

    Known classes of the picture come first, then the first answers of the models in turn.
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
    """The classes of a screen.

    Parameters
    ----------
    known
        Known classes of the picture.
    models, answers
        The models with classes, and their answers.
    automatic
        Number of automatically chosen classes; more than one on pages with several.
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
            tell(f"None of the models shown has the class {name!r}; shown instead: {instead}.")
    shown = picked or tuple(likely[:automatic])
    other = now.shared.rather_than or ""
    if other and (other not in offered or other in shown[:1]):
        what = "is the class itself" if other in shown[:1] else "none of the models shown has"
        tell(f"rather_than is {other!r}, which {what}; the class alone is shown.")
        other = ""
    of_labels = all(model.answer == "sigmoid" for model in models)
    if now.shared.opposite and (other or not of_labels):
        why = f"rather_than is {other!r}" if other else "not all models here answer with labels"
        tell(f"opposite is yes, but {why}; it is ignored.")
    elif now.shared.opposite:
        other = OPPOSITE
    return Classes(shown, tuple(likely), names, bool(picked), other, of_labels)


def named(classes: Sequence[str]) -> str:
    """Name what is asked for, as `core.Target.text` does; see `target_of`."""
    if is_opposite(classes):
        return f"not {classes[0]}"
    return " rather than ".join(classes)


def is_opposite(classes: Sequence[str]) -> bool:
    """Whether the opposite of a label is asked for; see `target_of`."""
    return OPPOSITE in classes


def unknown_of(model: Model, classes: Sequence[str]) -> list[str]:
    """Names of those classes that a model does not have."""
    return [name for name in classes if name != OPPOSITE and name not in model.labels]


def index_of(model: Model, name: str) -> int:
    """Index of a class in a model's own labels.

    Raises
    ------
    ParameterError
        The model has no class of that name.
    """
    if name in model.labels:
        return model.labels.index(name)
    raise ParameterError(
        f"{model.spec.title} has no class {name!r}, so no map of it can be made; choose "
        "rollout or attention, or two models with the same classes."
    )


def target_of(model: Model, names: Sequence[str]) -> int | Target:
    """What a model is asked: a class, one rather than another, or the opposite of a label.

    Parameters
    ----------
    names
        Of one class or two; the second may be `OPPOSITE`.

    Raises
    ------
    ParameterError
        The model has no class of that name.
    """
    if is_opposite(names):
        return core.not_label(index_of(model, names[0]))
    first, *others = [index_of(model, name) for name in names]
    return core.rather_than(first, others[0]) if others else first
