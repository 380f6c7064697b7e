"""Grid pointing: four pictures in one, and where each class's map lies.

Independent of Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core import Explanation
from dashboard import figures, measurements, rows
from dashboard.choices import Choice
from dashboard.display import Display
from dashboard.rows import Row
from dashboard.scene import Picture
from dashboard.several_pictures import offered_pictures
from dashboard.view import Maker
from pages.evidence.asked import Asked
from pages.evidence.options import Options

CORNERS = ("upper left", "upper right", "lower left", "lower right")
"""Positions of the four pictures of a grid, row by row."""


@dataclass(frozen=True, eq=False)
class Pointed:
    """The four maps of one look.

    Attributes
    ----------
    title
        Of the model and the map.
    refusal
        Why there are none; empty otherwise.
    mean
        Share of a map's positive relevance that lies in the right quarter, on average; ``nan``
        without any share.
    notes
        Note on the map of each corner; may be empty.
    """

    title: str
    refusal: str = ""
    mean: float = math.nan
    row: Row | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Pointing:
    """Four pictures in one, with the results of every look.

    Attributes
    ----------
    pictures
        Ids of the chosen pictures; nothing is computed unless there are four.
    is_class
        As in `Asked`.
    """

    pictures: tuple[str, ...]
    is_class: bool
    looks: tuple[Pointed, ...] = ()


def pointing(make: Maker, asked: Asked) -> Pointing:
    """Put four pictures into one, and compute every look's map of each class."""
    pictures = _four(make)
    names = tuple(picture.id for picture in pictures)
    if len(pictures) != len(CORNERS):
        return Pointing(names, asked.is_class)
    looks = tuple(
        _pointed(make, number, choice, pictures) for number, choice in enumerate(asked.choices)
    )
    return Pointing(names, asked.is_class, looks)


def _four(make: Maker) -> list[Picture]:
    """The four pictures: those of the screen, else the first with different classes."""
    wanted = make.screen.of(Options).four
    by_id = offered_pictures(wanted)
    for name in wanted:
        if name not in by_id:
            make.problem(f"four has {name!r}, which is not a picture here.")
    different: dict[str, str] = {}
    for picture in by_id.values():
        if picture.classes:
            different.setdefault(picture.classes[0], picture.id)
    shown = [name for name in wanted if name in by_id] or list(different.values())[: len(CORNERS)]
    return [by_id[name] for name in shown]


def _pointed(make: Maker, number: int, choice: Choice, pictures: Sequence[Picture]) -> Pointed:
    found = measurements.in_a_grid(make, choice, pictures)
    if isinstance(found, str):
        return Pointed(choice.model.spec.title, found)
    together, maps = found
    display = Display.of(make.screen)
    shares = [share for _, share in maps if not math.isnan(share)]
    rivals = [one.relevance for one, _ in maps]
    shown = [
        _quarter(one, share, place, rivals, display) for place, (one, share) in enumerate(maps)
    ]
    return Pointed(
        ", ".join(filter(None, [choice.model.spec.title, maps[0][0].title, choice.own])),
        mean=float(np.mean(shares)) if shares else math.nan,
        row=rows.row(make, f"pointing-{number}", together, shown, display),
        notes=tuple(" ".join(one.notes) for one, _ in maps),
    )


def _quarter(
    one: Explanation,
    share: float,
    place: int,
    rivals: Sequence[npt.NDArray[np.float32]],
    display: Display,
) -> figures.Panel:
    subtitle = f"{CORNERS[place]}: {rows.number(share, '{:.0%}')} of the map"
    unit, title = display.unit("relevance"), one.label or "no class"
    return rows.panel_of(one, one.relevance, rivals, display, title, subtitle, unit)
