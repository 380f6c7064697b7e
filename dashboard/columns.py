"""The models and looks of a screen, and changes to them.

Every model shown has at least one column on Compare. Independent of Streamlit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dashboard.looks import MOST, Look, texts
from dashboard.screen import Options, Screen


def columns(now: Screen) -> tuple[Look, ...]:
    """The looks of Compare and Evidence from left to right: the chosen ones, then the default
    map of each model without one."""
    kept = [look for look in map(Look.read, now.shared.look) if look.model in now.shared.m]
    rest = [Look(model) for model in now.shared.m if all(look.model != model for look in kept)]
    return tuple((kept + rest)[:MOST])


def put(now: Screen, looks: Sequence[Look]) -> Screen:
    """The screen with these columns; empty if all are the models' default maps."""
    usual = [*map(Look, now.shared.m)]
    return now.to(look=() if list(looks) == usual else texts(looks))


def with_look(now: Screen, number: int, look: Look) -> Screen:
    """The screen with another look in one column."""
    found = list(columns(now))
    found[number] = look
    return put(now, found)


def added(now: Screen, look: Look) -> Screen:
    """The screen with one more column, at its right."""
    before = columns(now)
    if look.model not in now.shared.m:
        now = now.to(m=(*now.shared.m, look.model))
    return put(now, [*before, look])


def removed(now: Screen, number: int) -> Screen:
    """The screen without a column, and without its model if that has no other."""
    found = list(columns(now))
    gone = found.pop(number)
    if all(look.model != gone.model for look in found):
        return without(now, gone.model)
    return put(now, found)


def moved(now: Screen, number: int, by: int) -> Screen:
    """The screen with a column moved to the right by some places, or to the left."""
    found = list(columns(now))
    found.insert(max(0, number + by), found.pop(number))
    return put(now, found)


def without(now: Screen, model: str) -> Screen:
    """The screen without a model and all choices for it."""
    left = [look for look in columns(now) if look.model != model]
    now = _mapped(now, lambda look: None if look.model == model else look)
    now = now.to(m=tuple(one for one in now.shared.m if one != model))
    return put(now.mapped(lambda one: one.without_model()), left)


def instead(now: Screen, model: str, other: str, alike: bool) -> Screen:
    """The screen with a model replaced by another.

    Parameters
    ----------
    alike
        Whether the choices for the one apply to the other, as they are of one family.
    """
    if other in now.shared.m:
        return now if other == model else without(now, model)

    def changed(look: Look) -> Look | None:
        if look.model != model:
            return look
        return replace(look, model=other) if alike else Look(other)

    looks = [changed(look) or look for look in columns(now)]
    now = _mapped(now, changed)
    now = now.to(m=tuple(other if one == model else one for one in now.shared.m))
    return put(now.mapped(lambda one: one.with_other_model()), looks)


def _mapped(now: Screen, change: Callable[[Look], Look | None]) -> Screen:
    def changed(options: Options) -> Options:
        looks = {name: map(Look.read, getattr(options, name)) for name in options.looks}
        return options.to(
            **{name: texts(filter(None, map(change, found))) for name, found in looks.items()}
        )

    return now.mapped(changed)
